"""Pauses a fleet's stream that is refused so much that keeping its lines would fill the disk."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.control import Record
from tidegate.contracts.pauses import Pause
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.pauses.control import Pauses
from tidegate.settings import Settings
from tidegate.steps.frame import Outputs
from tidegate.telemetry import WORKER_PAUSED

log = logging.getLogger(__name__)

MOST_FLEETS = 10_000  # that are counted in a window: names in refused lines are anybody's


class OverLimit(NamedTuple):
    """A fleet that passed the limit, with its lines of the window."""

    stream: Stream
    fleet: str  # empty: lines that name none
    lines: int
    rejected: int


def lines_by_fleet(batch: pa.RecordBatch) -> dict[str, int]:
    """How many rows of an enriched frame each fleet has."""
    if not batch.num_rows:
        return {}
    counts: Any = pc.value_counts(batch.column("fleet"))
    return {one["values"]: one["counts"] for one in counts.to_pylist()}


class RejectRate:
    """Counts the lines of one process in windows of `seconds`, from a stream's first refused line on.

    The limit is passed by `least` refused lines in a window that are more than `share` of the fleet's lines.
    A share of 0 is no limit.
    """

    def __init__(self, *, share: float, least: int, seconds: float) -> None:
        self._share = share
        self._least = least
        self._seconds = seconds
        self._until = 0.0
        self._accepted: Counter[tuple[Stream, str]] = Counter()
        self._rejected: Counter[tuple[Stream, str]] = Counter()

    def is_counting(self, stream: Stream) -> bool:
        """Whether frames without a refused line count as well."""
        return any(counted == stream for counted, _ in self._rejected)

    def count(
        self, stream: Stream, accepted: Mapping[str, int], rejected: Iterable[str], now: float
    ) -> list[OverLimit]:
        """Count a frame's lines by fleet; the fleets that pass the limit with it."""
        if not self._share:
            return []
        if now >= self._until:
            self._until = now + self._seconds
            self._accepted.clear()
            self._rejected.clear()
        for fleet, lines in accepted.items():
            self._accepted[stream, fleet] += lines
        touched: set[str] = set()
        for fleet in rejected:
            if (stream, fleet) in self._rejected or len(self._rejected) < MOST_FLEETS:
                self._rejected[stream, fleet] += 1
                touched.add(fleet)
        found = []
        for fleet in touched:
            refused = self._rejected[stream, fleet]
            lines = refused + self._accepted[stream, fleet]
            if refused >= self._least and refused > self._share * lines:
                # What comes behind a pause is counted from nothing.
                del self._rejected[stream, fleet], self._accepted[stream, fleet]
                found.append(OverLimit(stream, fleet, lines, refused))
        return found


class Quarantine:
    """Pauses the streams of fleets that pass the limit; `send` writes a pause that begins, and its alert."""

    def __init__(self, settings: Settings, send: Callable[[Pause, Record], None]) -> None:
        self.pauses = Pauses(connection(settings))
        self._rate = RejectRate(
            share=settings.worker_reject_share,
            least=settings.worker_reject_lines,
            seconds=settings.worker_reject_seconds,
        )
        self._send = send

    def watch(self, stream: Stream, outputs: Outputs) -> None:
        """Count what came of one raw record; pause the fleets whose lines pass the limit."""
        if not outputs.refused_fleets and not self._rate.is_counting(stream):
            return
        accepted = lines_by_fleet(outputs.batch)
        for found in self._rate.count(stream, accepted, outputs.refused_fleets, time.monotonic()):
            if (stream, found.fleet) in self.pauses:
                continue
            pause = Pause(found.fleet, stream, datetime.now(UTC).isoformat(), found.lines, found.rejected)
            try:
                record = self.pauses.signed(pause)
            except RetryLater:
                continue  # the control topic is not read yet: the lines after these will pass the limit too
            self.pauses.hold(pause)
            self._send(pause, record)
            log.error(
                "%s of fleet %r: %d of %d lines refused; the stream is paused: refused lines stay in the raw"
                " topic alone, as long as it keeps them. Mend the sender, then: tidegate fleet resume",
                stream,
                found.fleet,
                found.rejected,
                found.lines,
            )

    def tell(self) -> None:
        """Set the metric of paused streams."""
        for stream in STREAMS:
            WORKER_PAUSED.labels(stream).set(self.pauses.of(stream))
