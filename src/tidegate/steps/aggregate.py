"""aggregate: partial counts of an enriched frame, and the merge that makes minutes of them.

A partial counts the events of one stream, fleet and site that were received within one minute: by SSID,
stage and outcome, and the latencies by SSID as histograms. Received time, not device time, so that a
device with a slow clock or a late upload does not reopen a minute that has been published.

Histogram buckets are fixed, so that any two can be added: bucket 0 holds values below 1 ms, bucket i from
2**((i-1)/4) up to 2**(i/4) ms, the last one (81) everything from 2**20 ms (17 minutes) on. A quantile
read from them is at most 9 % off (half a bucket, which spans a factor of 2**0.25).
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
LATENCIES = ("dhcp", "aaa", "dns")
EDGES: npt.NDArray[np.float64] = 2.0 ** (np.arange(81) / 4)
"""The lower edges in ms of buckets 1 to 81."""
BUCKETS = len(EDGES) + 1
_DIMENSIONS: dict[Stream, tuple[str | None, str | None]] = {  # columns of site and SSID
    "client_events": ("site", "ssid"),
    "connection_logs": (None, "network_name"),
    "device_logs": ("device_location", None),
}

_Axis = tuple[npt.NDArray[Any], list[Any]]  # codes of shape (n,) or (1,), and the values they number
Histogram = dict[int, int]  # bucket -> values in it; empty buckets are left out


class Count(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Events of one SSID, stage and outcome."""

    ssid: str
    stage: str
    outcome: str
    events: int


class Latency(msgspec.Struct, frozen=True, array_like=True):
    """The histogram of one latency (dhcp, aaa, dns) of one SSID."""

    ssid: str
    name: str
    buckets: Histogram


class Partial(msgspec.Struct, frozen=True):
    """What one stream, fleet and site received within one minute, or a part of it; lists in order."""

    stream: Stream
    fleet: str
    site: str
    minute: int  # µs since 1970 UTC of its start, received time
    counts: list[Count]
    latencies: list[Latency]

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.stream, self.fleet, self.site, self.minute


def aggregate(stream: Stream, batch: pa.RecordBatch) -> list[Partial]:
    """The partials of one enriched frame, one for each fleet, site and minute in it, in order."""
    if not batch.num_rows:
        return []
    site, ssid = _DIMENSIONS[stream]
    axes: list[_Axis] = [
        _minutes(batch.column("received_at")),
        distinct(batch.column("fleet")),
        _axis(batch, site),
        _axis(batch, ssid),
        _axis(batch, "stage"),
        _axis(batch, "outcome"),
    ]
    minutes, fleets, sites, ssids, stages, outcomes = (values for _, values in axes)
    place = _combine(axes[:3])
    network = place * len(ssids) + axes[3][0]
    cells = (network * len(stages) + axes[4][0]) * len(outcomes) + axes[5][0]
    made: dict[int, Partial] = {}
    found, events = np.unique(cells, return_counts=True)
    rest, of_outcome = np.divmod(found, len(outcomes))
    rest, of_stage = np.divmod(rest, len(stages))
    of_place, of_ssid = np.divmod(rest, len(ssids))
    for where, i, j, k, number in zip(
        of_place.tolist(),
        of_ssid.tolist(),
        of_stage.tolist(),
        of_outcome.tolist(),
        events.tolist(),
        strict=True,
    ):
        partial = made.get(where)
        if partial is None:
            other, at_site = divmod(where, len(sites))
            minute, fleet = divmod(other, len(fleets))
            partial = made[where] = Partial(
                stream, fleets[fleet], sites[at_site] or "", minutes[minute] * MINUTE, [], []
            )
        partial.counts.append(Count(ssids[i] or "", stages[j] or "", outcomes[k] or "", number))
    if stream == "client_events":
        _add_latencies(made, batch, network, ssids)
    for partial in made.values():
        partial.counts.sort()
        partial.latencies.sort(key=_latency_key)
    return sorted(made.values(), key=_key)


def merge(a: Partial, b: Partial) -> Partial:
    """The partial of both; associative and commutative. Raises ValueError if they are not of one key."""
    if a.key != b.key:
        raise ValueError(f"partials of {a.key} and {b.key} do not add up")
    counts: dict[tuple[str, str, str], int] = {}
    for one in (*a.counts, *b.counts):
        cell = (one.ssid, one.stage, one.outcome)
        counts[cell] = counts.get(cell, 0) + one.events
    histograms: dict[tuple[str, str], Histogram] = {}
    for latency in (*a.latencies, *b.latencies):
        histogram = histograms.setdefault((latency.ssid, latency.name), {})
        for bucket, values in latency.buckets.items():
            histogram[bucket] = histogram.get(bucket, 0) + values
    return Partial(
        a.stream,
        a.fleet,
        a.site,
        a.minute,
        [Count(*cell, events) for cell, events in sorted(counts.items())],
        [Latency(*key, dict(sorted(one.items()))) for key, one in sorted(histograms.items())],
    )


def merge_all(partials: Iterable[Partial]) -> list[Partial]:
    """One partial for each key, in order of the keys."""
    merged: dict[tuple[str, str, str, int], Partial] = {}
    for partial in partials:
        known = merged.get(partial.key)
        merged[partial.key] = partial if known is None else merge(known, partial)
    return sorted(merged.values(), key=_key)


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
        return np.zeros(len(minutes), np.int64), [first]
    found, codes = np.unique(minutes, return_inverse=True)
    return codes, found.tolist()


def _axis(batch: pa.RecordBatch, name: str | None) -> _Axis:
    if name is None or batch.column(name).null_count == batch.num_rows:
        return np.zeros(1, np.int64), [""]
    return distinct(batch.column(name))


def _combine(axes: Iterable[_Axis]) -> npt.NDArray[np.int64]:
    """One number for each row's place on all axes."""
    combined = np.zeros(1, np.int64)
    for codes, values in axes:
        combined = combined * len(values) + codes
    return combined


def _add_latencies(
    made: Mapping[int, Partial], batch: pa.RecordBatch, network: npt.NDArray[np.int64], ssids: list[Any]
) -> None:
    parts = []
    for number, name in enumerate(LATENCIES):
        column = batch.column(f"{name}_latency")
        if column.null_count == len(column):
            continue
        values, networks = whole_numbers(column), network
        if column.null_count:
            there = valid(column)
            values, networks = values[there], networks[there]
        buckets = np.searchsorted(EDGES, values, side="right")
        parts.append((networks * len(LATENCIES) + number) * BUCKETS + buckets)
    if not parts:
        return
    found, values = np.unique(np.concatenate(parts), return_counts=True)
    which, bucket = np.divmod(found, BUCKETS)
    previous = -1
    histogram: Histogram = {}
    for one, at, count in zip(which.tolist(), bucket.tolist(), values.tolist(), strict=True):
        if one != previous:
            previous, histogram = one, {}
            of_network, name_number = divmod(one, len(LATENCIES))
            where, of_ssid = divmod(of_network, len(ssids))
            made[where].latencies.append(Latency(ssids[of_ssid] or "", LATENCIES[name_number], histogram))
        histogram[at] = count


def _key(partial: Partial) -> tuple[str, str, str, int]:
    return partial.key


def _latency_key(latency: Latency) -> tuple[str, str]:
    return latency.ssid, latency.name
