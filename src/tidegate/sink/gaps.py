"""Partitions that stopped at a gap: said in log, metric, /readyz and table `sink_gaps`, until they go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

from tidegate.contracts.ledger import Gap
from tidegate.contracts.topics import STREAMS, StreamPartition
from tidegate.sink.partition import Partition
from tidegate.sink.threads import Threads
from tidegate.store.ledger import Ledger
from tidegate.telemetry import SINK_GAPS

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0  # between looks for an operator's word
Key = tuple[StreamPartition, str, Gap]


class _Open:
    def __init__(self) -> None:
        self.found_at = datetime.now(UTC)
        self.noted = False
        self.busy = False
        self.ask_at = 0.0
        self.accepted = False


class Gaps:
    """Keeps open gaps on record in ClickHouse, and asks there whether an operator has accepted them."""

    def __init__(self, ledger: Ledger, outcomes: SimpleQueue[Callable[[], None]]) -> None:
        self._ledger = ledger
        self._threads = Threads("gaps", 1, outcomes)
        self._open: dict[Key, _Open] = {}

    def stop(self) -> None:
        self._threads.stop()

    def watch(self, partitions: Iterable[Partition], now: float) -> list[Partition]:
        """Follow gaps as they open and close; the partitions whose gap an operator has accepted."""
        found = {
            (partition.key, *partition.gap_found): partition
            for partition in partitions
            if partition.gap_found is not None
        }
        for key in [key for key in self._open if key not in found]:
            self._closed(key, self._open.pop(key))
        accepted = []
        for key, partition in found.items():
            state = self._open.get(key)
            if state is None:
                state = self._open[key] = _Open()
                log.error("%s", say(*key))
            if state.accepted:
                log.warning("%s: going on, the gap is accepted", key[0])
                accepted.append(partition)
            elif not state.busy and now >= state.ask_at:
                state.busy = True
                state.ask_at = now + ASK_SECONDS
                self._threads.submit(_ask(self._ledger, key, state), _answered(state))
        for stream in STREAMS:
            SINK_GAPS.labels(stream).set(sum(partition.stream == stream for partition, _, _ in found))
        return accepted

    def _closed(self, key: Key, state: _Open) -> None:
        if state.accepted or not state.noted:
            return
        partition, epoch, gap = key
        log.info("%s: the gap before offset %d is no longer open here", partition, gap.next)
        reason = "closed: the missing records came, or another sink took over"
        self._threads.submit(
            lambda: self._ledger.note_gap(epoch, partition, gap, state.found_at, reason), lambda _: None
        )


def say(partition: StreamPartition, epoch: str, gap: Gap) -> str:
    """What is missing, and the command that goes on without it."""
    first, last = gap.after + 1, gap.next - 1
    return (
        f"{partition} stopped at a gap in epoch {epoch}: after raw offset {gap.after} came {gap.next},"
        f" whose worker says it follows {gap.previous}. Waiting for what is missing. If it is lost for good:"
        f" tidegate sink accept-gap {partition.stream} {partition.partition}"
        f" --from {first} --to {last} --reason …"
    )


def _ask(ledger: Ledger, key: Key, state: _Open) -> Callable[[], bool]:
    partition, epoch, gap = key

    def job() -> bool:
        if not state.noted:
            ledger.note_gap(epoch, partition, gap, state.found_at, say(partition, epoch, gap))
            state.noted = True
        return ledger.is_accepted(epoch, partition, gap)

    return job


def _answered(state: _Open) -> Callable[[Any], None]:
    def done(result: Any) -> None:
        state.busy = False
        state.accepted = result is True
        if isinstance(result, Exception):
            state.ask_at = time.monotonic() + ASK_SECONDS

    return done
