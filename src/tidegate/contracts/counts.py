"""Partial counts by minute and site: what the worker that counts sends to the one that publishes.

A worker counts its frames (`PartialCounts`) and sends the counts of those that it is about to commit to
`tidegate.partials`, as blocks (`CountBlock`). Whoever owns a partition there merges them into minutes and
publishes each one (`MinuteCounts`) in `tidegate.health`, and when it is complete (`MinutesClosed`).

Histogram buckets are fixed, so that any two can be added: bucket 0 holds values below 1 ms, bucket i from
2**((i-1)/4) up to 2**(i/4) ms, the last one (81) everything from 2**20 ms (17 minutes) on. A quantile
read from them is at most 10 % off (a bucket spans a factor of 1.19).

Distinct clients are sketches (`steps/sketch.py`): the smallest of their 64-bit hashes, at most 1024 of them,
in order, each as 8 bytes big-endian; in JSON base64. Fewer than 1024 are the clients exactly, and any two
sketches can be joined.
"""

from __future__ import annotations

import msgspec

from tidegate.contracts.topics import Stream

MINUTE = 60_000_000  # µs
LAST_BUCKET = 81
_SKETCH_BYTES = 8 * 1024
_NUMBERS = 1 << 53  # below which JSON carries numbers whole
_CODES = 1 << 63

Histogram = dict[int, int]  # bucket -> values in it; empty buckets are left out
SiteMinute = tuple[str, str, str, int]  # stream, fleet, site, minute
Sketch = bytes


class Count(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events of one SSID, stage, outcome and failure code; of failures the distinct clients."""

    ssid: str
    stage: str
    outcome: str
    events: int
    code: int | None = None
    sub_code: int | None = None
    clients: Sketch = b""


class ApCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Attempts at one access point: failures at a stage, with their clients; stage "" the successes."""

    ap: str  # name, else the MAC of the radio
    stage: str
    events: int
    clients: Sketch = b""


class Signal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events that are no failures and tell of trouble all the same, and their distinct clients.

    disassociations, clock_skew (ssid "" for both), insecure and unapproved (networks of type Wi-Fi).
    """

    name: str
    ssid: str
    events: int
    clients: Sketch = b""


class PartialCounts(msgspec.Struct, frozen=True):
    """What one stream, fleet and site received within one minute, or a part of it.

    Counts stand in order, histograms (of successes) by name (aaa, dhcp, dns) where there is a value.
    """

    stream: Stream
    fleet: str
    site: str
    minute: int  # µs since 1970 UTC of its start, received time
    counts: list[Count]
    latencies: dict[str, Histogram]
    clients: Sketch = b""  # of all events
    aps: list[ApCount] = []
    signals: list[Signal] = []

    @property
    def key(self) -> SiteMinute:
        return self.stream, self.fleet, self.site, self.minute


class CountBlock(msgspec.Struct, frozen=True, array_like=True):
    """The counts of one raw partition's frames from `start` up to a commit, or those of a few sites.

    `start` is a committed position, so blocks of one partition never overlap in part: two with the same
    start are two tries at the same frames, and the later one (of the higher group generation) holds.
    """

    stream: Stream
    partition: int  # of the raw topic
    start: int
    generation: int
    partials: list[PartialCounts]
    read_to: int = 0  # µs since 1970: what the partition received before is counted; 0: not known


class MinuteCounts(msgspec.Struct):
    """A document of `tidegate.health`: a minute of one stream at one site so far; a newer one replaces it.

    `counts` rows are [ssid, stage, outcome, events, code, sub_code, clients], `aps` rows [ap, stage, events,
    clients], `signals` rows [name, ssid, events, clients], trailing values left out where they are null or
    empty; `latencies` are histograms by name (aaa, dhcp, dns), their buckets numbered as above.
    """

    stream: Stream
    fleet: str
    site: str | None
    minute: str  # ISO 8601 of its start, UTC
    counts: list[Count]
    latencies: dict[str, Histogram]
    clients: Sketch = b""  # sketch of the distinct clients of all events
    aps: list[ApCount] = []
    signals: list[Signal] = []


class MinutesClosed(msgspec.Struct):
    """A document of `tidegate.health`, one in each partition: its minutes up to this one are complete.

    Every raw partition was read past the minute's end; what still comes for it is late.
    """

    closed: str  # ISO 8601 of the minute's start, UTC


def check(found: PartialCounts | MinuteCounts) -> None:
    """Raise ValueError for what no worker counts: nothing could be added to it, or read from the sum."""
    _sketch(found.clients)
    for count in found.counts:
        _number(count.events)
        code, sub_code, clients = count.code, count.sub_code, count.clients
        if code is not None and not -_CODES <= code < _CODES:
            raise _out_of_range(code)
        if sub_code is not None and not -_CODES <= sub_code < _CODES:
            raise _out_of_range(sub_code)
        if clients:
            _sketch(clients)
    others: tuple[list[ApCount] | list[Signal], ...] = (found.aps, found.signals)
    for rows in others:
        for one in rows:
            _number(one.events)
            if one.clients:
                _sketch(one.clients)
    for histogram in found.latencies.values():
        if histogram and not (0 <= min(histogram) and max(histogram) <= LAST_BUCKET):
            raise ValueError("a bucket is out of range")
        for values in histogram.values():
            _number(values)


def _number(found: int) -> None:
    if not 0 <= found < _NUMBERS:
        raise _out_of_range(found)


def _sketch(found: Sketch) -> None:
    if len(found) % 8 or len(found) > _SKETCH_BYTES:
        raise ValueError(f"a sketch of {len(found)} bytes")


def _out_of_range(found: int) -> ValueError:
    return ValueError(f"{str(found)[:40]} is out of range")
