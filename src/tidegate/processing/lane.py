"""lane: the records of one partition on their way through the worker, in order.

Two things are kept straight. What comes in: each offset once, and no hole taken for granted. What may
be committed: a position moves only past records whose every output the broker has acknowledged.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from tidegate.contracts.topics import Stream
from tidegate.processing.tally import Tally

if TYPE_CHECKING:
    from tidegate.processing.transform import Record


class Frame:
    """A record that was sent on: what of it the broker has not acknowledged yet."""

    __slots__ = ("lane", "offset", "outputs", "size")

    def __init__(self, lane: Lane, offset: int, *, outputs: int, size: int) -> None:
        self.lane = lane
        self.offset = offset
        self.outputs = outputs  # records not acknowledged
        self.size = size  # bytes in memory


class Arrival(Enum):
    NEXT = "next"  # the record that follows
    REPEAT = "repeat"  # already on its way
    HOLE = "hole"  # offsets are missing before it
    EARLY = "early"  # ahead of a record that is being read again: it comes again behind that one


class Lane:
    """One assignment of one partition, in one generation of the consumer group.

    `position` is the offset that was committed before it.
    """

    def __init__(self, stream: Stream, position: int, generation: int) -> None:
        self.generation = generation
        self.tally = Tally(stream)
        self.expected = position  # the next offset to take
        self.sought: int | None = None  # the record to go on with, while it is being read again
        self.position = position  # the offset that may be committed
        self.committed = position
        self.in_flight = 0  # frames with outputs not acknowledged
        self.waiting: list[Record] = []  # small records that are to be transformed together
        self._last = position - 1  # offset of the record that was taken last
        self._frames: deque[Frame] = deque()

    def arrive(self, offset: int) -> Arrival:
        if offset in (self.expected, self.sought):
            return Arrival.NEXT
        if offset < self.expected:
            return Arrival.REPEAT
        return Arrival.HOLE if self.sought is None else Arrival.EARLY

    def accept(self, offset: int) -> int:
        """The record at `offset` is taken in; the offset of the one before it, -1 at the start of a topic."""
        previous, self._last = self._last, offset
        self.expected = offset + 1
        self.sought = None
        return previous

    def take(self, offset: int, *, outputs: int, size: int) -> Frame:
        """The record at `offset` was transformed and is being sent."""
        frame = Frame(self, offset, outputs=outputs, size=size)
        self._frames.append(frame)
        self.in_flight += 1
        return frame

    def advance(self) -> None:
        """Move the position past the frames at the head that are done."""
        frames = self._frames
        while frames and frames[0].outputs == 0:
            self.position = frames.popleft().offset + 1

    @property
    def landed(self) -> bool:
        """Whether all that was taken may be committed."""
        return not self._frames and not self.waiting
