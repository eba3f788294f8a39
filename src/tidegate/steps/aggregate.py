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


def aggregate(stream: Stream, batch: pa.RecordBatch) -> list[PartialCounts]:
    """The partials of one enriched frame, one for each minute, fleet and site in it."""
    if not batch.num_rows:
        return []
    dimensions = _DIMENSIONS[stream]
    axes = [
        _minutes(batch.column("received_at")),
        *(_axis(batch, name) for name in ("fleet", dimensions.site, dimensions.ssid, "stage", "outcome")),
    ]
    minutes, fleets, sites, ssids, stages, outcomes = (values for _, values in axes)
    cells_at_most = prod(len(values) for _, values in axes) * (batch.num_rows + 1)  # a row has one code
    if cells_at_most >= _MOST and batch.num_rows > 1:
        half = batch.num_rows // 2
        return merge_all([*aggregate(stream, batch.slice(0, half)), *aggregate(stream, batch.slice(half))])
    places, size = _combine(axes[:3], (np.zeros(batch.num_rows, np.int64), 1))
    failed = _where(axes[5], FAILURE)
    clients = _clients(batch, dimensions.client)
    of_code, codes = _codes(batch, failed) if stream == "client_events" else (_ZERO, [_NO_CODE])
    numbers, cells_size = _combine([*axes[3:], (of_code, codes)], (places, size))
    cells, events = _tally(numbers, cells_size)
    rest, which_code = np.divmod(cells, len(codes))
    rest, of_outcome = np.divmod(rest, len(outcomes))
    rest, of_stage = np.divmod(rest, len(stages))
    of_place, of_ssid = np.divmod(rest, len(ssids))
    sketches = clients.by(numbers, failed)
    which_codes = which_code.tolist()
    counts = list(
        map(
            Count,
            map(ssids.__getitem__, of_ssid.tolist()),
            map(stages.__getitem__, of_stage.tolist()),
            map(outcomes.__getitem__, of_outcome.tolist()),
            events.tolist(),
            map([code for code, _ in codes].__getitem__, which_codes),
            map([sub_code for _, sub_code in codes].__getitem__, which_codes),
            map(sketches.get, cells.tolist(), repeat(EMPTY)) if sketches else repeat(EMPTY, len(cells)),
        )
    )
    seen = clients.by(places, None)
    latencies: dict[int, dict[str, Histogram]] = {}
    aps: dict[int, list[ApCount]] = {}
    if stream == "client_events":
        succeeded = _where(axes[5], SUCCESS)
        latencies = _latencies(batch, places, size, succeeded)
        aps = _aps(batch, places, axes[4], failed, succeeded, clients)
    signals = _signals(stream, batch, places, axes[3], clients)
    partials = []
    for place, start, end in _runs(of_place):
        rest_, at_site = divmod(place, len(sites))
        minute, fleet = divmod(rest_, len(fleets))
        partials.append(
            PartialCounts(
                stream,
                fleets[fleet],
                sites[at_site],
                minutes[minute] * MINUTE,
                counts[start:end],
                latencies.get(place) or {},
                seen.get(place, EMPTY),
                aps.get(place) or [],
                signals.get(place) or [],
            )
        )
    return partials


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
        starts = _starts(ordered)
        return ordered[starts], np.diff(starts, append=len(ordered))
    found = np.bincount(numbers, minlength=1)
    distinct_numbers = np.flatnonzero(found)
    return distinct_numbers, found[distinct_numbers]


def _starts(ordered: Integers) -> Integers:
    """Where each run of equal numbers begins; there is at least one number."""
    return np.concatenate((_ZERO, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))


def _runs(ordered: Integers) -> Iterator[tuple[int, int, int]]:
    """Each number of an ordered array, with the places from and up to which it stands there."""
    starts = _starts(ordered)
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
        pairs = pairs[_starts(pairs)]
        of_group, of_rank = np.divmod(pairs, size)
        ordered = self._hashes[of_rank]
        whole = ordered.astype(">u8").tobytes()
        starts = _starts(of_group)
        ends = np.append(starts[1:], len(of_group))
        groups_, cuts = of_group[starts].tolist(), (8 * np.minimum(ends, starts + K)).tolist()
        slices = map(slice, (8 * starts).tolist(), cuts)
        return dict(zip(groups_, map(whole.__getitem__, slices), strict=True))


def _clients(batch: pa.RecordBatch, name: str | None) -> _Clients:
    if name is None:
        return _Clients(np.full(batch.num_rows, -1), np.empty(0, np.uint64))
    encoded: Any = pc.dictionary_encode(batch.column(name))
    return _Clients(indices(encoded.indices), hashes(encoded.dictionary))


def _aps(
    batch: pa.RecordBatch,
    places: Integers,
    stages: _Axis,
    failed: npt.NDArray[np.bool_] | bool,
    succeeded: npt.NDArray[np.bool_] | bool,
    clients: _Clients,
) -> dict[int, list[ApCount]]:
    """Attempts of each place by access point: its failures by stage, and its successes."""
    attempts = _rows(np.logical_or(failed, succeeded) | np.zeros(batch.num_rows, np.bool_), batch.num_rows)
    if attempts is None:
        return {}
    name, bssid = batch.column("ap_name"), batch.column("bssid")
    column = name if not name.null_count else bssid
    if 0 < name.null_count < len(name):
        column = pc.coalesce(name.cast(bssid.type), bssid)
    of_ap, aps = _text_axis(column)
    of_stage, stage_names = stages
    numbers, size = _combine([(of_ap, aps), (of_stage, stage_names)], (places, 1))
    sketches = clients.by(numbers, failed)
    found, events = _tally(numbers[attempts], size * (int(places.max()) + 1))
    rest, which_stage = np.divmod(found, len(stage_names))
    of_place, which_ap = np.divmod(rest, len(aps))
    counts = list(
        map(
            ApCount,
            map(aps.__getitem__, which_ap.tolist()),
            map(stage_names.__getitem__, which_stage.tolist()),
            events.tolist(),
            map(sketches.get, found.tolist(), repeat(EMPTY)),
        )
    )
    return {place: counts[start:end] for place, start, end in _runs(of_place)}


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
    batch: pa.RecordBatch, places: Integers, size: int, succeeded: npt.NDArray[np.bool_] | bool
) -> dict[int, dict[str, Histogram]]:
    """The histograms of each place, of successes alone: a failed attempt's time is the limit it ran into."""
    parts = []
    for number, name in enumerate(LATENCIES):
        column = batch.column(f"{name}_latency")
        if column.null_count == len(column) or succeeded is False:
            continue
        values, of_value = whole_numbers(column), places
        there = succeeded if isinstance(succeeded, np.ndarray) else None
        if column.null_count:
            there = valid(column) if there is None else valid(column) & there
        if there is not None:
            values, of_value = values[there], places[there]
        if len(values):
            parts.append((of_value * len(LATENCIES) + number) * BUCKETS + _buckets(values))
    if not parts:
        return {}
    found, values = _tally(np.concatenate(parts), size * len(LATENCIES) * BUCKETS)
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
