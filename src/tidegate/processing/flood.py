"""flood: whether a fleet's stream is refused so much that keeping the lines would fill the disk. No clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.topics import Stream

MOST_FLEETS = 10_000  # that are counted in a window: names in refused lines are anybody's


class Flooded(NamedTuple):
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


class Flood:
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
        return any(place[0] == stream for place in self._rejected)

    def count(
        self, stream: Stream, accepted: Mapping[str, int], rejected: Iterable[str], now: float
    ) -> list[Flooded]:
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
                found.append(Flooded(stream, fleet, lines, refused))
        return found
