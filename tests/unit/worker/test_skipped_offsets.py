"""SkippedOffsets in what was fetched: an offset is passed over only where the broker itself did."""

from __future__ import annotations

from types import SimpleNamespace

from tidegate.contracts.topics import TopicPartition
from tidegate.worker.skipped_offsets import KEPT, SkippedOffsets

PARTITION = TopicPartition("raw", 0)


def fetch(skipped: SkippedOffsets, begin: int, offsets: list[int], end: int) -> None:
    skipped.begin({PARTITION: begin})
    skipped.end(
        {PARTITION: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {},
        {PARTITION: end},
    )


def test_a_jump_within_a_fetch_and_between_two() -> None:
    skipped = SkippedOffsets()
    fetch(skipped, 0, [0, 1, 3], 5)  # markers at 2 and 4
    fetch(skipped, 5, [], 7)  # an aborted record and its marker
    fetch(skipped, 7, [7], 8)
    assert skipped.follows(PARTITION, 3, 1)
    assert not skipped.follows(PARTITION, 7, 1)  # 3 was fetched between them
    fetch(skipped, 8, [9], 10)
    assert skipped.follows(PARTITION, 9, 7)
    assert not skipped.follows(TopicPartition("raw", 1), 9, 7)


def test_what_was_sought_says_nothing() -> None:
    skipped = SkippedOffsets()
    fetch(skipped, 0, [0], 1)
    fetch(skipped, 5, [5], 6)  # nobody knows what stands from 1 to 4
    assert not skipped.follows(PARTITION, 5, 0)
    fetch(skipped, 0, [0, 1, 2, 4], 5)  # back again
    assert skipped.follows(PARTITION, 4, 2)
    skipped.begin({})  # the partition went
    fetch(skipped, 5, [8], 9)
    assert not skipped.follows(PARTITION, 8, 4)


def test_what_nobody_asks_for_is_forgotten() -> None:
    skipped = SkippedOffsets()
    fetch(skipped, 0, list(range(0, 4 * KEPT, 2)), 4 * KEPT)
    assert not skipped.follows(PARTITION, 2, 0)
    assert skipped.follows(PARTITION, 4 * KEPT - 2, 4 * KEPT - 4)
