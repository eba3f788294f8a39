"""The lane: offsets arrive once and in order, and a position moves only past what has landed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.processing.lane import Arrival, Frame, Lane


def lane(position: int = 10) -> Lane:
    return Lane("client_events", position, 1)


def land(frame: Frame) -> None:
    frame.outputs = 0
    frame.lane.advance()


def test_the_committed_position_names_the_record_before_it() -> None:
    assert lane(10).accept(10) == 9
    assert lane(0).accept(0) == -1


def test_offsets_are_next_repeat_or_hole() -> None:
    new = lane(10)
    assert new.arrive(10) is Arrival.NEXT
    assert new.arrive(9) is Arrival.REPEAT
    assert new.arrive(12) is Arrival.HOLE


def test_while_a_record_is_read_again_those_ahead_of_it_are_early() -> None:
    new = lane(10)
    new.sought = 11  # 10 holds a marker
    assert new.arrive(14) is Arrival.EARLY
    assert new.arrive(9) is Arrival.REPEAT
    assert new.arrive(11) is Arrival.NEXT
    new.accept(11)
    assert new.arrive(14) is Arrival.HOLE


def test_behind_a_hole_the_record_before_is_the_one_taken_last() -> None:
    new = lane(10)
    new.accept(10)
    assert new.accept(13) == 10  # 11 and 12 hold a transaction's markers
    assert new.expected == 14


def test_a_position_waits_for_the_slowest_before_it() -> None:
    new = lane(10)
    first, second, third = (new.take(offset, outputs=1, size=1) for offset in (10, 11, 12))
    land(second)
    assert new.position == 10
    land(first)
    assert new.position == 12
    assert not new.landed
    land(third)
    assert (new.position, new.landed) == (13, True)


@given(st.permutations(range(8)))
def test_whatever_the_order_of_acks_no_unacked_record_is_committed(order: list[int]) -> None:
    new = lane(0)
    frames = [new.take(offset, outputs=1, size=1) for offset in range(8)]
    landed: set[int] = set()
    for number in order:
        land(frames[number])
        landed.add(number)
        assert new.position == next((i for i in range(8) if i not in landed), 8)
