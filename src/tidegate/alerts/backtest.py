"""The past folded by several processes, each its share of the sites: the changes of one fold of all.

Each process reads, counts and folds its own sites. Each quarter of an hour they exchange what is usual
elsewhere in a fleet; their changes are put in order and grouped to incidents here.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from operator import itemgetter

from tidegate import lookups
from tidegate.alerts import recount
from tidegate.contracts.alert_rules import Rules
from tidegate.contracts.alerts import Alert
from tidegate.errors import RetryLater, TidegateError
from tidegate.settings import Settings
from tidegate.steps.detect import Context, Counted, Detector, Grouping, Totals, UnitKey, context_of
from tidegate.store.client import connect

MOST = 16  # processes
COLLECT = (200_000, 20, 100)  # gc.set_threshold: by default a third of counting is its looking for cycles

Minute = Mapping[UnitKey, Counted]
Found = list[tuple[int, UnitKey, Alert]]  # minute, unit, change
Message = tuple[
    Found, Totals | None
]  # since the last message; what is usual of the own sites, None at the end


def changes(
    settings: Settings, rules: Rules, since: int, until: int, fleet: str = "", *, processes: int = 0
) -> Iterator[Alert]:
    """What these rules make of stored events. Learning begins at `since` (µs, start of an hour).

    `processes` 0: as many as there are cores. Raises RetryLater while ClickHouse is away.
    """
    number = processes or min(len(os.sched_getaffinity(0)), MOST)
    spawning = multiprocessing.get_context("spawn")
    running = []
    try:
        for share in range(number):
            mine, other = spawning.Pipe()
            process = spawning.Process(
                target=_share,
                args=(other, settings, rules, since, until, fleet, (share, number)),
                daemon=True,
            )
            process.start()
            other.close()
            running.append((process, mine))
        yield from joined([connection for _, connection in running])
    finally:
        for process, connection in running:
            connection.close()
            process.terminate()
            process.join()


def joined(connections: Sequence[Connection]) -> Iterator[Alert]:
    """The changes of all that `fold` at the other ends, as one fold tells them."""
    grouping = Grouping()
    while True:
        messages = [_received(one) for one in connections]
        found = [change for changes, _ in messages for change in changes]
        for _, _, change in sorted(found, key=itemgetter(0, 1)):
            yield grouping.join(change)
        whole: Totals = {}
        for _, totals in messages:
            if totals is None:
                return
            for key, pairs in totals.items():
                whole.setdefault(key, []).extend(pairs)
        for one in connections:
            one.send(whole)


def fold(connection: Connection, context: Context, minutes: Iterable[tuple[int, Minute]]) -> None:
    """Fold a share of the sites, and tell its changes at the other end."""
    found: Found = []

    def exchange(totals: Totals) -> Totals:
        connection.send((found, totals))
        found.clear()
        whole: Totals = connection.recv()
        return whole

    detector = Detector(context, exchange=exchange)
    for minute, counted in minutes:
        for change in detector.close(minute, counted):
            unit = (change.scope.stream or "client_events", change.fleet, change.scope.site)
            found.append((minute, unit, change))
    connection.send((found, None))


def _received(connection: Connection) -> Message:
    try:
        message: Message | Exception = connection.recv()
    except EOFError:
        raise RetryLater("a process that folds the stored events was ended") from None
    if isinstance(message, Exception):
        raise message
    return message


def _share(
    connection: Connection,
    settings: Settings,
    rules: Rules,
    since: int,
    until: int,
    fleet: str,
    share: tuple[int, int],
) -> None:
    """One of the processes."""
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        client = connect(settings)
        try:
            context = context_of(rules, lookups.load(settings.lookups_dir))
            fold(connection, context, recount.minutes(client, since, until, fleet, share))
        finally:
            client.close()
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return
    except TidegateError as error:
        connection.send(error)
