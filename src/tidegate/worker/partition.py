"""State of the raw partitions that are assigned to this process.

Two things are kept straight in each. What comes in: each offset once, and no hole taken for granted. What
may be committed: the position moves only past records whose every output the broker has acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum

import pyarrow as pa

from tidegate.contracts.counts import PartialCounts
from tidegate.contracts.topics import Stream, TopicPartition
from tidegate.steps import unlisted_failures
from tidegate.steps.aggregate import COLUMNS, aggregate, merge_all
from tidegate.steps.frame import Record

COUNTED_COLUMNS: dict[Stream, list[str]] = {
    stream: [*columns, *(unlisted_failures.COLUMNS if stream == "client_events" else ())]
    for stream, columns in COLUMNS.items()
}
COUNTED_COLUMNS["client_events"] = list(dict.fromkeys(COUNTED_COLUMNS["client_events"]))
"""The columns that `aggregate` and `learn` read."""


class Arrival(Enum):
    NEXT = "next"  # the record that follows
    REPEAT = "repeat"  # already processed
    HOLE = "hole"  # offsets are missing before it
    EARLY = "early"  # ahead of a record that is being read again: it comes again behind that one


class SentRecord:
    """A raw record whose outputs were sent, and how many of them the broker has not acknowledged."""

    __slots__ = ("state", "offset", "unacked", "size")

    def __init__(self, state: PartitionState, offset: int, *, outputs: int, size: int) -> None:
        self.state = state
        self.offset = offset
        self.unacked = outputs
        self.size = size  # bytes in memory


class PartitionState:
    """One assignment of one partition, in one generation of the consumer group.

    `position` is the offset that was committed before it, `last` that of the record before there, where
    offsets between hold none.
    """

    def __init__(self, stream: Stream, position: int, generation: int, *, last: int | None = None) -> None:
        self.generation = generation
        self.uncommitted = UncommittedCounts(stream)
        self.expected = position  # the next offset to take
        self.sought: int | None = None  # the offset that a seek went to, until its record comes
        self.position = position  # the offset that may be committed
        self.committed = position
        self.read_to = 0  # µs since 1970: what was written before stands below `position`; 0: not known
        self.told_to = 0  # minute of it that was told last
        self.in_flight = 0  # records with outputs not acknowledged
        self.waiting: list[Record] = []  # records that are to be transformed together
        self.waiting_bytes = 0
        self.last = position - 1 if last is None else last  # offset of the record that was accepted last
        self.before = self.last  # offset of the last record before `position`
        self._sent: deque[SentRecord] = deque()

    def arrive(self, offset: int, first: int | None = None) -> Arrival:
        """What the record at `offset` is, which stands for the offsets from `first` on too, None for none."""
        first = offset if first is None else first
        if any(wanted is not None and first <= wanted <= offset for wanted in (self.expected, self.sought)):
            return Arrival.NEXT
        if offset < self.expected:
            return Arrival.REPEAT
        return Arrival.HOLE if self.sought is None else Arrival.EARLY

    def accept(self, offset: int) -> int:
        """Take the record at `offset`; the offset of the one before it, -1 at the start of a topic."""
        previous, self.last = self.last, offset
        self.expected = offset + 1
        self.sought = None
        return previous

    def wait(self, record: Record) -> None:
        self.waiting.append(record)
        self.waiting_bytes += len(record.value)

    def take_waiting(self) -> list[Record]:
        records, self.waiting, self.waiting_bytes = self.waiting, [], 0
        return records

    def send(self, offset: int, *, outputs: int, size: int) -> SentRecord:
        """The record at `offset` was transformed, and its outputs are being sent."""
        sent = SentRecord(self, offset, outputs=outputs, size=size)
        self._sent.append(sent)
        self.in_flight += 1
        return sent

    def advance(self) -> None:
        """Move the position past the acknowledged records at the head."""
        sent = self._sent
        while sent and sent[0].unacked == 0:
            self.before = sent.popleft().offset
            self.position = self.before + 1

    def pass_over(self, end: int) -> None:
        """Move the position to `end`: what stands from it up to there are no records.

        For those who watch the lag of the group. A record that comes then names the one before the position
        all the same (`before`, which is committed with it), or the sink would see a gap.
        """
        if self.drained and end > self.position:
            self.position = end

    @property
    def drained(self) -> bool:
        """Whether everything that was accepted may be committed."""
        return not self._sent and not self.waiting


class AssignedPartitions:
    """The partitions of the present assignment. `states` is replaced as a whole, never changed."""

    def __init__(self) -> None:
        self.states: Mapping[TopicPartition, PartitionState] = {}

    def replace(self, states: Mapping[TopicPartition, PartitionState]) -> None:
        self.states = states

    def holds(self, partition: TopicPartition, state: PartitionState) -> bool:
        """Whether `state` still is the partition's: it may have gone, or gone and come again."""
        return self.states.get(partition) is state

    def positions(self) -> dict[TopicPartition, int]:
        """The offset of each partition that may be committed."""
        return {partition: state.position for partition, state in self.states.items()}


class UncommittedCounts:
    """What a partition has sent and not yet committed, for its counts.

    Counting many frames at once is far cheaper than each by itself, so frames leave only the few columns that
    are counted until a commit is due.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream = stream
        self._waiting: deque[tuple[int, pa.RecordBatch]] = deque()
        self._counted: list[PartialCounts] = []
        self._waiting_to: deque[tuple[int, int]] = deque()  # offset and time of frames, as the log has it
        self.newest: pa.RecordBatch | None = None  # what `up_to` counted last

    def add(self, offset: int, batch: pa.RecordBatch, timestamp: int) -> None:
        """A frame was sent on, whose record was written at `timestamp` (µs)."""
        self._waiting_to.append((offset, timestamp))
        if batch.num_rows:
            self._waiting.append((offset, batch.select(COUNTED_COLUMNS[self.stream])))

    def up_to(self, position: int) -> list[PartialCounts]:
        """The counts of all frames below `position` since `clear`."""
        batches = []
        while self._waiting and self._waiting[0][0] < position:
            batches.append(self._waiting.popleft()[1])
        self.newest = None
        if batches:
            self.newest = rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
            self._counted = merge_all([*self._counted, *aggregate(self.stream, rows)])
        return self._counted

    def read_to(self, position: int) -> int:
        """When the last frame below `position` was written, 0 where there is none since the last call."""
        newest = 0
        while self._waiting_to and self._waiting_to[0][0] < position:
            newest = max(newest, self._waiting_to.popleft()[1])
        return newest

    def clear(self) -> None:
        """What `up_to` gave last is committed."""
        self._counted = []
