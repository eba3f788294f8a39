"""What was seen under each key, for as long as a retry may come.

A *claim* is one record of the table's changelog: the keys of one fleet that were new in one raw record, and
what tells their content. A raw record that is processed again after a crash finds its own claims, and those
of the records behind it, in the table; only claims of records before it count against it, so that its outcome
is the same. The clock of the window is the log's own: the newest timestamp of the partition's records, so
that a worker that was away for a day judges as one that was not.

The table's values stay as they are in the changelog; an index beside it finds a key's claim.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from enum import Enum
from typing import NamedTuple

from tidegate.contracts.keys import DIGEST_BYTES, KEY_BYTES, Change, fleet_of
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.topics import Stream, StreamPartition

ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES  # a key and its digest, as claims hold them
CLAIM_ENTRIES = 20_000  # of one changelog record, which must not be too large for the broker
CLAIM_MEMORY = 450  # bytes of a claim in table and index, about, before its keys
KEY_MEMORY = 180
_TIME = struct.Struct("<q")


class Seen(Enum):
    NEW = "new"
    DUPLICATE = "duplicate"  # the same content was there before
    REUSED = "reused"  # another content was there before


class Claim:
    """The keys that were new in one raw record. `time` in µs of the log's clock."""

    __slots__ = ("fleet", "name", "offset", "time", "value")

    def __init__(self, name: bytes, offset: int, value: bytes) -> None:
        self.name = name
        self.offset = offset
        self.value = value
        (self.time,) = _TIME.unpack_from(value)
        self.fleet = fleet_of(value[_TIME.size :])

    def keys(self) -> list[bytes]:
        value = self.value
        return [value[at : at + KEY_BYTES] for at in range(_TIME.size, len(value), ENTRY_BYTES)]

    def digest(self, key: bytes) -> bytes:
        value, at = self.value, _TIME.size
        while (at := value.index(key, at)) % ENTRY_BYTES != _TIME.size % ENTRY_BYTES:
            at += 1  # by chance across two entries
        return value[at + KEY_BYTES : at + ENTRY_BYTES]

    @property
    def memory(self) -> int:
        return CLAIM_MEMORY + KEY_MEMORY * (len(self.value) // ENTRY_BYTES)


class DedupWindow:
    """The keys of one raw partition."""

    def __init__(self, prefix: bytes, table: MutableMapping[bytes, bytes], length: int) -> None:
        """`prefix` begins the names of its claims in the table; `length` in µs."""
        self.prefix = prefix
        self.clock = 0
        self.forgotten = 0  # time of the newest claim that went for want of memory; 0 for none
        self.memory = 0
        self._unmarked: int | None = None  # offset of the oldest claim that no mark follows
        self._table = table
        self._length = length
        self._claims: dict[bytes, Claim] = {}  # by name; oldest first
        self._of_fleet: defaultdict[bytes, deque[Claim]] = defaultdict(deque)
        self.memory_of: Counter[bytes] = Counter()  # each fleet's share of `memory`
        self._by_key: dict[bytes, Claim] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def advance(self, time: int) -> None:
        """A record of this time (µs) came."""
        if time > self.clock:
            self.clock = time

    def seen(self, offset: int, key: bytes, digest: bytes) -> Seen:
        """What the record at `offset` is to make of a key."""
        claim = self._by_key.get(key)
        if claim is None or claim.offset >= offset or self.clock - claim.time > self._length:
            return Seen.NEW
        return Seen.DUPLICATE if claim.digest(key) == digest else Seen.REUSED

    def claim(self, offset: int, entries: Sequence[bytes]) -> list[Change]:
        """Take the keys of the record at `offset`, each with its digest behind it; the changes to record."""
        changes: list[Change] = []
        for number, own in enumerate(_of_one_fleet(entries)):
            name = b"%b%d-%d" % (self.prefix, offset, number)
            value = _TIME.pack(self.clock) + b"".join(own)
            self._table[name] = value
            self.add(Claim(name, offset, value))
            changes.append((name, value))
        return changes

    def add(self, claim: Claim) -> None:
        """Take a claim into the index; later offsets last."""
        self._claims[claim.name] = claim
        self._of_fleet[claim.fleet].append(claim)
        self.memory_of[claim.fleet] += claim.memory
        self._by_key.update(dict.fromkeys(claim.keys(), claim))
        self.advance(claim.time)
        self.memory += claim.memory
        if self._unmarked is None:
            self._unmarked = claim.offset

    def mark_all(self) -> None:
        """All claims so far are in the changelog: they need no mark."""
        self._unmarked = None

    @property
    def oldest(self) -> int | None:
        """Time of the oldest claim."""
        return next(iter(self._claims.values())).time if self._claims else None

    def oldest_of(self, fleet: bytes) -> int | None:
        """Time of the oldest claim of a fleet."""
        own = self._of_fleet.get(fleet)
        return own[0].time if own else None

    def drop(self, fleet: bytes) -> Change:
        """Let go of a fleet's oldest claim; the change to record."""
        own = self._of_fleet[fleet]
        claim = own.popleft()
        del self._claims[claim.name]
        self.memory_of[fleet] -= claim.memory
        if not own:
            del self._of_fleet[fleet], self.memory_of[fleet]
        for key in claim.keys():
            if self._by_key.get(key) is claim:  # else it was claimed again, a window later
                del self._by_key[key]
        self._table.pop(claim.name, None)
        self.memory -= claim.memory
        return claim.name, None

    def expire(self) -> list[Change]:
        """Let go of what is older than the window."""
        changes: list[Change] = []
        late = self.clock - self._length
        while (oldest := self.oldest) is not None and oldest < late:
            changes.append(self.drop(next(iter(self._claims.values())).fleet))
        return changes

    def mark(self, position: int) -> Change | None:
        """A record for behind the claims of all records before `position`, once they are in the changelog:
        how far back the keys are complete. None where such a record follows them already."""
        if self._unmarked is None or self._unmarked >= position:
            return None
        later = itertools.takewhile(lambda claim: claim.offset >= position, reversed(self._claims.values()))
        self._unmarked = min((claim.offset for claim in later), default=None)
        value = _TIME.pack(self.forgotten)
        self._table[self.prefix] = value
        return self.prefix, value

    @property
    def covered(self) -> int:
        """Age up to which keys are known, µs."""
        if not self.forgotten:
            return self._length
        return max(0, min(self._length, self.clock - self.forgotten))


class Held(NamedTuple):
    """What the worker tells of its keys."""

    keys: int
    covered_seconds: float


class DedupTable:
    """The windows of the partitions at hand, over a table that survives this process.

    `limit` bounds the memory of all windows, in bytes, about. Where it is full, the fleet that holds most
    gives up its oldest claims: one within its share, the limit over the fleets, loses nothing to another.
    """

    def __init__(
        self, table: MutableMapping[bytes, bytes], epoch: str, *, window_seconds: float, limit: int
    ) -> None:
        self._table = table
        self._epoch = epoch.encode("ascii")
        self._length = round(window_seconds * 1_000_000)
        self._limit = limit
        self._windows: dict[StreamPartition, DedupWindow] = {}
        self._ended: list[tuple[int, Change]] = []  # deletions due, of what earlier lives of the topics left

    def window(self, stream: Stream, partition: int) -> DedupWindow:
        key = StreamPartition(stream, partition)
        found = self._windows.get(key)
        if found is None:
            prefix = b"%b-%b%d-" % (self._epoch, STREAM_LETTERS[stream].encode(), partition)
            found = self._windows[key] = DedupWindow(prefix, self._table, self._length)
        return found

    def recovered(self, positions: Mapping[StreamPartition, int]) -> None:
        """The table was read again after an assignment: take what came before each partition's position.

        What lies behind it is claimed anew by the records that are processed again. Partitions of others are
        none of ours, and what an earlier life of the topics left is nobody's.
        """
        self._windows = {}
        partitions = {b"%d" % partition: partition for _, partition in positions}
        ours = {self.window(*key).prefix: (self.window(*key), at) for key, at in positions.items()}
        claims: list[tuple[DedupWindow, Claim]] = []
        for name, value in list(self._table.items()):
            prefix, _, rest = name.partition(b"-")
            letter_and_number, _, rest = rest.partition(b"-")
            found = ours.get(b"%b-%b-" % (prefix, letter_and_number))
            number = rest.partition(b"-")[0]
            if found is None or value is None or len(value) < _TIME.size or (rest and not number.isdigit()):
                self._table.pop(name, None)
                if prefix != self._epoch and value is not None and letter_and_number[1:] in partitions:
                    self._ended.append((partitions[letter_and_number[1:]], (name, None)))
                continue
            window, position = found
            if not rest:
                (window.forgotten,) = _TIME.unpack_from(value)
            elif (offset := int(number)) < position:
                claims.append((window, Claim(name, offset, value)))
        for window, claim in sorted(claims, key=lambda item: item[1].offset):
            window.add(claim)
        for window in self._windows.values():
            window.mark_all()

    def forget(self) -> list[tuple[int, Change]]:
        """Let go of what is too old or too much; the changes to record, with their partitions."""
        changes, self._ended = self._ended, []
        changes += [
            (partition, change)
            for (_, partition), window in self._windows.items()
            for change in window.expire()
        ]
        over = sum(window.memory for window in self._windows.values()) - self._limit
        if over > 0:
            changes += self._drop(over)
        return changes

    def _drop(self, over: int) -> Iterator[tuple[int, Change]]:
        """Let go of claims worth `over` bytes, each of the fleet that holds most then."""
        held: Counter[bytes] = Counter()
        for window in self._windows.values():
            held.update(window.memory_of)
        while over > 0 and held:
            (fleet, most), *others = heapq.nlargest(2, held.items(), key=lambda item: item[1])
            # Down to the next one, and some further, so that two alike are not compared at each claim.
            spare = most - others[0][1] if others else most
            share = min(over, max(spare, self._limit // 256))
            for partition, change, freed in self._oldest_of(fleet, share):
                yield partition, change
                over -= freed
                held[fleet] -= freed
            if held[fleet] <= 0:
                del held[fleet]

    def _oldest_of(self, fleet: bytes, worth: int) -> Iterator[tuple[int, Change, int]]:
        """Let go of a fleet's oldest claims, of all partitions; each with its bytes."""
        heads = [
            (oldest, number, partition, window)
            for number, ((_, partition), window) in enumerate(self._windows.items())
            if (oldest := window.oldest_of(fleet)) is not None
        ]
        heapq.heapify(heads)
        while worth > 0 and heads:
            oldest, number, partition, window = heapq.heappop(heads)
            before = window.memory
            window.forgotten = max(window.forgotten, oldest)
            change = window.drop(fleet)
            freed = before - window.memory
            worth -= freed
            yield partition, change, freed
            if (following := window.oldest_of(fleet)) is not None:
                heapq.heappush(heads, (following, number, partition, window))

    def marks(self, positions: Mapping[StreamPartition, int]) -> list[tuple[int, Change]]:
        """The marks that are due before these positions are committed, with their partitions."""
        found = [
            (key.partition, self._windows[key].mark(position))
            for key, position in positions.items()
            if key in self._windows
        ]
        return [(partition, change) for partition, change in found if change is not None]

    def held(self) -> Held:
        windows = self._windows.values()
        covered = min((window.covered for window in windows), default=self._length)
        return Held(sum(map(len, windows)), covered / 1_000_000)


def _of_one_fleet(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The entries of each fleet, no more than a claim takes."""
    fleets: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for entry in entries:
        fleets[fleet_of(entry)].append(entry)
    for own in fleets.values():
        for at in range(0, len(own), CLAIM_ENTRIES):
            yield own[at : at + CLAIM_ENTRIES]
