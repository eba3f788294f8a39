"""Order, repeats, gaps and how they close."""

from __future__ import annotations

import pytest

from tidegate.contracts.ledger import Gap
from tidegate.sink.offset_sequence import Link, OffsetSequence, Order

NEXT, REPEAT, GAP = Order.NEXT, Order.REPEAT, Order.GAP


def orders(sequence: OffsetSequence, *sources: int, enriched: int = 0) -> list[Order]:
    """Frames that follow one another, as one worker writes them."""
    return [
        sequence.check(Link(source, source - 1, enriched + number)) for number, source in enumerate(sources)
    ]


def test_frames_in_order_are_taken_and_repeats_are_not() -> None:
    sequence = OffsetSequence(None)
    assert orders(sequence, 0, 1, 2, 1, 2, 3) == [NEXT, NEXT, NEXT, REPEAT, REPEAT, NEXT]
    assert sequence.watermark == 3 and sequence.gap is None


def test_offsets_may_have_holes_where_the_frame_says_so() -> None:
    sequence = OffsetSequence(4)
    assert sequence.check(Link(9, 4, 0)) is NEXT
    assert sequence.check(Link(10, 8, 1)) is GAP  # claims a record between, which nobody has seen


@pytest.mark.parametrize(("previous", "raw_low", "order"), [(-1, 0, NEXT), (6, 7, NEXT), (6, 6, GAP)])
def test_an_epoch_begins_where_the_raw_topic_has_nothing_before(
    previous: int, raw_low: int, order: Order
) -> None:
    assert OffsetSequence(None).check(Link(previous + 1, previous, 0), raw_low=raw_low) is order


def test_a_frame_that_claims_less_than_was_taken_is_a_gap_too() -> None:
    """Its worker knows nothing of a record that was taken: what else does it not know of?"""
    sequence = OffsetSequence(10)
    assert sequence.check(Link(12, 9, 0)) is GAP


def test_a_gap_closes_when_what_is_missing_comes() -> None:
    sequence = OffsetSequence(7)
    assert orders(sequence, 9) == [GAP]
    assert sequence.gap == Gap(7, 9, 8)
    assert orders(sequence, 8, 9, 10) == [NEXT, NEXT, NEXT]
    assert sequence.gap is None


def test_what_was_left_behind_is_told_when_it_follows() -> None:
    sequence = OffsetSequence(7)
    orders(sequence, 9, 10, enriched=100)
    assert sequence.left_from == 100
    assert sequence.rejoin() is None
    orders(sequence, 8, enriched=102)
    assert sequence.rejoin() == 100
    assert orders(sequence, 9, 10, enriched=100) == [NEXT, NEXT]
    assert sequence.left_from is None


def test_an_accepted_gap_is_bridged_at_that_frame_only() -> None:
    sequence = OffsetSequence(7)
    orders(sequence, 12, 13, enriched=100)
    assert sequence.accept() == 100
    assert orders(sequence, 15, enriched=99) == [GAP]
    assert orders(sequence, 12, 13, enriched=100) == [NEXT, NEXT]


def test_a_late_record_inside_an_accepted_gap_is_a_repeat() -> None:
    sequence = OffsetSequence(7)
    orders(sequence, 12)
    sequence.accept()
    assert orders(sequence, 12, 9) == [NEXT, REPEAT]
