"""The delivery log of webhooks in ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
from alert_documents import alert
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

from tidegate.contracts.alerts import Alert
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.notify.outbox import Outbox
from tidegate.store import deliveries
from tidegate.store.deliveries import Entry
from tidegate.store.insert import insert
from tidegate.webhooks.endpoints import Endpoint
from tidegate.webhooks.transport import Answer

NOW = float(int(time.time())) + 0.25
DOWN, OK = Answer(503, "answers 503: <b>\u202e'", None, 1.5), Answer(204, "", None, 0.02)


def endpoint(id: str) -> Endpoint:
    return Endpoint(id=id, name=f"name of {id}", fleet="demo", format="standard", url="https://x/")


class Store:
    def __init__(self, client: Client, database: str) -> None:
        self.client, self.database = client, database

    def put(self, *entries: Entry) -> None:
        insert(self.client, self.database, deliveries.block(entries), token="")

    def owed(self, partitions: set[int], count: int = 4) -> list[Entry]:
        return deliveries.owed(self.client, self.database, partitions, count)


@pytest.fixture
def store(clickhouse: ClickHouseServer) -> Iterator[Store]:
    settings = settings_of(clickhouse)
    with migrated(settings) as client:
        yield Store(client, settings.clickhouse_database)


def sent(told: Alert, partition: int, *answers: Answer, to: str = "we_1") -> list[Entry]:
    """The entries of a notice, from its debt to the last of these answers."""
    box = Outbox(lambda: 0.0)
    entries = box.owe(endpoint(to), told, partition, NOW)
    for answer in answers:
        due = box.next_at()
        assert due is not None
        [notice] = box.due(due)
        entries += box.ended(notice, answer, due)
    return entries


def test_what_is_written_is_read_back(store: Store) -> None:
    told = alert(site="São Paulo \u202e '\"<", id="a'b")
    entries = sent(told, 3, DOWN, DOWN)
    store.put(*entries)
    [found] = store.owed({3})
    assert found == entries[-1]._replace(alert=entries[0].alert)
    assert msgspec.json.decode(found.alert, type=Alert) == told
    assert deliveries.newest(store.client, store.database, [found.webhook_id, "msg_other"]) == [found]
    assert deliveries.listing(store.client, store.database) == entries[::-1]


def test_only_the_newest_entry_counts_and_only_in_ones_own_partitions(store: Store) -> None:
    waits, done, elsewhere = (
        sent(alert(id="waits"), 0, DOWN),
        sent(alert(id="done"), 0, DOWN, OK),
        sent(alert(id="elsewhere"), 1),
    )
    for entries in (waits, done, elsewhere):
        for entry in reversed(entries):  # in whatever order they arrive
            store.put(entry)
    assert [found.alert_id for found in store.owed({0})] == ["waits"]
    assert [found.alert_id for found in store.owed({1})] == ["elsewhere"]
    assert [found.alert_id for found in store.owed({0, 2, 3})] == ["waits"]
    assert store.owed(set()) == []
    store.put(*sent(alert(id="of more partitions"), 9))
    assert {found.alert_id for found in store.owed({1})} == {"elsewhere", "of more partitions"}


def test_an_entry_that_is_written_again_is_one(store: Store) -> None:
    entries = sent(alert(), 0, DOWN)
    store.put(*entries)
    store.put(entries[-1]._replace(at=NOW + 9))
    assert [found.entry for found in deliveries.listing(store.client, store.database)] == [1, 0]


def test_a_replay_is_owed_again(store: Store) -> None:
    entries = sent(alert(), 2, OK)
    store.put(*entries)
    assert store.owed({2}) == []
    [newest] = deliveries.newest(store.client, store.database, [entries[0].webhook_id])
    store.put(deliveries.replayed(newest, NOW + 60))
    [found] = store.owed({2})
    assert (found.entry, found.attempt, found.next_attempt_at) == (2, 0, NOW + 60)
    assert msgspec.json.decode(found.alert, type=Alert) == alert()


def test_many_ids_are_asked_for_in_parts(store: Store) -> None:
    entries = [entry for n in range(450) for entry in sent(alert(id=f"a{n}"), 0)]
    store.put(*entries)
    ids = [entry.webhook_id for entry in entries]
    found = deliveries.newest(store.client, store.database, ids)
    assert {entry.webhook_id for entry in found} == set(ids) and len(found) == 450


def test_however_many_were_given_up_all_are_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what a list shows, the older ones were never sent again, and nothing said so."""
    monkeypatch.setattr(deliveries, "MOST_LISTED", 5)
    failed = [sent(alert(id=f"a{n}"), 0, *[DOWN] * 10) for n in range(7)]
    store.put(
        *(entry for entries in failed for entry in entries),
        *sent(alert(id="waits"), 0, DOWN),
        *sent(alert(id="done"), 0, DOWN, OK),
        *sent(alert(id="elsewhere"), 0, *[DOWN] * 10, to="we_2"),
    )

    def found(since: float = NOW, **which: str) -> dict[str, Entry]:
        given = {"fleet": "", **which}
        entries = deliveries.ended(store.client, store.database, since=since, **given)
        assert all(msgspec.json.decode(entry.alert, type=Alert).id == entry.alert_id for entry in entries)
        return {entry.alert_id: entry for entry in entries}

    assert found(endpoint="name of we_1").keys() == {entries[0].alert_id for entries in failed}
    assert found(fleet="demo").keys() == {*found(endpoint="name of we_1"), "elsewhere"}
    assert found(fleet="other") == {} == found(since=failed[0][-1].at + 1)
    again = found()["a0"]
    assert again == failed[0][-1]._replace(alert=failed[0][0].alert)
    store.put(deliveries.replayed(again, again.at + 1))
    assert "a0" not in found()


def test_questions_of_people(store: Store) -> None:
    store.put(*sent(alert(), 0, DOWN, OK), *sent(alert(id="other"), 0, OK, to="we_2"))

    def listed(**which: object) -> list[tuple[str, str]]:
        found = deliveries.listing(store.client, store.database, **which)  # type: ignore[arg-type]
        return [(entry.alert_id, entry.outcome) for entry in found]

    assert listed(failed=True) == [("a1b2c3", "retry")]
    assert listed(endpoint="name of we_2") == listed(alert_id="other")
    assert listed(alert_id="other") == [("other", "delivered"), ("other", "owed")]
    assert len(listed(fleet="demo")) == 5 and listed(fleet="x' OR 1 --") == []
    assert len(listed(limit=2)) == 2
    told = deliveries.told(store.client, store.database, ["other", "a1b2c3", "unknown"])
    assert told == {("we_2", "other"), ("we_1", "a1b2c3")}
