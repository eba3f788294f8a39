"""aggregate: partial counts of an enriched frame, and the merge that makes minutes of them.

A partial counts the events of one stream, fleet and site that were received within one minute: by SSID,
stage, outcome and failure code, attempts by access point, signals that are no failures, their distinct
clients as sketches, and the latencies of the site's successes as histograms. Received time, not device time,
so that a device with a slow clock or a late upload does not reopen a minute that has been published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.counts import MINUTE, ApCount, Count, Histogram, PartialCounts, Signal, SiteMinute
from tidegate.contracts.topics import Stream
from tidegate.steps.distinct_values import Column, distinct, indices, numpy_buffer, valid, whole_numbers
from tidegate.steps.outcome import FAILURE, SUCCESS
from tidegate.steps.sketch import EMPTY, K, hashes, union

LATENCIES = ("aaa", "dhcp", "dns")
EDGES: npt.NDArray[np.float64] = 2.0 ** (np.arange(81) / 4)
"""The lower edges in ms of buckets 1 to 81."""
BUCKETS = len(EDGES) + 1


class _Dimensions(NamedTuple):
    """The columns of a stream that are counted by, None where it has none."""

    site: str | None
    ssid: str | None
    client: str | None


_DIMENSIONS: dict[Stream, _Dimensions] = {
    "client_events": _Dimensions("site", "ssid", "mac"),
    "connection_logs": _Dimensions(None, "network_name", "device_id"),
    "device_logs": _Dimensions("device_location", None, None),
}
_ALWAYS = ("received_at", "fleet", "stage", "outcome")
COLUMNS: dict[Stream, tuple[str, ...]] = {
    "connection_logs": (
        *(*_ALWAYS, "clock_skew", "network_name", "network_type", "device_id", "insecure", "unapproved"),
    ),
    "client_events": (
        *(*_ALWAYS, "clock_skew", "site", "ssid", "mac", "ap_name", "bssid", "failure_code"),
        *("sub_failure_code", "aaa_latency", "dhcp_latency", "dns_latency"),
        *("event_description", "sub_event_description"),
    ),
    "device_logs": (*_ALWAYS, "device_location"),
}
"""The columns that are read."""
LONGEST_NAME = 255
"""Characters of a site, an SSID or an access point that are counted by: an event may bring a MiB of them."""
_MOST = 1 << 62  # places and cells, so that the number of each fits 64 bits
_NO_CODE: tuple[int | None, int | None] = (None, None)

Integers = npt.NDArray[np.int64]
_Axis = tuple[npt.NDArray[Any], list[Any]]  # codes of shape (n,) or (1,), and the sorted values they number


class Cells(NamedTuple):
    """Counts as columns, in order of the places: what is counted by is numbered in `cells`."""

    of_place: Integers
    cells: Integers
    events: Integers
    sketches: dict[int, bytes]  # by cell
    axes: tuple[list[Any], ...]  # the values that a cell's number is made of, the last one changing fastest

    def columns(self, start: int, end: int) -> tuple[list[list[Any]], list[int], Iterable[bytes]]:
        """Values on each axis, events and sketches of some of the cells."""
        rest, found = self.cells[start:end], []
        for values in reversed(self.axes):
            rest, which = np.divmod(rest, len(values))
            found.append(list(map(values.__getitem__, which.tolist())))
        sketches: Iterable[bytes] = repeat(EMPTY, end - start)
        if self.sketches:
            sketches = map(self.sketches.get, self.cells[start:end].tolist(), repeat(EMPTY))
        return found[::-1], self.events[start:end].tolist(), sketches


class Rows:
    """The rows of a batch, by what they are counted by."""

    def __init__(self, stream: Stream, batch: pa.RecordBatch) -> None:
        dimensions = _DIMENSIONS[stream]
        self._stream, self._batch = stream, batch
        self._axes = [
            _minutes(batch.column("received_at")),
            *(_axis(batch, name) for name in ("fleet", dimensions.site, dimensions.ssid, "stage", "outcome")),
        ]
        self._names = [values for _, values in self._axes]
        # a row has one code
        self.too_many = prod(map(len, self._names)) * (batch.num_rows + 1) >= _MOST and batch.num_rows > 1
        if self.too_many:
            return
        self.places, self.size = _combine(self._axes[:3], (np.zeros(batch.num_rows, np.int64), 1))
        self._failed = _where(self._axes[5], FAILURE)
        self._succeeded = _where(self._axes[5], SUCCESS)
        self._clients = _clients(batch, dimensions.client)

    def where(self, places: Integers) -> Iterator[tuple[int, str, str]]:
        """Minute (µs), fleet and site of each place."""
        minutes, fleets, sites = self._names[:3]
        rest, site = np.divmod(places, len(sites))
        minute, fleet = np.divmod(rest, len(fleets))
        return zip(
            map([one * MINUTE for one in minutes].__getitem__, minute.tolist()),
            map(fleets.__getitem__, fleet.tolist()),
            map(sites.__getitem__, site.tolist()),
            strict=True,
        )

    def counts(self) -> Cells:
        """By SSID, stage, outcome, and code and sub-code of failures."""
        of_code, codes = _ZERO, [_NO_CODE]
        if self._stream == "client_events":
            of_code, codes = _codes(self._batch, self._failed)
        axes = [*self._axes[3:], (of_code, codes)]
        return self._cells(axes, None, (self.places, self.size))

    def aps(self) -> Cells | None:
        """Attempts by access point and stage, "" the successes."""
        batch = self._batch
        if self._stream != "client_events":
            return None
        either = np.logical_or(self._failed, self._succeeded) | np.zeros(batch.num_rows, np.bool_)
        attempts = _rows(either, batch.num_rows)
        if attempts is None:
            return None
        name, bssid = batch.column("ap_name"), batch.column("bssid")
        column = name if not name.null_count else bssid
        if 0 < name.null_count < len(name):
            column = pc.coalesce(name.cast(bssid.type), bssid)
        axes = [_text_axis(column), self._axes[4]]
        return self._cells(axes, attempts, (self.places, int(self.places.max()) + 1))

    def _cells(self, axes: Sequence[_Axis], rows: Integers | None, onto: tuple[Integers, int]) -> Cells:
        numbers, size = _combine(axes, onto)
        sketches = self._clients.by(numbers, self._failed)
        cells, events = _tally(numbers if rows is None else numbers[rows], size)
        values = tuple(values for _, values in axes)
        return Cells(cells // prod(map(len, values)), cells, events, sketches, values)

    def clients(self) -> dict[int, bytes]:
        """The sketch of each place's clients."""
        return self._clients.by(self.places, None)

    def signals(self) -> dict[int, list[Signal]]:
        return _signals(self._stream, self._batch, self.places, self._axes[3], self._clients)

    def buckets(self) -> Iterator[tuple[int, Integers, Integers]]:
        """The number of each latency that there is; of its successes the places, and the buckets."""
        if self._stream == "client_events" and self._succeeded is not False:
            for number, name in enumerate(LATENCIES):
                found = _latencies(self._batch.column(f"{name}_latency"), self.places, self._succeeded)
                if found is not None:
                    yield number, *found


def aggregate(stream: Stream, batch: pa.RecordBatch) -> list[PartialCounts]:
    """The partials of one enriched frame, one for each minute, fleet and site in it."""
    if not batch.num_rows:
        return []
    rows = Rows(stream, batch)
    if rows.too_many:
        half = batch.num_rows // 2
        return merge_all([*aggregate(stream, batch.slice(0, half)), *aggregate(stream, batch.slice(half))])
    cells = rows.counts()
    counts = count_rows(cells, 0, len(cells.cells))
    of_aps: dict[int, list[ApCount]] = {}
    if (aps := rows.aps()) is not None:
        ap_counts = ap_rows(aps, 0, len(aps.cells))
        of_aps = {place: ap_counts[start:end] for place, start, end in runs(aps.of_place)}
    seen, latencies, signals = rows.clients(), _histograms(rows), rows.signals()
    partials = []
    starts = beginnings(cells.of_place)
    places = cells.of_place[starts]
    bounds = [*starts.tolist(), len(cells.of_place)]
    for place, (minute, fleet, site), start, end in zip(
        places.tolist(), rows.where(places), bounds, bounds[1:], strict=False
    ):
        partials.append(
            PartialCounts(
                stream,
                fleet,
                site,
                minute,
                counts[start:end],
                latencies.get(place) or {},
                seen.get(place, EMPTY),
                of_aps.get(place) or [],
                signals.get(place) or [],
            )
        )
    return partials


def count_rows(cells: Cells, start: int, end: int) -> list[Count]:
    (ssids, stages, outcomes, codes), events, sketches = cells.columns(start, end)
    of_code, of_sub_code = [code for code, _ in codes], [sub_code for _, sub_code in codes]
    return list(map(Count, ssids, stages, outcomes, events, of_code, of_sub_code, sketches))


def ap_rows(cells: Cells, start: int, end: int) -> list[ApCount]:
    (aps, stages), events, sketches = cells.columns(start, end)
    return list(map(ApCount, aps, stages, events, sketches))


def merge(a: PartialCounts, b: PartialCounts) -> PartialCounts:
    """The partial of both; associative and commutative. Raises ValueError if they are not of one key."""
    if a.key != b.key:
        raise ValueError(f"partials of {a.key} and {b.key} do not add up")
    return _merged([a, b])


def merge_all(partials: Iterable[PartialCounts]) -> list[PartialCounts]:
    """One partial for each key, in order of the keys."""
    by_key: dict[SiteMinute, list[PartialCounts]] = {}
    for partial in partials:
        by_key.setdefault(partial.key, []).append(partial)
    return [_merged(by_key[key]) for key in sorted(by_key)]


def _merged(parts: list[PartialCounts]) -> PartialCounts:
    """The partial of some of one key."""
    first = parts[0]
    if len(parts) == 1:
        return first
    counts: dict[tuple[Any, ...], list[Count]] = {}
    aps: dict[tuple[str, str], list[ApCount]] = {}
    signals: dict[tuple[str, str], list[Signal]] = {}
    latencies: dict[str, dict[int, int]] = {}
    for part in parts:
        for count in part.counts:
            cell = (count.ssid, count.stage, count.outcome, count.code, count.sub_code)
            counts.setdefault(cell, []).append(count)
        for ap in part.aps:
            aps.setdefault((ap.ap, ap.stage), []).append(ap)
        for signal in part.signals:
            signals.setdefault((signal.name, signal.ssid), []).append(signal)
        for name, histogram in part.latencies.items():
            total = latencies.setdefault(name, {})
            for bucket, values in histogram.items():
                total[bucket] = total.get(bucket, 0) + values
    return PartialCounts(
        first.stream,
        first.fleet,
        first.site,
        first.minute,
        [
            Count(ssid, stage, outcome, _events(found), code, sub_code, _joined(found))
            for (ssid, stage, outcome, code, sub_code), found in sorted(counts.items(), key=_order)
        ],
        {name: dict(sorted(one.items())) for name, one in sorted(latencies.items())},
        union(part.clients for part in parts),
        [ApCount(*cell, _events(found), _joined(found)) for cell, found in sorted(aps.items())],
        [Signal(*cell, _events(found), _joined(found)) for cell, found in sorted(signals.items())],
    )


def _events(found: Sequence[Count | ApCount | Signal]) -> int:
    return found[0].events if len(found) == 1 else sum(one.events for one in found)


def _joined(found: Sequence[Count | ApCount | Signal]) -> bytes:
    return found[0].clients if len(found) == 1 else union(one.clients for one in found)


def _order(item: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    """The order of counts; no code stands before every code."""
    ssid, stage, outcome, code, sub_code = item[0]
    return ssid, stage, outcome, code is not None, code or 0, sub_code is not None, sub_code or 0


def _minutes(received_at: Column) -> _Axis:
    minutes = whole_numbers(received_at) // MINUTE
    first, last = int(minutes.min()), int(minutes.max())
    if first == last:
        return np.zeros(1, np.int64), [first]
    found, codes = np.unique(minutes, return_inverse=True)
    return codes, found.tolist()


def _axis(batch: pa.RecordBatch, name: str | None) -> _Axis:
    """A text column; null counts as ''."""
    if name is None or batch.column(name).null_count == batch.num_rows:
        return np.zeros(1, np.int64), [""]
    return _text_axis(batch.column(name), None if name == "fleet" else LONGEST_NAME)


def _text_axis(column: Column, longest: int | None = LONGEST_NAME) -> _Axis:
    codes, values = distinct(column)
    texts = [(value or "")[:longest] for value in values]
    if len(texts) == 1:
        return np.zeros(1, np.int64), texts
    ordered = sorted(set(texts))
    numbers = {text: number for number, text in enumerate(ordered)}
    return np.array([numbers[text] for text in texts])[codes], ordered


def _combine(axes: Iterable[_Axis], onto: tuple[Integers, int]) -> tuple[Integers, int]:
    """One number for each row's place on all axes, in order of the axes, and how many places there are."""
    codes, size = onto
    for of_axis, values in axes:
        if len(values) > 1:
            codes = codes * len(values) + of_axis
        size *= len(values)
    return codes, size


def _tally(numbers: Integers, size: int) -> tuple[Integers, Integers]:
    """The distinct numbers below `size` in order, and how often each stands there."""
    if size > 32 * max(len(numbers), 512):  # sparse: sort rather than walk over the gaps
        ordered = np.sort(numbers)
        starts = beginnings(ordered)
        return ordered[starts], np.diff(starts, append=len(ordered))
    found = np.bincount(numbers, minlength=1)
    distinct_numbers = np.flatnonzero(found)
    return distinct_numbers, found[distinct_numbers]


def beginnings(ordered: Integers) -> Integers:
    """Where each run of equal numbers begins; there is at least one number."""
    return np.concatenate((_ZERO, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))


def runs(ordered: Integers) -> Iterator[tuple[int, int, int]]:
    """Each number of an ordered array, with the places from and up to which it stands there."""
    starts = beginnings(ordered)
    bounds = [*starts.tolist(), len(ordered)]
    return zip(ordered[starts].tolist(), bounds, bounds[1:], strict=False)


def _where(axis: _Axis, value: str) -> npt.NDArray[np.bool_] | bool:
    """Which rows have this value on an axis; one answer where all have the same."""
    codes, values = axis
    if len(values) == 1:
        return bool(values[0] == value)
    return codes == values.index(value) if value in values else False


def _rows(flags: npt.NDArray[np.bool_] | bool, count: int) -> Integers | None:
    """The rows where `flags` are set, None for none."""
    if isinstance(flags, bool):
        return np.arange(count) if flags else None
    found = np.flatnonzero(flags)
    return found if found.size else None


_ZERO = np.zeros(1, np.int64)


def _codes(batch: pa.RecordBatch, failed: npt.NDArray[np.bool_] | bool) -> _Axis:
    """The axis of failure codes and sub-codes; what is no failure has none."""
    rows = _rows(failed, batch.num_rows)
    if rows is None:
        return _ZERO, [_NO_CODE]
    pairs: list[Any] = []
    for name in ("failure_code", "sub_failure_code"):
        column = batch.column(name)
        if column.null_count == len(column):
            pairs.append((np.zeros(len(rows), np.int64), [None]))
            continue
        numbers = whole_numbers(column)[rows]
        values, of_value = np.unique(numbers, return_inverse=True)
        if column.null_count:
            of_value = np.where(valid(column)[rows], of_value + 1, 0)
            pairs.append((of_value, [None, *values.tolist()]))
        else:
            pairs.append((of_value, values.tolist()))
    (of_code, code_values), (of_sub, sub_values) = pairs
    found, of_pair = np.unique(of_code * len(sub_values) + of_sub, return_inverse=True)
    codes = np.zeros(batch.num_rows, np.int64)
    codes[rows] = of_pair + 1
    listed = [
        (code_values[one // len(sub_values)], sub_values[one % len(sub_values)]) for one in found.tolist()
    ]
    return codes, [_NO_CODE, *listed]


class _Clients:
    """The clients of a frame's rows: numbers of shape (n,), -1 for none, and the hash of each number."""

    def __init__(self, numbers: npt.NDArray[Any], hashes_: npt.NDArray[np.uint64]) -> None:
        order = np.argsort(hashes_)
        ranks = np.empty(len(order) + 1, np.int64)
        ranks[order] = np.arange(len(order))
        ranks[-1] = -1
        self._ranks = ranks[numbers]  # of each row, by its hash
        self._hashes = hashes_[order]
        self._all = bool((self._ranks >= 0).all())

    def by(self, groups: Integers, flags: npt.NDArray[np.bool_] | bool | None) -> dict[int, bytes]:
        """The sketch of each group's clients, over the rows where `flags` are set (None: all)."""
        if flags is False or not len(self._hashes):
            return {}
        ranks = self._ranks
        if isinstance(flags, np.ndarray):
            groups, ranks = groups[flags], ranks[flags]
        if not self._all:
            there = ranks >= 0
            groups, ranks = groups[there], ranks[there]
        if not len(ranks):
            return {}
        size = len(self._hashes)
        if int(groups.max()) >= _MOST // size:
            names, groups = np.unique(groups, return_inverse=True)
            return {int(names[group]): one for group, one in self._sketches(groups, ranks).items()}
        return self._sketches(groups, ranks)

    def _sketches(self, groups: Integers, ranks: Integers) -> dict[int, bytes]:
        size = len(self._hashes)
        pairs = np.sort(groups * size + ranks)  # by group, then by hash
        pairs = pairs[beginnings(pairs)]
        of_group, of_rank = np.divmod(pairs, size)
        ordered = self._hashes[of_rank]
        whole = ordered.astype(">u8").tobytes()
        starts = beginnings(of_group)
        ends = np.append(starts[1:], len(of_group))
        groups_, cuts = of_group[starts].tolist(), (8 * np.minimum(ends, starts + K)).tolist()
        slices = map(slice, (8 * starts).tolist(), cuts)
        return dict(zip(groups_, map(whole.__getitem__, slices), strict=True))


def _clients(batch: pa.RecordBatch, name: str | None) -> _Clients:
    if name is None:
        return _Clients(np.full(batch.num_rows, -1), np.empty(0, np.uint64))
    encoded: Any = pc.dictionary_encode(batch.column(name))
    return _Clients(indices(encoded.indices), hashes(encoded.dictionary))


def _signals(
    stream: Stream, batch: pa.RecordBatch, places: Integers, ssids: _Axis, clients: _Clients
) -> dict[int, list[Signal]]:
    """The signals of each place, in order."""
    found: dict[int, list[Signal]] = {}
    for name, flags in _flags(stream, batch):
        rows = np.flatnonzero(flags)
        if not rows.size:
            continue
        by_network = name in ("insecure", "unapproved")
        axis = ssids if by_network else (_ZERO, [""])
        numbers, size = _combine([axis], (places, int(places.max()) + 1))
        sketches = clients.by(numbers, flags)
        cells, events = _tally(numbers[rows], size)
        for cell, count in zip(cells.tolist(), events.tolist(), strict=True):
            place, which = divmod(cell, len(axis[1]))
            signal = Signal(name, axis[1][which], count, sketches.get(cell, EMPTY))
            found.setdefault(place, []).append(signal)
    return found


def _flags(stream: Stream, batch: pa.RecordBatch) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """The signals of a stream and the rows that show them, in order of their names."""
    if stream == "device_logs":
        return
    yield "clock_skew", _set(batch.column("clock_skew"))
    if stream == "client_events":
        description, detail = batch.column("event_description"), batch.column("sub_event_description")
        told = description.null_count < len(description), detail.null_count < len(detail)
        if all(told):  # a detail counts in the rows that have no description
            yield (
                "disassociations",
                np.where(valid(description), _mentions(description), _mentions(detail)),
            )
        elif any(told):
            yield "disassociations", _mentions(description if told[0] else detail)
        return
    wifi = _equals(batch.column("network_type"), "wi")
    for name in ("insecure", "unapproved"):
        yield name, _set(batch.column(name)) & wifi


def _set(column: Column) -> npt.NDArray[np.bool_]:
    """The values of a column of flags without nulls."""
    bits = numpy_buffer(column.buffers()[1], np.uint8)
    flags = np.unpackbits(bits, bitorder="little")[column.offset : column.offset + len(column)]
    return flags.view(np.bool_)


def _mentions(column: Column) -> npt.NDArray[np.bool_]:
    """Which rows speak of a disassociation."""
    codes, values = distinct(column)
    return np.array(["disassoc" in (value or "").lower() for value in values])[codes]


def _equals(column: Column, text: str) -> npt.NDArray[np.bool_]:
    codes, values = distinct(column)
    return np.array([value == text for value in values])[codes]


def _latencies(
    column: Column, places: Integers, succeeded: npt.NDArray[np.bool_] | bool
) -> tuple[Integers, Integers] | None:
    """Places and buckets of successes alone: a failed attempt's time is the limit it ran into."""
    if column.null_count == len(column):
        return None
    values = whole_numbers(column)
    there = succeeded if isinstance(succeeded, np.ndarray) else None
    if column.null_count:
        there = valid(column) if there is None else valid(column) & there
    if there is not None:
        values, places = values[there], places[there]
    return (places, _buckets(values)) if len(values) else None


def _histograms(rows: Rows) -> dict[int, dict[str, Histogram]]:
    """The histograms of each place."""
    parts = [
        (of_value * len(LATENCIES) + number) * BUCKETS + buckets
        for number, of_value, buckets in rows.buckets()
    ]
    if not parts:
        return {}
    found, values = _tally(np.concatenate(parts), rows.size * len(LATENCIES) * BUCKETS)
    which, buckets = np.divmod(found, BUCKETS)
    latencies: dict[int, dict[str, Histogram]] = {}
    last = -1
    histogram: Histogram = {}
    for one, bucket, count in zip(which.tolist(), buckets.tolist(), values.tolist(), strict=True):
        if one != last:
            last = one
            place, number = divmod(one, len(LATENCIES))
            of_place = latencies.get(place)
            if of_place is None:
                of_place = latencies[place] = {}
            histogram = of_place[LATENCIES[number]] = {}
        histogram[bucket] = count
    return latencies


def _buckets(milliseconds: Integers) -> Integers:
    """The bucket of each value."""
    if milliseconds.min() >= 0 and milliseconds.max() < len(_SMALL):
        return _SMALL[milliseconds]
    return np.searchsorted(EDGES, milliseconds, side="right")


_SMALL: Integers = np.searchsorted(EDGES, np.arange(4096), side="right")  # of values that are common
