"""health: partial counts of frames become minutes of sites, each frame counted once.

The worker packs the partials of many frames into one record for each partition of `tidegate.partials`;
whoever owns that partition merges them into minutes, which live in a table. A minute carries the
positions of the frames that are in it, so that a partial that comes twice (a worker that died between
sending and committing sends again) counts once, however often either side starts again.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from tidegate.contracts.topics import Stream
from tidegate.processing.lane import Frame
from tidegate.steps.aggregate import MINUTE, Partial, merge
from tidegate.steps.failures import key as site_key

BATCH_FRAMES = 256  # frames whose partials are packed before they are sent
KEEP_MINUTES = 15  # behind the newest minute of a partition; what comes later than that is not counted
AHEAD = 5 * MINUTE  # how far a received time may stand before the clock; what is further is not counted
SEEN_RANGES = 256  # runs of positions that a minute remembers for each source partition


class FramePartial(msgspec.Struct, frozen=True, array_like=True):
    """The partials of one frame that go to one partition, with the frame's position."""

    stream: Stream
    partition: int  # of the raw topic
    offset: int
    partials: list[Partial]


class Minute(msgspec.Struct):
    """A value of the table."""

    partition: int  # of the partials topic
    partial: Partial
    seen: dict[int, list[tuple[int, int]]]  # raw partition -> runs (first, last) of offsets, ascending


class MinuteCounts(msgspec.Struct):
    """A document of `tidegate.health`: a minute of one stream at one site so far; a newer one replaces it.

    `counts` rows are [ssid, stage, outcome, events]; `latencies` rows are [ssid, name, total ms, {bucket:
    values}], buckets as in steps.aggregate.
    """

    stream: str
    fleet: str
    site: str | None
    minute: str  # ISO 8601 of its start, UTC
    counts: list[Any]
    latencies: list[Any]


class Merged(NamedTuple):
    merged: int  # frames' partials
    repeated: int
    late: int


_ENCODE = msgspec.json.Encoder().encode
_BATCH = msgspec.json.Decoder(list[FramePartial])
_MINUTE = msgspec.json.Decoder(Minute)


def partition_of(fleet: str, site: str, partitions: int) -> int:
    """The partition of `tidegate.partials` and `tidegate.health` that a site belongs to."""
    return zlib.crc32(site_key(fleet, site)) % partitions


class PartialBatches:
    """Collects partials until there are enough to send: one record for each partition."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.clear()

    def clear(self) -> None:
        self._batches: dict[int, list[FramePartial]] = defaultdict(list)
        self._frames: dict[int, list[Frame]] = defaultdict(list)
        self._count = 0

    def add(self, stream: Stream, partition: int, frame: Frame, partials: list[Partial]) -> bool:
        """Take a frame's partials and count their records in `frame.partials`; True: it is time to send."""
        split: dict[int, list[Partial]] = defaultdict(list)
        for partial in partials:
            split[partition_of(partial.fleet, partial.site, self._partitions)].append(partial)
        for target, part in split.items():
            self._batches[target].append(FramePartial(stream, partition, frame.offset, part))
            self._frames[target].append(frame)
        frame.partials += len(split)
        self._count += 1
        return self._count >= BATCH_FRAMES

    def take(self) -> Iterator[tuple[int, list[FramePartial], list[Frame]]]:
        """Partition, partials and the frames they are of; the collection begins again."""
        batches, frames = self._batches, self._frames
        self.clear()
        for partition, batch in batches.items():
            yield partition, batch, frames[partition]


class Minutes:
    """The minutes of the partitions at hand, over a table that survives this process."""

    def __init__(self, table: MutableMapping[bytes, bytes]) -> None:
        self._table = table
        self._by_minute: dict[int, dict[int, set[bytes]]] = {}  # partition -> minute -> keys
        self._changed: set[bytes] = set()

    def recovered(self) -> None:
        """The table was read again after an assignment: everything in it is published once more."""
        self._by_minute = {}
        self._changed = set()
        for key, value in self._table.items():
            minute = _MINUTE.decode(value)
            self._index(minute.partition, minute.partial.minute).add(key)
            self._changed.add(key)

    def merge(self, partition: int, record: bytes, now: int) -> Merged:
        """Merge one record of the partials topic at `now` (µs). Raises msgspec.DecodeError if it is none."""
        batch = _BATCH.decode(record)
        touched: dict[bytes, Minute] = {}
        merged = repeated = late = 0
        for frame in batch:
            for partial in frame.partials:
                key = b"%s/%s/%d" % (
                    partial.stream.encode(),
                    site_key(partial.fleet, partial.site),
                    partial.minute,
                )
                minute = touched.get(key) or self._find(key)
                if minute is None:
                    if self._expired(partition, partial.minute) or partial.minute > now + AHEAD:
                        late += 1
                        continue
                    minute = Minute(partition, partial, {})
                    _mark(minute.seen.setdefault(frame.partition, []), frame.offset)
                elif _mark(minute.seen.setdefault(frame.partition, []), frame.offset):
                    minute.partial = merge(minute.partial, partial)
                else:
                    repeated += 1
                    continue
                touched[key] = minute
                merged += 1
        for key, minute in touched.items():
            self._table[key] = _ENCODE(minute)
            self._index(partition, minute.partial.minute).add(key)
        self._changed |= touched.keys()
        self._expire(partition)
        return Merged(merged, repeated, late)

    def publish(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, key and document of each minute that changed since the last call."""
        changed, self._changed = self._changed, set()
        for key in changed:
            minute = self._find(key)
            if minute is None:
                continue
            partial = minute.partial
            document = MinuteCounts(
                stream=partial.stream,
                fleet=partial.fleet,
                site=partial.site or None,
                minute=datetime.fromtimestamp(partial.minute / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                counts=list(partial.counts),
                latencies=list(partial.latencies),
            )
            yield minute.partition, site_key(partial.fleet, partial.site), _ENCODE(document)

    def _find(self, key: bytes) -> Minute | None:
        value = self._table.get(key)
        return None if value is None else _MINUTE.decode(value)

    def _index(self, partition: int, minute: int) -> set[bytes]:
        return self._by_minute.setdefault(partition, {}).setdefault(minute, set())

    def _expired(self, partition: int, minute: int) -> bool:
        newest = max(self._by_minute.get(partition, ()), default=minute)
        return minute <= newest - KEEP_MINUTES * MINUTE

    def _expire(self, partition: int) -> None:
        minutes = self._by_minute.get(partition, {})
        for minute in [minute for minute in minutes if self._expired(partition, minute)]:
            for key in minutes.pop(minute):
                self._table.pop(key, None)


def _mark(runs: list[tuple[int, int]], offset: int) -> bool:
    """Add an offset to ascending runs; False if it is in them.

    The oldest runs grow together when there are too many: what lies between them counts as seen.
    """
    place = len(runs)
    while place and runs[place - 1][0] > offset:
        place -= 1
    if place and runs[place - 1][1] >= offset:
        return False
    joins_before = place > 0 and runs[place - 1][1] == offset - 1
    joins_after = place < len(runs) and runs[place][0] == offset + 1
    if joins_before and joins_after:
        runs[place - 1 : place + 1] = [(runs[place - 1][0], runs[place][1])]
    elif joins_before:
        runs[place - 1] = (runs[place - 1][0], offset)
    elif joins_after:
        runs[place] = (offset, runs[place][1])
    else:
        runs.insert(place, (offset, offset))
    if len(runs) > SEEN_RANGES:
        runs[:2] = [(runs[0][0], runs[1][1])]
    return True
