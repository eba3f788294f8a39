"""One partition: where it starts, what it cuts again, what it tells."""

from __future__ import annotations

from typing import Any

import pytest
from enriched_frames import EPOCH, frame

from tidegate.contracts.frames import BadFrame
from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import StreamPartition
from tidegate.errors import Stop
from tidegate.sink.batch_buffer import Limits
from tidegate.sink.offset_sequence import Order
from tidegate.sink.partition import MOST_EPOCHS, Batch, Partition, TakeOver
from tidegate.sink.plan import plan_of

OTHER = "01ZZZZZZZZZZZZZZZZZZZZZZZZ"
THIRD = "01ZZZZZZZZZZZZZZZZZZZZZZZY"
PLAN = plan_of([frame(3, enriched=13), frame(4, enriched=14)], [], generation=5, member="old")


def partition(*plans: BatchPlan, rows: int = 6, stored: set[str] | None = None, **changed: Any) -> Partition:
    found = Partition(StreamPartition("client_events", 0), "topic", Limits(rows, 1 << 30, 0.5))
    known = {plan.epoch: plan for plan in plans}
    over = TakeOver(EPOCH, known, frozenset(stored or ()), low=0, raw_low=0, generation=9, member="new")
    found.begin(TakeOver(**{**{name: getattr(over, name) for name in over.__slots__}, **changed}))
    return found


def batch(partition: Partition, now: float = 1e9) -> Batch:
    found = partition.next_batch(now)
    assert found is not None
    return found


def test_without_a_plan_it_reads_from_the_start() -> None:
    found = partition(low=4)
    assert found.position == 4 and found.cutting_again is None


def test_a_stored_plan_is_gone_on_behind() -> None:
    found = partition(PLAN, stored={EPOCH})
    assert found.position == 15
    assert found.take(frame(5, enriched=15))[0] is Order.NEXT


def test_a_plan_in_doubt_is_cut_again_as_it_was() -> None:
    found = partition(PLAN, rows=1)
    assert found.position == 13 and found.stored_to() == 13
    for offset in (3, 4, 4, 5, 6):
        found.take(frame(offset, enriched=10 + offset))
    again = batch(found)
    assert again.plan == PLAN
    assert [each.head.source_offset for each in again.frames] == [3, 4]
    found.finish()
    assert found.to_commit == 15
    assert [each.head.source_offset for each in batch(found).frames] == [5]


def test_a_plan_that_cannot_be_cut_again_stops() -> None:
    found = partition(PLAN)
    with pytest.raises(Stop, match="accepted 6 then, 7 now"):
        for offset, count in ((3, 3), (4, 4)):
            found.take(frame(offset, enriched=10 + offset, count=count))


def test_a_plan_whose_frames_are_expired_ends_in_a_gap() -> None:
    found = partition(PLAN, low=14)
    assert found.position == 14 and "not stored" in found.problem
    for _ in range(2):
        found.take(frame(4, enriched=14))
    assert found.gap_found is not None and found.gap_found[1].after == 2


def test_a_gap_is_looked_back_for_once_and_accepted_by_hand() -> None:
    found = partition()
    assert found.take(frame(0, enriched=20)) == (Order.NEXT, None)
    assert found.take(frame(3, enriched=21)) == (Order.GAP, 0)
    assert found.gap_found is None
    assert found.take(frame(0, enriched=20))[0] is Order.REPEAT
    assert found.take(frame(3, enriched=21)) == (Order.GAP, None)
    assert found.gap_found is not None and found.stored_to() == 20
    assert found.accept_gap() == 21
    assert found.take(frame(3, enriched=21))[0] is Order.NEXT
    assert [each.head.source_offset for each in batch(found).frames] == [0]
    found.batch = None
    assert [each.head.source_offset for each in batch(found).frames] == [3]


def test_gaps_of_several_epochs_are_looked_back_for_once_each() -> None:
    """Each made the other's look forgotten: the partition read the same records again for ever."""
    found = partition()
    log = [frame(0, enriched=20), frame(3, enriched=21, epoch=OTHER), frame(5, enriched=22, epoch=THIRD)]
    log.append(frame(1, enriched=23))
    position, reads = 20, 0
    while position <= 23:
        _, back = found.take(log[position - 20])
        position = position + 1 if back is None else max(back, 20)
        reads += 1
        assert reads < 20
    assert found.gap_found is not None and found.stored_to() == 20
    assert [each.head.source_offset for each in batch(found).frames] == [0]


def test_epochs_that_nobody_knows_do_not_pile_up() -> None:
    found = partition(PLAN, stored={EPOCH})
    for number in range(MOST_EPOCHS):
        made_up = f"01ZZZZZZZZZZZZZZZZZZZZZ{number:03}"
        assert found.take(frame(0, enriched=15 + number, epoch=made_up))[0] is Order.NEXT
    with pytest.raises(BadFrame, match="epochs"):
        found.take(frame(0, enriched=500, epoch=THIRD))
    assert found.take(frame(1, enriched=501, epoch=made_up))[0] is Order.NEXT
    assert found.take(frame(5, enriched=502))[0] is Order.NEXT


def test_one_batch_at_a_time() -> None:
    found = partition(rows=3)
    found.take(frame(0))
    found.take(frame(1))
    first = batch(found)
    assert found.next_batch(1e9) is None
    assert found.bytes == first.size + frame(1).size
    first.plan = plan_of(first.frames, [], generation=9, member="new")
    found.finish()
    assert not found.idle
    assert [each.head.source_offset for each in batch(found).frames] == [1]


def test_another_epoch_is_a_chain_of_its_own() -> None:
    found = partition(PLAN, stored={EPOCH})
    assert found.take(frame(0, enriched=15, epoch=OTHER))[0] is Order.NEXT
    assert found.take(frame(5, enriched=16))[0] is Order.NEXT
    assert found.take(frame(1, enriched=17, epoch=OTHER))[0] is Order.NEXT


def test_an_earlier_epoch_with_plans_is_looked_up_first() -> None:
    found = partition(PLAN, epoch=OTHER)
    assert found.position == 0
    found.take(frame(3, enriched=0))
    assert found.starting_over and found.check_epochs == {EPOCH} and found.position == 0
    found = partition(PLAN, epoch=OTHER, stored={EPOCH})
    assert found.take(frame(4, enriched=0))[0] is Order.REPEAT
    assert found.take(frame(5, enriched=1))[0] is Order.NEXT
