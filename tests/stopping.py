"""Named moments of the protocol at which a process of Tidegate stops itself, as by SIGSTOP.

`stop_at` gives Python that runs in the process before the role does (see `roles`); whoever watches then kills
the process or lets it go on.
"""

from __future__ import annotations

from collections.abc import Mapping

_STOP = """
import os, signal
left = [{count}]
def reach():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
"""
_BEHIND = """
from {module} import {name}
unstopped = {name}.{method}
def stopping(self, *arguments, **named):
    result = unstopped(self, *arguments, **named)
    {reach}
    return result
{name}.{method} = stopping
"""
_INSERTING = """
import tidegate.sink.pipeline as pipeline
insert, begun = pipeline.insert, set()
def stopping(client, database, block, token):
    batch = token.removesuffix(block.token_suffix)
    if batch in begun:
        reach()
    insert(client, database, block, token)
    begun.add(batch)
pipeline.insert = stopping
"""
_INSERTED = """
from tidegate.sink.partition import Partition
finish = Partition.finish
def stopping(self):
    reach()
    finish(self)
Partition.finish = stopping
"""

SINK_MOMENTS: Mapping[str, str] = {
    # a batch is cut
    "cut": _BEHIND.format(
        module="tidegate.sink.partition",
        name="Partition",
        method="next_batch",
        reach="if result is not None: reach()",
    ),
    # its plan is in the ledger
    "planned": _BEHIND.format(
        module="tidegate.store.ledger",
        name="Ledger",
        method="write",
        reach="[reach() for plan in arguments[0]]",
    ),
    # its first offset is committed
    "fenced": _BEHIND.format(
        module="tidegate.sink.consumer",
        name="Sink",
        method="_fence",
        reach="[reach() for partition, _ in arguments[0] if result and partition.batch is not None]",
    ),
    # one of its inserts is answered, another is not sent yet
    "inserting": _INSERTING,
    # all its inserts are answered
    "inserted": _INSERTED,
}
WORKER_MOMENTS: Mapping[str, str] = {
    # the outputs of a record went to the producer
    "sent": _BEHIND.format(
        module="tidegate.worker.producer", name="Producer", method="send", reach="reach()"
    ),
    # the records before a position are acknowledged, their counts sent; before the commit
    "produced": _BEHIND.format(
        module="tidegate.worker.producer", name="Producer", method="send_partials", reach="reach()"
    ),
}
_MOMENTS = {
    **SINK_MOMENTS,
    **WORKER_MOMENTS,
    # some frames of `tidegate replay` are acknowledged
    "replayed": _BEHIND.format(module="tidegate.replay.send", name="Sender", method="flush", reach="reach()"),
}


def stop_at(moment: str, count: int = 1) -> str:
    """Python that stops its process when it reaches the moment for the `count`th time."""
    return _STOP.format(count=count) + _MOMENTS[moment]
