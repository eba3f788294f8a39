"""Merges blocks of partial counts into minutes of sites, each frame counted once.

With each commit the worker sends the counts of the frames that it covers, as blocks, to the partition of
`tidegate.partials` that their site belongs to; whoever owns that partition merges them into minutes,
which live in a table. A worker that dies between sending and committing begins at the same committed
position again, so its block comes again with the same start, possibly longer or shorter. Therefore a
minute keeps apart what the latest block of each raw partition gave it: a block with the same start takes
that back first, one with a later start makes it final, one with an earlier start is a repeat.
"""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from tidegate.contracts.counts import (
    MINUTE,
    CountBlock,
    MinuteCounts,
    MinutesClosed,
    PartialCounts,
    check,
)
from tidegate.contracts.topics import Stream
from tidegate.steps.aggregate import merge, merge_all
from tidegate.steps.failures import key as site_key
from tidegate.worker.producer import MARK

log = logging.getLogger(__name__)

KEEP_MINUTES = 15  # behind the newest minute of a partition; what comes later than that is not counted
GRACE = 5_000_000  # µs behind a minute's end in which what was received in it is still written to its topic
MOST_BYTES = 8 << 20  # of a record of counts, half of what a topic takes where nothing else is set
AHEAD = 5 * MINUTE  # how far a received time may stand before the clock; what is further is not counted


class LatestBlock(msgspec.Struct, frozen=True, array_like=True):
    """What the latest block of one raw partition gave a minute."""

    start: int
    generation: int
    partial: PartialCounts


class Minute(msgspec.Struct, omit_defaults=True):
    """A value of the table: one minute of one stream at one site."""

    partition: int  # of the partials topic
    minute: int  # µs
    final: PartialCounts | None = None
    open: dict[int, LatestBlock] = {}  # by raw partition

    def total(self) -> PartialCounts | None:
        """All counts; None if all was taken back."""
        parts = [
            *([self.final] if self.final is not None else []),
            *(one.partial for one in self.open.values()),
        ]
        return merge_all(parts)[0] if parts else None


class Merged(NamedTuple):
    """Blocks by what became of them, and partials that came too late (or far too early) for their minute."""

    merged: int
    repeated: int
    late: int


TableRecord = tuple[bytes, bytes | None]  # key and value of a record of the changelog, None to delete

_ENCODE = msgspec.json.Encoder().encode
_BLOCKS = msgspec.json.Decoder(list[CountBlock])
_ENCODE_MINUTE = msgspec.msgpack.Encoder().encode
_MINUTE = msgspec.msgpack.Decoder(Minute)
_Source = tuple[Stream, int]  # a raw partition


def partition_of(fleet: str, site: str, partitions: int) -> int:
    """The partition of `tidegate.partials` and `tidegate.health` that a site belongs to."""
    return zlib.crc32(site_key(fleet, site)) % partitions


def split_by_site(
    blocks: Iterable[CountBlock], partitions: int, *, most_bytes: int = MOST_BYTES
) -> list[bytes]:
    """The record for each partition of `tidegate.partials`. The largest counts are left out where it would
    have more than `most_bytes`: one that the broker does not take cannot be skipped.

    Every block goes to every partition, if only to say that it has nothing there: that takes back what an
    earlier try at the same frames gave.
    """
    split: list[list[CountBlock]] = [[] for _ in range(partitions)]
    for block in blocks:
        parts: dict[int, list[PartialCounts]] = defaultdict(list)
        for partial in block.partials:
            parts[partition_of(partial.fleet, partial.site, partitions)].append(partial)
        for target, batch in enumerate(split):
            batch.append(
                CountBlock(
                    block.stream,
                    block.partition,
                    block.start,
                    block.generation,
                    parts.get(target, []),
                    block.read_to,
                )
            )
    return [_within(batch, most_bytes) for batch in split]


def _within(blocks: list[CountBlock], most_bytes: int) -> bytes:
    record = _ENCODE(blocks)
    if len(record) <= most_bytes:
        return record
    sizes = sorted((len(_ENCODE(one)), at) for at, one in enumerate(_partials(blocks)))
    total = 0
    kept: set[int] = set()
    for size, at in sizes:
        total += size + 1
        if total > most_bytes // 2:
            break
        kept.add(at)
    log.warning(
        "%d of %d partial counts are not counted: they are too large", len(sizes) - len(kept), len(sizes)
    )
    numbered = iter(range(len(sizes)))
    return _ENCODE(
        [
            msgspec.structs.replace(block, partials=[one for one in block.partials if next(numbered) in kept])
            for block in blocks
        ]
    )


def _partials(blocks: Iterable[CountBlock]) -> Iterator[PartialCounts]:
    for block in blocks:
        yield from block.partials


class Minutes:
    """The minutes of the partitions at hand; `table` is the Faust table's own data.

    What changes there is told by `table_records`, and survives this process once it stands in the changelog.
    """

    def __init__(self, table: MutableMapping[bytes, bytes], *, most_bytes: int = MOST_BYTES) -> None:
        """A minute of more than `most_bytes` is not kept: the broker would not take it."""
        self._table = table
        self._most_bytes = most_bytes
        self._records: list[TableRecord] = []
        self._clear()

    def _clear(self) -> None:
        self._by_minute: dict[int, dict[int, set[bytes]]] = {}  # partition -> minute -> keys
        self._latest: dict[tuple[int, _Source], tuple[int, int]] = {}  # start and generation of blocks
        self._open: dict[tuple[int, _Source], set[bytes]] = defaultdict(set)  # keys that have a part of them
        self._changed: set[bytes] = set()
        self._read_to: dict[int, dict[_Source, int]] = defaultdict(dict)  # partition -> raw partition -> µs
        self._closed: dict[int, int] = {}  # partition -> the minute that was closed last

    def revoked(self) -> None:
        """The partitions are another's: nothing is to be told of them until the table is read again."""
        self._clear()

    def recovered(self, partitions: Collection[int]) -> None:
        """The table was read again after an assignment of these partitions: all their minutes are published
        once more. Those of others are another worker's, which may have counted on since."""
        self._clear()
        self._table.pop(MARK, None)
        unreadable = 0
        for key in list(self._table):
            minute = self._find(key)
            if minute is None or not _adds_up(minute):
                unreadable += 1
                del self._table[key]
                continue
            if minute.partition not in partitions:
                del self._table[key]
                continue
            self._keys(minute.partition, minute.minute).add(key)
            self._changed.add(key)
            for number, one in minute.open.items():
                source = (minute.partition, (one.partial.stream, number))
                self._open[source].add(key)
                self._latest[source] = max(self._latest.get(source, (-1, -1)), (one.start, one.generation))
        if unreadable:  # of another version, or of a stranger; counts are no reason to stand still
            log.warning("%d minutes of the table cannot be read and begin again", unreadable)

    def merge(self, partition: int, record: bytes, now: int) -> Merged:
        """Merge one record of the partials topic at `now` (µs).

        Raises msgspec.DecodeError or ValueError for one that is none, and has merged nothing of it then.
        """
        touched: dict[bytes, Minute] = {}
        merged = repeated = late = 0
        blocks = _BLOCKS.decode(record)
        for partial in _partials(blocks):
            check(partial)
        for block in blocks:
            source = (partition, (block.stream, block.partition))
            order = (block.start, block.generation)
            if order < self._latest.get(source, (-1, -1)):
                repeated += 1
                continue
            self._latest[source] = order
            read_to = self._read_to[partition]
            # Without LogAppendTime it is senders who say when a record was written.
            read_to[source[1]] = max(min(block.read_to, now + AHEAD), read_to.get(source[1], 0))
            merged += 1
            self._close(source, block, touched)
            for partial in block.partials:
                if not 0 <= partial.minute <= now + AHEAD or self._expired(partition, partial.minute):
                    late += 1
                    continue
                key = _key(partial)
                minute = touched.get(key) or self._find(key) or Minute(partition, partial.minute)
                minute.open[block.partition] = LatestBlock(block.start, block.generation, partial)
                touched[key] = minute
                self._open[source].add(key)
                self._keys(partition, partial.minute).add(key)
        for key, minute in touched.items():
            value = _ENCODE_MINUTE(minute)
            if len(value) > self._most_bytes:
                log.warning("minute %.200r has %d bytes of counts and begins again", key, len(value))
                value = _ENCODE_MINUTE(Minute(minute.partition, minute.minute))
            self._table[key] = value
            self._records.append((key, value))
        self._changed |= touched.keys()
        self._expire(partition)
        return Merged(merged, repeated, late)

    def __len__(self) -> int:
        """Minutes held."""
        return len(self._table)

    def table_records(self) -> list[TableRecord]:
        """What merging changed in the table since the last call, as records of its changelog."""
        records, self._records = self._records, []
        return records

    def publish(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, key and document of each minute that changed since the last call."""
        changed, self._changed = self._changed, set()
        for key in changed:
            minute = self._find(key)
            total = minute.total() if minute is not None else None
            if minute is None or total is None:
                continue
            document = MinuteCounts(
                stream=total.stream,
                fleet=total.fleet,
                site=total.site or None,
                minute=_iso(total.minute),
                counts=total.counts,
                latencies=total.latencies,
                clients=total.clients,
                aps=total.aps,
                signals=total.signals,
            )
            yield minute.partition, site_key(total.fleet, total.site), _ENCODE(document)

    def close(self, sources: int) -> Iterator[tuple[int, bytes]]:
        """Partition and document of each one whose minutes are complete up to a later one than before.

        `sources`: how many raw partitions there are; while one has not said how far it is read, none is.
        """
        for partition, read_to in self._read_to.items():
            if len(read_to) < sources:
                continue
            minute = ((min(read_to.values()) - GRACE) // MINUTE - 1) * MINUTE
            if minute > self._closed.get(partition, 0):
                self._closed[partition] = minute
                yield partition, _ENCODE(MinutesClosed(_iso(minute)))

    def _close(self, source: tuple[int, _Source], block: CountBlock, touched: dict[bytes, Minute]) -> None:
        """Take back what an earlier try at `block` gave, and make final what blocks before it gave."""
        for key in self._open.pop(source, ()):
            minute = touched.get(key) or self._find(key)
            one = minute.open.pop(block.partition, None) if minute is not None else None
            if minute is None or one is None:
                continue
            if one.start < block.start:
                minute.final = one.partial if minute.final is None else merge(minute.final, one.partial)
            touched[key] = minute

    def _find(self, key: bytes) -> Minute | None:
        """A minute of the table; None where there is none, or something else."""
        value = self._table.get(key)
        try:
            return None if value is None else _MINUTE.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _keys(self, partition: int, minute: int) -> set[bytes]:
        return self._by_minute.setdefault(partition, {}).setdefault(minute, set())

    def _expired(self, partition: int, minute: int) -> bool:
        newest = max(self._by_minute.get(partition, ()), default=minute)
        return minute <= newest - KEEP_MINUTES * MINUTE

    def _expire(self, partition: int) -> None:
        minutes = self._by_minute.get(partition, {})
        for minute in [minute for minute in minutes if self._expired(partition, minute)]:
            for key in minutes.pop(minute):
                self._changed.discard(key)
                if self._table.pop(key, None) is not None:
                    self._records.append((key, None))


def _adds_up(minute: Minute) -> bool:
    """Whether a worker may have kept it: who may write to the changelog may be another."""
    parts = [one.partial for one in minute.open.values()] + ([minute.final] if minute.final else [])
    try:
        for partial in parts:
            check(partial)
        return len({partial.key for partial in parts}) <= 1 and all(part.minute >= 0 for part in parts)
    except ValueError:
        return False


def _iso(minute: int) -> str:
    return datetime.fromtimestamp(minute / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(partial: PartialCounts) -> bytes:
    """Told apart by signs that no stream and no fleet has: both fleets and sites may have a slash."""
    place = f"{partial.stream}\0{partial.fleet}\0{partial.site}\0{partial.minute}"
    return place.encode()
