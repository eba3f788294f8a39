"""Jumps in what was fetched: an offset is passed over only where the broker itself did."""

from __future__ import annotations

from types import SimpleNamespace

from tidegate.contracts.topics import TopicPartition
from tidegate.worker.jumps import KEPT, Jumps

PARTITION = TopicPartition("raw", 0)


def fetch(jumps: Jumps, begin: int, offsets: list[int], end: int) -> None:
    jumps.begin({PARTITION: begin})
    jumps.end(
        {PARTITION: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {},
        {PARTITION: end},
    )


def test_a_jump_within_a_fetch_and_between_two() -> None:
    jumps = Jumps()
    fetch(jumps, 0, [0, 1, 3], 5)  # markers at 2 and 4
    fetch(jumps, 5, [], 7)  # an aborted record and its marker
    fetch(jumps, 7, [7], 8)
    assert jumps.follows(PARTITION, 3, 1)
    assert not jumps.follows(PARTITION, 7, 1)  # 3 was fetched between them
    fetch(jumps, 8, [9], 10)
    assert jumps.follows(PARTITION, 9, 7)
    assert not jumps.follows(TopicPartition("raw", 1), 9, 7)


def test_what_was_sought_says_nothing() -> None:
    jumps = Jumps()
    fetch(jumps, 0, [0], 1)
    fetch(jumps, 5, [5], 6)  # nobody knows what stands from 1 to 4
    assert not jumps.follows(PARTITION, 5, 0)
    fetch(jumps, 0, [0, 1, 2, 4], 5)  # back again
    assert jumps.follows(PARTITION, 4, 2)
    jumps.begin({})  # the partition went
    fetch(jumps, 5, [8], 9)
    assert not jumps.follows(PARTITION, 8, 4)


def test_what_nobody_asks_for_is_forgotten() -> None:
    jumps = Jumps()
    fetch(jumps, 0, list(range(0, 4 * KEPT, 2)), 4 * KEPT)
    assert not jumps.follows(PARTITION, 2, 0)
    assert jumps.follows(PARTITION, 4 * KEPT - 2, 4 * KEPT - 4)
