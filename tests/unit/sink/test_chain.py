"""Order, repeats, gaps and how they close."""

from __future__ import annotations

import pytest

from tidegate.sink.chain import Chain, Gap, Link, Verdict

NEXT, REPEAT, GAP = Verdict.NEXT, Verdict.REPEAT, Verdict.GAP


def judge(chain: Chain, *sources: int, enriched: int = 0) -> list[Verdict]:
    """Frames that follow one another, as one worker writes them."""
    return [chain.judge(Link(source, source - 1, enriched + number)) for number, source in enumerate(sources)]


def test_frames_in_order_are_taken_and_repeats_are_not() -> None:
    chain = Chain(None)
    assert judge(chain, 0, 1, 2, 1, 2, 3) == [NEXT, NEXT, NEXT, REPEAT, REPEAT, NEXT]
    assert chain.watermark == 3 and chain.gap is None


def test_offsets_may_have_holes_where_the_frame_says_so() -> None:
    chain = Chain(4)
    assert chain.judge(Link(9, 4, 0)) is NEXT
    assert chain.judge(Link(10, 8, 1)) is GAP  # claims a record between, which nobody has seen


@pytest.mark.parametrize(("previous", "raw_low", "verdict"), [(-1, 0, NEXT), (6, 7, NEXT), (6, 6, GAP)])
def test_an_epoch_begins_where_the_raw_topic_has_nothing_before(
    previous: int, raw_low: int, verdict: Verdict
) -> None:
    assert Chain(None).judge(Link(previous + 1, previous, 0), raw_low=raw_low) is verdict


def test_a_frame_that_claims_less_than_was_taken_is_a_gap_too() -> None:
    """Its worker knows nothing of a record that was taken: what else does it not know of?"""
    chain = Chain(10)
    assert chain.judge(Link(12, 9, 0)) is GAP


def test_a_gap_closes_when_what_is_missing_comes() -> None:
    chain = Chain(7)
    assert judge(chain, 9) == [GAP]
    assert chain.gap == Gap(7, 9, 8)
    assert judge(chain, 8, 9, 10) == [NEXT, NEXT, NEXT]
    assert chain.gap is None


def test_what_was_left_behind_is_told_when_it_follows() -> None:
    chain = Chain(7)
    judge(chain, 9, 10, enriched=100)
    assert chain.left_from == 100
    assert chain.rejoin() is None
    judge(chain, 8, enriched=102)
    assert chain.rejoin() == 100
    assert judge(chain, 9, 10, enriched=100) == [NEXT, NEXT]
    assert chain.left_from is None


def test_an_accepted_gap_is_bridged_at_that_frame_only() -> None:
    chain = Chain(7)
    judge(chain, 12, 13, enriched=100)
    assert chain.accept() == 100
    assert judge(chain, 15, enriched=99) == [GAP]
    assert judge(chain, 12, 13, enriched=100) == [NEXT, NEXT]


def test_a_late_record_inside_an_accepted_gap_is_a_repeat() -> None:
    chain = Chain(7)
    judge(chain, 12)
    chain.accept()
    assert judge(chain, 12, 9) == [NEXT, REPEAT]
