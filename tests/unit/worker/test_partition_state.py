"""The state: offsets arrive once and in order, and a position moves only past acknowledged records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.worker.partition import Arrival, PartitionState, SentRecord


def state(position: int = 10) -> PartitionState:
    return PartitionState("client_events", position, 1)


def land(frame: SentRecord) -> None:
    frame.unacked = 0
    frame.state.advance()


def test_the_committed_position_names_the_record_before_it() -> None:
    assert state(10).accept(10) == 9
    assert state(0).accept(0) == -1


def test_offsets_are_next_repeat_or_hole() -> None:
    new = state(10)
    assert new.arrive(10) is Arrival.NEXT
    assert new.arrive(9) is Arrival.REPEAT
    assert new.arrive(12) is Arrival.HOLE


def test_while_a_record_is_read_again_those_ahead_of_it_are_early() -> None:
    new = state(10)
    new.sought = 11  # 10 holds a marker
    assert new.arrive(14) is Arrival.EARLY
    assert new.arrive(9) is Arrival.REPEAT
    assert new.arrive(11) is Arrival.NEXT
    new.accept(11)
    assert new.arrive(14) is Arrival.HOLE


def test_behind_a_hole_the_record_before_is_the_one_taken_last() -> None:
    new = state(10)
    new.accept(10)
    assert new.accept(13) == 10  # 11 and 12 hold a transaction's markers
    assert new.expected == 14


def test_a_position_waits_for_the_slowest_before_it() -> None:
    new = state(10)
    first, second, third = (new.send(offset, outputs=1, size=1) for offset in (10, 11, 12))
    land(second)
    assert new.position == 10
    land(first)
    assert new.position == 12
    assert not new.drained
    land(third)
    assert (new.position, new.drained) == (13, True)


def test_a_position_goes_over_offsets_that_hold_no_record_and_names_the_one_before_them() -> None:
    new = state(10)
    sent = new.send(new.accept(10) + 1, outputs=1, size=1)
    new.pass_over(12)  # a marker at 11, but the record is not acknowledged
    assert (new.position, new.before) == (10, 9)
    land(sent)
    new.pass_over(12)
    assert (new.position, new.before) == (12, 10)
    new.pass_over(11)
    assert new.position == 12
    again = PartitionState("client_events", 12, 2, last=10)  # as the next owner begins
    assert again.arrive(12) is Arrival.NEXT
    assert again.accept(12) == 10
    assert again.before == 10


@given(st.permutations(range(8)))
def test_whatever_the_order_of_acks_no_unacked_record_is_committed(order: list[int]) -> None:
    new = state(0)
    frames = [new.send(offset, outputs=1, size=1) for offset in range(8)]
    landed: set[int] = set()
    for number in order:
        land(frames[number])
        landed.add(number)
        assert new.position == next((i for i in range(8) if i not in landed), 8)
