"""Where the broker sent a record that does not have the next offset.

The offsets between hold no record for us: a transaction's marker, records of an aborted one, compaction.
Known from the fetches themselves, they cost nothing; asking the broker costs a request for each
transaction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.contracts.topics import TopicPartition

KEPT = 20_000  # skips of a partition whose records are not taken yet


class SkippedOffsets:
    """What one consumer fetched. `begin` and `end` around each fetch, in one thread; `follows` in any."""

    def __init__(self) -> None:
        self._positions: Mapping[TopicPartition, int] = {}  # as the last fetch left them
        self._last: dict[TopicPartition, int] = {}  # the record fetched last, without a seek since
        self._before: dict[TopicPartition, OrderedDict[int, int]] = {}  # record -> the one fetched before it

    def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        """`positions`: the next offset to read of each partition. One that moved since was sought."""
        for partition in list(self._last):
            if positions.get(partition) != self._positions.get(partition):
                del self._last[partition]

    def end(self, fetched: Mapping[Any, Sequence[Any]], positions: Mapping[TopicPartition, int]) -> None:
        """`fetched`: records by partition, in order."""
        self._positions = positions
        for partition, records in fetched.items():
            for record in records:
                last = self._last.get(partition)
                if last is not None and record.offset > last + 1:
                    skipped = self._before.setdefault(partition, OrderedDict())
                    skipped[record.offset] = last
                    if len(skipped) > KEPT:
                        skipped.popitem(last=False)
                self._last[partition] = record.offset

    def follows(self, partition: TopicPartition, offset: int, last: int) -> bool:
        """Whether the broker sent the record at `offset` right behind the one at `last`."""
        skipped = self._before.get(partition)
        return skipped is not None and skipped.pop(offset, None) == last
