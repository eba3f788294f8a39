"""aggregate: partial counts of an enriched frame, and the merge that makes minutes of them.

A partial counts the events of one stream, fleet and site that were received within one minute: by SSID,
stage and outcome, and the latencies of the site as histograms. Received time, not device time, so that a
device with a slow clock or a late upload does not reopen a minute that has been published.

Histogram buckets are fixed, so that any two can be added: bucket 0 holds values below 1 ms, bucket i from
2**((i-1)/4) up to 2**(i/4) ms, the last one (81) everything from 2**20 ms (17 minutes) on. A quantile
read from them is at most 10 % off (a bucket spans a factor of 1.19).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.contracts.topics import Stream
from tidegate.steps.distinct import Column, distinct, valid, whole_numbers

MINUTE = 60_000_000  # µs
LATENCIES = ("aaa", "dhcp", "dns")
EDGES: npt.NDArray[np.float64] = 2.0 ** (np.arange(81) / 4)
"""The lower edges in ms of buckets 1 to 81."""
BUCKETS = len(EDGES) + 1
_DIMENSIONS: dict[Stream, tuple[str | None, str | None]] = {  # columns of site and SSID
    "client_events": ("site", "ssid"),
    "connection_logs": (None, "network_name"),
    "device_logs": ("device_location", None),
}

Integers = npt.NDArray[np.int64]
Histogram = dict[int, int]  # bucket -> values in it; empty buckets are left out
Key = tuple[str, str, str, int]
_Axis = tuple[npt.NDArray[Any], list[Any]]  # codes of shape (n,) or (1,), and the sorted values they number


class Count(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Events of one SSID, stage and outcome."""

    ssid: str
    stage: str
    outcome: str
    events: int


class Partial(msgspec.Struct, frozen=True):
    """What one stream, fleet and site received within one minute, or a part of it.

    Counts stand in order, histograms by name (aaa, dhcp, dns) where there is a value.
    """

    stream: Stream
    fleet: str
    site: str
    minute: int  # µs since 1970 UTC of its start, received time
    counts: list[Count]
    latencies: dict[str, Histogram]

    @property
    def key(self) -> Key:
        return self.stream, self.fleet, self.site, self.minute


def aggregate(stream: Stream, batch: pa.RecordBatch) -> list[Partial]:
    """The partials of one enriched frame, one for each minute, fleet and site in it."""
    if not batch.num_rows:
        return []
    site, ssid = _DIMENSIONS[stream]
    axes = [
        _minutes(batch.column("received_at")),
        *(_axis(batch, name) for name in ("fleet", site, ssid, "stage", "outcome")),
    ]
    minutes, fleets, sites, ssids, stages, outcomes = (values for _, values in axes)
    places = _combine(axes[:3], (np.zeros(batch.num_rows, np.int64), 1))
    cells, events = _tally(*_combine(axes[3:], places))
    rest, of_outcome = np.divmod(cells, len(outcomes))
    rest, of_stage = np.divmod(rest, len(stages))
    of_place, of_ssid = np.divmod(rest, len(ssids))
    counts = list(
        map(
            Count,
            map(ssids.__getitem__, of_ssid.tolist()),
            map(stages.__getitem__, of_stage.tolist()),
            map(outcomes.__getitem__, of_outcome.tolist()),
            events.tolist(),
        )
    )
    latencies = _latencies(batch, *places) if stream == "client_events" else {}
    partials = []
    starts = _starts(of_place)
    for place, start, end in zip(of_place[starts].tolist(), starts, [*starts[1:], len(counts)], strict=True):
        rest_, at_site = divmod(place, len(sites))
        minute, fleet = divmod(rest_, len(fleets))
        partials.append(
            Partial(
                stream,
                fleets[fleet],
                sites[at_site],
                minutes[minute] * MINUTE,
                counts[start:end],
                latencies.get(place) or {},
            )
        )
    return partials


def merge(a: Partial, b: Partial) -> Partial:
    """The partial of both; associative and commutative. Raises ValueError if they are not of one key."""
    if a.key != b.key:
        raise ValueError(f"partials of {a.key} and {b.key} do not add up")
    counts: dict[tuple[str, str, str], int] = {}
    for one in (*a.counts, *b.counts):
        cell = (one.ssid, one.stage, one.outcome)
        counts[cell] = counts.get(cell, 0) + one.events
    latencies = {name: dict(histogram) for name, histogram in a.latencies.items()}
    for name, histogram in b.latencies.items():
        total = latencies.setdefault(name, {})
        for bucket, values in histogram.items():
            total[bucket] = total.get(bucket, 0) + values
    return Partial(
        a.stream,
        a.fleet,
        a.site,
        a.minute,
        [Count(*cell, events) for cell, events in sorted(counts.items())],
        {name: dict(sorted(one.items())) for name, one in sorted(latencies.items())},
    )


def merge_all(partials: Iterable[Partial]) -> list[Partial]:
    """One partial for each key, in order of the keys."""
    merged: dict[Key, Partial] = {}
    for partial in partials:
        known = merged.get(partial.key)
        merged[partial.key] = partial if known is None else merge(known, partial)
    return [merged[key] for key in sorted(merged)]


def quantile(histogram: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in ms, 0 <= q <= 1, as its bucket's geometric middle; None of no values.

    Bucket 0 reads as 0, the last bucket as its lower edge.
    """
    total = sum(histogram.values())
    if not total:
        return None
    rank = q * (total - 1)
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen > rank:
            break
    if bucket == 0:
        return 0.0
    if bucket == BUCKETS - 1:
        return float(EDGES[-1])
    return float(np.sqrt(EDGES[bucket - 1] * EDGES[bucket]))


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
    codes, values = distinct(batch.column(name))
    if len(values) == 1:
        return np.zeros(1, np.int64), values
    texts = [value or "" for value in values]
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
        return np.unique(numbers, return_counts=True)
    found = np.bincount(numbers, minlength=1)
    distinct_numbers = np.flatnonzero(found)
    return distinct_numbers, found[distinct_numbers]


def _starts(ordered: Integers) -> list[int]:
    """Where each run of equal numbers begins."""
    return [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist()]


def _latencies(batch: pa.RecordBatch, places: Integers, size: int) -> dict[int, dict[str, Histogram]]:
    """The histograms of each place."""
    parts = []
    for number, name in enumerate(LATENCIES):
        column = batch.column(f"{name}_latency")
        if column.null_count == len(column):
            continue
        values, of_value = whole_numbers(column), places
        if column.null_count:
            there = valid(column)
            values, of_value = values[there], places[there]
        parts.append((of_value * len(LATENCIES) + number) * BUCKETS + _buckets(values))
    if not parts:
        return {}
    found, values = _tally(np.concatenate(parts), size * len(LATENCIES) * BUCKETS)
    which, buckets = np.divmod(found, BUCKETS)
    buckets_list, counts = buckets.tolist(), values.tolist()
    starts = _starts(which)
    latencies: dict[int, dict[str, Histogram]] = {}
    for one, start, end in zip(which[starts].tolist(), starts, [*starts[1:], len(counts)], strict=True):
        place, number = divmod(one, len(LATENCIES))
        histogram = dict(zip(buckets_list[start:end], counts[start:end], strict=True))
        latencies.setdefault(place, {})[LATENCIES[number]] = histogram
    return latencies


def _buckets(milliseconds: Integers) -> Integers:
    """The bucket of each value."""
    if milliseconds.min() >= 0 and milliseconds.max() < len(_SMALL):
        return _SMALL[milliseconds]
    return np.searchsorted(EDGES, milliseconds, side="right")


_SMALL: Integers = np.searchsorted(EDGES, np.arange(4096), side="right")  # of values that are common
