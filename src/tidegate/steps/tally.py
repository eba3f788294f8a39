"""tally: the minutes of many stored events at once, each with what detection needs of any of them at hand.

A `Tally` says what the `PartialCounts` of its events say. Most minutes have no failure: then the successes of
each SSID and access point are all that is asked of their counts, and these are made for the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from math import prod
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.contracts.counts import ApCount, Count, Histogram, PartialCounts, Signal, Sketch
from tidegate.contracts.topics import Stream
from tidegate.steps.aggregate import (
    BUCKETS,
    LATENCIES,
    Cells,
    Integers,
    Rows,
    aggregate,
    ap_rows,
    beginnings,
    count_rows,
    runs,
)
from tidegate.steps.outcome import FAILURE, SUCCESS
from tidegate.steps.sketch import EMPTY

Buckets = tuple[bytes, bytes, bytes]  # of each of LATENCIES, a byte for each success, in order
_Row = TypeVar("_Row", Count, ApCount)
_NOTHING = slice(0, 0)
Flags = npt.NDArray[np.bool_]


class _Some(msgspec.Struct, frozen=True, gc=False):
    """Some cells of a batch."""

    of_whole: Cells
    aps_of_whole: Cells | None
    which: slice
    which_aps: slice

    def counts(self) -> list[Count]:
        return count_rows(self.of_whole, self.which.start, self.which.stop)

    def aps(self) -> list[ApCount]:
        if self.aps_of_whole is None:
            return []
        return ap_rows(self.aps_of_whole, self.which_aps.start, self.which_aps.stop)


class Tally(msgspec.Struct, frozen=True, gc=False):
    """What one stream, fleet and site received within one minute."""

    stream: Stream
    minute: int
    fleet: str
    site: str
    events: int
    succeeded: int
    passed: dict[str, int] | None  # as `detect.figures.Figures` has it; None where something failed
    buckets: Buckets
    clients: Sketch
    signals: list[Signal]
    rows: tuple[list[Count], list[ApCount]] | _Some  # where something failed, they are made at once

    @property
    def counts(self) -> list[Count]:
        return self.rows[0] if isinstance(self.rows, tuple) else self.rows.counts()

    @property
    def aps(self) -> list[ApCount]:
        return self.rows[1] if isinstance(self.rows, tuple) else self.rows.aps()

    @property
    def latencies(self) -> dict[str, Histogram]:
        return {
            name: {bucket: found.count(bucket) for bucket in sorted(set(found))}
            for name, found in zip(LATENCIES, self.buckets, strict=True)
            if found
        }


def tallies(stream: Stream, batch: pa.RecordBatch) -> Iterator[Tally | PartialCounts]:
    """One for each minute, fleet and site of a batch, minute by minute.

    Each is made when it is asked for: a day of them at once would not fit a processor's caches.
    """
    rows = Rows(stream, batch)
    if rows.too_many:
        yield from sorted(aggregate(stream, batch), key=lambda one: one.minute)
        return
    counts, aps = rows.counts(), rows.aps()
    seen, signals = rows.clients(), rows.signals()
    starts = beginnings(counts.of_place)
    places = counts.of_place[starts]
    success = _is(counts, 2, SUCCESS)
    failed_places = [counts.of_place[_is(counts, 2, FAILURE)]]
    if aps is not None:
        failed_places.append(aps.of_place[~_is(aps, 1, "")])
    failed = np.isin(places, np.concatenate(failed_places))
    failures = _failures(counts, count_rows, places[failed])
    ap_failures = _failures(aps, ap_rows, places[failed]) if aps is not None else {}
    names, name_events, passed = _passed(counts, success, aps, places)
    aaa, dhcp, dns = _buckets(rows, places)
    for place, (
        minute,
        fleet,
        site,
    ), events, succeeded, fails, of_counts, of_aps, of_passed, of_aaa, of_dhcp, of_dns in zip(
        places.tolist(),
        rows.where(places),
        np.add.reduceat(counts.events, starts).tolist(),
        np.add.reduceat(counts.events * success, starts).tolist(),
        failed.tolist(),
        _slices(counts.of_place, places),
        _slices(aps.of_place, places) if aps is not None else repeat(_NOTHING),
        passed,
        aaa,
        dhcp,
        dns,
        strict=False,
    ):
        yield Tally(
            stream,
            minute,
            fleet,
            site,
            events,
            succeeded,
            None if fails else dict(zip(names[of_passed], name_events[of_passed], strict=True)),
            (of_aaa, of_dhcp, of_dns),
            seen.get(place, EMPTY),
            signals.get(place) or [],
            (failures[place], ap_failures.get(place, [])) if fails else _Some(counts, aps, of_counts, of_aps),
        )


def _slices(ordered: Integers, places: Integers) -> Iterator[slice]:
    """Where each place stands in an ordered array."""
    bounds = (np.searchsorted(ordered, places, side).tolist() for side in ("left", "right"))
    return map(slice, *bounds)


def _on(cells: Cells, axis: int) -> Integers:
    """The number of each cell's value on an axis."""
    behind = prod(map(len, cells.axes[axis + 1 :]))
    return cells.cells // behind % len(cells.axes[axis])


def _is(cells: Cells, axis: int, value: str) -> Flags:
    """Which cells have a value on an axis."""
    values = cells.axes[axis]
    if value not in values:
        return np.zeros(len(cells.cells), np.bool_)
    found: Flags = _on(cells, axis) == values.index(value)
    return found


def _failures(
    cells: Cells, rows: Callable[[Cells, int, int], list[_Row]], places: Integers
) -> dict[int, list[_Row]]:
    """The rows of some of the places."""
    here = np.isin(cells.of_place, places)
    some = cells._replace(of_place=cells.of_place[here], cells=cells.cells[here], events=cells.events[here])
    found = rows(some, 0, len(some.cells))
    return {place: found[start:end] for place, start, end in runs(some.of_place)} if found else {}


def _passed(
    counts: Cells, success: Flags, aps: Cells | None, of: Integers
) -> tuple[list[str], list[int], Iterator[slice]]:
    """SSIDs and access points, in this order, the successes of each, and which are those of each place."""
    names = [f"s{ssid}" for ssid in counts.axes[0]]
    places, of_name, events = counts.of_place[success], _on(counts, 0)[success], counts.events[success]
    if len(places):  # of an SSID, all stages
        starts = beginnings(places * len(names) + of_name)
        places, of_name, events = places[starts], of_name[starts], np.add.reduceat(events, starts)
    if aps is not None:
        here = _is(aps, 1, "")
        places = np.concatenate((places, aps.of_place[here]))
        of_name = np.concatenate((of_name, _on(aps, 0)[here] + len(names)))
        events = np.concatenate((events, aps.events[here]))
        names += [f"a{ap}" for ap in aps.axes[0]]
        order = np.argsort(places, kind="stable")
        places, of_name, events = places[order], of_name[order], events[order]
    return list(map(names.__getitem__, of_name.tolist())), events.tolist(), _slices(places, of)


def _buckets(rows: Rows, of: Integers) -> list[Iterator[bytes]]:
    """Of each of LATENCIES the buckets of each place's successes."""
    found: list[Iterator[bytes]] = [repeat(b"") for _ in LATENCIES]
    for number, places, buckets in rows.buckets():
        places, values = np.divmod(np.sort(places * BUCKETS + buckets), BUCKETS)
        whole = values.astype(np.uint8).tobytes()
        found[number] = map(whole.__getitem__, _slices(places, of))
    return found
