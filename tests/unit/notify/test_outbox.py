"""What is owed to whom, and when it is tried again."""

from __future__ import annotations

import random

import pytest
from alert_documents import alert

from tidegate.notify.outbox import AT_ONCE, DELAYS, JITTER, Notice, Outbox
from tidegate.store.deliveries import Entry, replayed
from tidegate.webhooks.endpoints import Endpoint
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.transport import Answer

OK, DOWN, GONE = Answer(204), Answer(503, "answers 503"), Answer(410, "answers 410")


def endpoint(id: str = "we_1") -> Endpoint:
    return Endpoint(id=id, name=id, fleet="demo", format="standard", url="https://x/")


def outbox(chance: float = 0.0) -> Outbox:
    return Outbox(lambda: chance)


def one(box: Outbox, now: float) -> Notice:
    [notice] = box.due(now)
    return notice


def outcomes(entries: list[Entry]) -> list[str]:
    return [entry.outcome for entry in entries]


def test_the_retry_table() -> None:
    box, now, waited = outbox(), 1000.0, []
    [owed] = box.owe(endpoint(), alert(), 3, now)
    assert (owed.outcome, owed.entry, owed.attempt, owed.next_attempt_at) == ("owed", 0, 0, now)
    assert owed.webhook_id == webhook_id("a1b2c3", 1, "we_1") and owed.partition == 3
    entries = []
    while (due := box.next_at()) is not None:
        waited.append(due - now)
        assert not box.due(due - 0.001)
        now = due
        notice = one(box, now)
        now += 2.0  # the attempt takes its time
        entries += box.ended(notice, DOWN, now)
    assert waited == list(DELAYS)
    assert waited == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert outcomes(entries) == ["retry"] * 9 + ["failed"]
    assert [entry.attempt for entry in entries] == list(range(1, 11))
    assert [entry.entry for entry in entries] == list(range(1, 11))
    assert entries[0].next_attempt_at == entries[0].at + 5
    assert entries[-1].next_attempt_at is None and not len(box)


def test_jitter_only_makes_it_later_and_differs() -> None:
    rng = random.Random(1)
    box, waits = Outbox(rng.random), set()
    for number in range(50):
        box.owe(endpoint(f"we_{number}"), alert(), 0, 0.0)
    for notice in box.due(0.0):
        [entry] = box.ended(notice, DOWN, 0.0)
        assert entry.next_attempt_at is not None
        assert DELAYS[1] <= entry.next_attempt_at <= DELAYS[1] * (1 + JITTER)
        waits.add(entry.next_attempt_at)
    assert len(waits) == 50


@pytest.mark.parametrize(
    ("asked", "waits"), [(None, 5.0), (1.0, 5.0), (120.0, 120.0), (1e9, 86_400.0), (float("inf"), 86_400.0)]
)
def test_retry_after_is_kept_within_a_day(asked: float | None, waits: float) -> None:
    box = outbox()
    box.owe(endpoint(), alert(), 0, 0.0)
    [entry] = box.ended(one(box, 0.0), Answer(429, "", asked), 0.0)
    assert entry.next_attempt_at == waits


def test_delivered_and_gone_end_it() -> None:
    for answer, outcome in ((OK, "delivered"), (GONE, "gone")):
        box = outbox()
        box.owe(endpoint(), alert(), 0, 0.0)
        [entry] = box.ended(one(box, 0.0), answer, 1.0)
        assert (entry.outcome, entry.status, entry.attempt) == (outcome, answer.status, 1)
        assert box.next_at() is None
        assert box.owe(endpoint(), alert(), 0, 2.0) == []  # the record comes again


def test_a_newer_state_takes_the_place_of_one_that_failed() -> None:
    box = outbox()
    box.owe(endpoint(), alert(), 0, 0.0)
    box.ended(one(box, 0.0), DOWN, 0.0)
    entries = box.owe(endpoint(), alert(sequence=2, state="resolved"), 0, 1.0)
    assert [(entry.sequence, entry.outcome) for entry in entries] == [(1, "superseded"), (2, "owed")]
    assert one(box, 1.0).alert.sequence == 2


def test_one_not_tried_yet_goes_out_first() -> None:
    box = outbox()
    box.owe(endpoint(), alert(), 0, 0.0)
    assert outcomes(box.owe(endpoint(), alert(sequence=2), 0, 0.0)) == ["owed"]
    first = one(box, 0.0)
    assert first.alert.sequence == 1 and box.due(10.0) == []
    [entry] = box.ended(first, DOWN, 10.0)
    assert (entry.outcome, entry.status, entry.error) == ("superseded", 503, "answers 503")
    assert one(box, 10.0).alert.sequence == 2


def test_another_alert_or_endpoint_supersedes_nothing() -> None:
    box = outbox()
    box.owe(endpoint(), alert(), 0, 0.0)
    box.ended(one(box, 0.0), DOWN, 0.0)
    assert outcomes(box.owe(endpoint(), alert(id="other", sequence=2), 0, 1.0)) == ["owed"]
    assert outcomes(box.owe(endpoint("we_2"), alert(sequence=2), 0, 1.0)) == ["owed"]
    assert len(box) == 3


def test_one_endpoint_gets_so_many_at_once_and_does_not_hold_up_another() -> None:
    box = outbox()
    for number in range(20):
        box.owe(endpoint("slow"), alert(id=f"a{number}"), 0, 0.0)
    box.owe(endpoint("quick"), alert(), 0, 5.0)
    due = box.due(5.0)
    assert [notice.endpoint_id for notice in due] == ["slow"] * AT_ONCE + ["quick"]
    assert box.due(6.0) == []
    box.ended(due[0], OK, 6.0)
    assert [notice.endpoint_id for notice in box.due(6.0)] == ["slow"]


def test_a_dropped_endpoint_is_sent_nothing_more() -> None:
    box = outbox()
    for number in range(3):
        box.owe(endpoint(), alert(id=f"a{number}"), 0, float(number))
    box.due(0.0)
    assert outcomes(box.drop("we_1", "deleted", 5.0)) == ["dropped", "dropped"]
    assert len(box) == 1  # which is under way


# Over a restart


def owed_after(*answers: Answer) -> Entry:
    """The newest entry of a notice, with the alert of the first one."""
    box = outbox()
    entries = box.owe(endpoint(), alert(), 2, 0.0)
    for answer in answers:
        now = box.next_at()
        assert now is not None
        entries += box.ended(one(box, now), answer, now)
    return entries[-1]._replace(alert=entries[0].alert)


def test_what_the_log_says_goes_on_where_it_was() -> None:
    found = owed_after(DOWN, DOWN)
    box = outbox()
    assert box.restore(found, alert(), 10.0) == []
    assert box.restore(found, alert(), 10.0) == []
    assert box.next_at() == found.next_attempt_at == 305.0
    [entry] = box.ended(one(box, 305.0), DOWN, 305.0)
    assert (entry.entry, entry.attempt, entry.next_attempt_at) == (3, 3, 305.0 + 1800)
    assert box.owe(endpoint(), alert(), 2, 400.0) == []


def test_a_stale_look_at_the_log_changes_nothing() -> None:
    box = outbox()
    [owed] = box.owe(endpoint(), alert(), 0, 0.0)
    box.ended(one(box, 0.0), OK, 0.0)
    assert box.restore(owed, alert(), 1.0) == []
    assert box.next_at() is None


def test_restored_behind_a_newer_state_is_superseded() -> None:
    box = outbox()
    box.owe(endpoint(), alert(sequence=2), 0, 0.0)
    [entry] = box.restore(owed_after(DOWN), alert(), 1.0)
    assert (entry.outcome, entry.sequence, entry.entry) == ("superseded", 1, 2)
    box = outbox()
    box.restore(owed_after(DOWN), alert(), 1.0)
    assert outcomes(box.owe(endpoint(), alert(sequence=2), 0, 2.0)) == ["superseded", "owed"]


def test_a_replay_begins_anew() -> None:
    box = outbox()
    entries = box.owe(endpoint(), alert(), 0, 0.0)
    entries += box.ended(one(box, 0.0), OK, 0.0)
    again = replayed(entries[-1]._replace(alert=entries[0].alert), 100.0)
    box.restore(again, alert(), 101.0)
    [entry] = box.ended(one(box, 101.0), DOWN, 101.0)
    assert (entry.entry, entry.attempt, entry.next_attempt_at) == (3, 1, 106.0)


def test_a_replay_of_one_that_waits_is_sent_now() -> None:
    box = outbox()
    entries = box.owe(endpoint(), alert(), 0, 0.0)
    for now in (0.0, 5.0):
        entries += box.ended(one(box, now), DOWN, now)
    again = replayed(entries[-1]._replace(alert=entries[0].alert), 10.0)
    box.restore(again, alert(), 11.0)
    assert len(box) == 1
    [entry] = box.ended(one(box, 11.0), OK, 11.0)
    assert (entry.outcome, entry.entry, entry.attempt) == ("delivered", 4, 1)


def test_under_way_when_its_partition_went_to_another() -> None:
    box = outbox()
    box.owe(endpoint(), alert(), 2, 0.0)
    notice = one(box, 0.0)
    box.forget({2})
    [entry] = box.ended(notice, DOWN, 1.0)
    assert entry.outcome == "retry" and box.next_at() is None
    box.restore(owed_after(DOWN), alert(), 2.0)  # it is back
    assert box.next_at() == 5.0


def test_partitions_of_others_are_forgotten_and_can_come_back() -> None:
    box = outbox()
    found = owed_after(DOWN)
    box.restore(found, alert(), 1.0)
    box.owe(endpoint(), alert(id="here"), 1, 0.0)
    box.forget({2})
    assert [notice.partition for notice in box] == [1]
    box.restore(found, alert(), 1.0)
    assert len(box) == 2


def test_told_by_the_log_to_be_at_its_end() -> None:
    box = outbox()
    id = webhook_id("a1b2c3", 1, "we_1")
    box.ended_before(id, 4)
    assert box.knows(id) and box.owe(endpoint(), alert(), 0, 0.0) == []
