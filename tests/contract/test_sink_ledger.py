"""The sink's ledger on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from enriched_frames import DAY, EPOCH, frame, now

from tidegate.contracts.ledger import BatchPlan, Gap
from tidegate.contracts.topics import StreamPartition
from tidegate.errors import Stop
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.sink.blocks import build
from tidegate.sink.plan import plan_of
from tidegate.store.insert import insert
from tidegate.store.ledger import Ledger

PARTITION = StreamPartition("client_events", 0)


class LedgerStore:
    def __init__(self, client: Client, database: str) -> None:
        self.client = client
        self.database = database
        self.ledger = Ledger(client, database)

    def count(self, table: str) -> int:
        return int(self.client.query(f"SELECT count() FROM {table}").result_rows[0][0])


@pytest.fixture
def store(clickhouse: ClickHouseServer) -> Iterator[LedgerStore]:
    settings = settings_of(clickhouse)
    with migrated(settings) as client:
        yield LedgerStore(client, settings.clickhouse_database)


def plan(first: int, last: int, generation: int, epoch: str = EPOCH) -> BatchPlan:
    frames = [frame(offset, epoch=epoch) for offset in range(first, last + 1)]
    return plan_of(frames, [datetime.now(UTC).date()], generation=generation, member="m")


def test_the_newest_plan_is_of_the_highest_generation(store: LedgerStore) -> None:
    late = plan(2, 9, generation=1)
    newest = plan(4, 5, generation=2)
    other = plan(0, 0, generation=7, epoch="01ZZZZZZZZZZZZZZZZZZZZZZZZ")
    store.ledger.write([plan(0, 1, generation=1), plan(2, 3, generation=2), newest])
    store.ledger.write([late, other])
    found = store.ledger.newest([PARTITION, StreamPartition("device_logs", 3)])
    assert found == {PARTITION: {EPOCH: newest, other.epoch: other}}
    assert store.ledger.newest([]) == {}


def test_plans_that_are_sent_again_are_written_once(store: LedgerStore) -> None:
    plans = [plan(0, 1, generation=1), plan(2, 3, generation=1)]
    store.ledger.write(plans)
    store.ledger.write(plans)
    assert store.count("sink_batches") == 2
    assert store.ledger.plans_since(plans[0]._replace(planned_at=datetime.now(UTC))) == 0
    assert store.ledger.plans_since(plans[0]._replace(planned_at=datetime(2020, 1, 1, tzinfo=UTC))) == 2


def test_a_batch_is_stored_when_all_its_rows_are(store: LedgerStore) -> None:
    frames = [frame(0, received=[now(), now() - DAY], rejected=1), frame(1)]
    built = build(frames)
    planned = plan_of(frames, built.days, generation=1, member="m")
    assert len(built.blocks) == 3 or len(built.blocks) == 4  # the reject's day may be another at midnight
    for block in built.blocks:
        assert not store.ledger.is_stored(planned)
        insert(store.client, store.database, block, planned.token + block.token_suffix)
    assert store.ledger.is_stored(planned)
    for block in built.blocks:  # once more
        insert(store.client, store.database, block, planned.token + block.token_suffix)
    assert store.ledger.is_stored(planned)
    assert store.count("client_events") == 5 and store.count("rejects") == 1
    [(events,)] = store.client.query("SELECT sum(events) FROM client_events_1d").result_rows
    assert events == 5


def test_a_large_batch_is_one_part(store: LedgerStore) -> None:
    frames = [frame(offset, received=[now()] * 5000) for offset in range(30)]
    [block] = build(frames).blocks
    insert(store.client, store.database, block, "token")
    rows = store.client.query(
        "SELECT rows FROM system.parts WHERE database = currentDatabase() AND table = 'client_events'"
    ).result_rows
    assert [tuple(row) for row in rows] == [(150_000,)]


def test_a_gap_stays_on_record_with_who_accepted_it(store: LedgerStore) -> None:
    gap, found_at = Gap(3, 9, 8), datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    store.ledger.note_gap(EPOCH, PARTITION, gap, found_at, "stopped")
    assert not store.ledger.is_accepted(EPOCH, PARTITION, gap)
    [(epoch, on_record, found, accepted)] = store.ledger.gaps(PARTITION)
    assert (epoch, on_record[:2], found, accepted) == (EPOCH, gap[:2], found_at, False)
    store.ledger.accept_gap(EPOCH, PARTITION, gap, found_at, by="op", reason="lost")
    assert store.ledger.is_accepted(EPOCH, PARTITION, gap)
    assert not store.ledger.is_accepted(EPOCH, PARTITION, Gap(3, 10, 9))
    assert not store.ledger.is_accepted("01ZZZZZZZZZZZZZZZZZZZZZZZZ", PARTITION, gap)
    assert store.count("sink_gaps") == 2


def test_an_epoch_is_noted_once(store: LedgerStore) -> None:
    for _ in range(2):
        store.ledger.note_epoch(EPOCH)
    assert store.count("epochs") == 1


def test_one_group_fills_the_tables_of_an_epoch_until_an_operator_names_another(store: LedgerStore) -> None:
    store.ledger.claim(EPOCH, "first")
    store.ledger.claim(EPOCH, "first")
    with pytest.raises(Stop, match=r"group first fills .* accept-group second"):
        store.ledger.claim(EPOCH, "second")
    store.ledger.claim("01ZZZZZZZZZZZZZZZZZZZZZZZZ", "second")  # another life of the topics
    store.ledger.accept_group(EPOCH, "second")
    store.ledger.claim(EPOCH, "second")
    with pytest.raises(Stop, match="group second fills"):
        store.ledger.claim(EPOCH, "first")


def test_of_groups_that_claim_at_once_one_gets_it(store: LedgerStore) -> None:
    def claim(number: int) -> bool:
        try:
            Ledger(store.client, store.database).claim(EPOCH, f"group-{number}")
        except Stop:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(8))) == 1
