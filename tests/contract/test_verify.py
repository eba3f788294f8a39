"""verify finds damage in a live table: a deleted row, a doubled one, a rollup off by one, a lost frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from clickhouse_connect.driver.client import Client
from databases import migrated
from table_rows import EPOCH, store

from builders import RECEIVED_AT, success
from tidegate.settings import Settings
from tidegate.verify.balance import SINCE, UNTIL, read
from tidegate.verify.command import verify
from tidegate.verify.report import PLAIN_WIDTH, Report, show

FRAMES = 4
EVENTS = 5  # of each frame


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A store of a few batches whose ledger balances, a planned batch of a zombie among them."""
    with migrated(settings) as client:
        for offset in range(FRAMES):
            store(client, "client_events", *[success() for _ in range(EVENTS)], offset=offset)
            plan(client, offset, offset)
        plan(client, 2, 3, generation=0)  # a zombie's, never carried out: generation 1 begins before it
        yield client


def plan(client: Client, first: int, last: int, *, generation: int = 1, day: str = "2025-11-21") -> None:
    rows = (last - first + 1) * EVENTS
    client.command(
        f"INSERT INTO {client.database}.sink_batches VALUES ('{EPOCH}', 'client_events', 0, {first}, {last},"
        f" {first - 1}, {first}, {last}, {last - first + 1}, {rows}, {rows}, 0, 0, ['{day}'], '1',"
        f" {generation}, 'test', now64(6))"
    )


def check(client: Client, settings: Settings) -> Report:
    return verify(client, settings, kafka=False)


def test_a_sound_store_balances(client: Client, settings: Settings) -> None:
    report = check(client, settings)
    assert report.findings == []
    (partition,) = report.partitions
    assert (partition.frames, partition.accepted, partition.stored) == (
        FRAMES,
        FRAMES * EVENTS,
        FRAMES * EVENTS,
    )
    assert json.loads(report.as_json())["balanced"] is True


def test_a_deleted_row_is_found_with_its_batch(client: Client, settings: Settings) -> None:
    client.command(
        f"ALTER TABLE {client.database}.client_events DELETE WHERE offset = 2 AND index = 3"
        " SETTINGS mutations_sync = 2"
    )
    finding, *rollups = check(client, settings).findings
    assert "raw offsets 2 to 2: the ledger has 5 accepted, table client_events has 4 rows" in finding.what
    assert client.query(finding.sql).result_rows == [(2, 4, 4)]
    assert len(rollups) == 3  # the three levels have one event more than their base


def test_a_doubled_row_is_found_with_its_batch(client: Client, settings: Settings) -> None:
    client.command(
        f"INSERT INTO {client.database}.client_events SELECT * FROM {client.database}.client_events"
        " WHERE offset = 1 AND index = 0"
    )
    (finding,) = check(client, settings).findings  # the rollups have it twice as well
    assert "raw offsets 1 to 1" in finding.what
    assert "6 rows, 1 of them doubled" in finding.what


def test_a_rollup_that_is_off_by_one_is_found(client: Client, settings: Settings) -> None:
    client.command(
        f"INSERT INTO {client.database}.client_events_1d (fleet, bucket, received_day, events)"
        " VALUES ('demo', '2025-11-21 00:00:00', '2025-11-21', 1)"
    )
    (finding,) = check(client, settings).findings
    assert "client_events_1d has 21 events of 2025-11-21, client_events has 20" in finding.what
    assert client.query(finding.sql).result_rows == [(21,)]


def test_a_lost_frame_is_found(client: Client, settings: Settings) -> None:
    plan(client, FRAMES + 1, FRAMES + 1)
    store(client, "client_events", *[success() for _ in range(EVENTS)], offset=FRAMES + 1)
    (finding,) = check(client, settings).findings
    assert f"the batch from raw offset {FRAMES + 1} does not follow offset {FRAMES - 1}" in finding.what
    assert client.query(finding.sql).row_count == 2  # the batches on both sides of the gap


def test_a_gap_that_an_operator_accepted_stays_on_record_and_balances(
    client: Client, settings: Settings
) -> None:
    plan(client, FRAMES + 1, FRAMES + 1)
    store(client, "client_events", *[success() for _ in range(EVENTS)], offset=FRAMES + 1)
    client.command(
        f"INSERT INTO {client.database}.sink_gaps VALUES ('{EPOCH}', 'client_events', 0, {FRAMES - 1},"
        f" {FRAMES + 1}, now64(6), 1, 'operator', 'the broker lost its disk', now64(6))"
    )
    report = check(client, settings)
    assert report.balanced
    assert report.accepted_gaps == 1


def test_the_newest_batch_may_be_under_way(client: Client, settings: Settings) -> None:
    """Planned and not stored yet: balanced without it, until the sink has committed behind it."""
    plan(client, FRAMES, FRAMES + 1)
    report = check(client, settings)
    assert report.balanced
    (partition,) = report.partitions
    assert (partition.last, partition.stored) == (FRAMES - 1, FRAMES * EVENTS)

    def read_with(position: int | None) -> tuple[bool, str]:
        found, findings, _ = read(
            client, settings.clickhouse_database, SINCE, UNTIL, committed=lambda row: position
        )
        return found[0].balanced, findings[0].what if findings else ""

    assert read_with(FRAMES)[0]
    balanced, what = read_with(FRAMES + 2)
    assert not balanced and f"raw offsets {FRAMES} to {FRAMES + 1}: the ledger has 10 accepted" in what
    # Damage before it is found all the same.
    client.command(
        f"ALTER TABLE {client.database}.client_events DELETE WHERE offset = 0 AND index = 0"
        " SETTINGS mutations_sync = 2"
    )
    assert not check(client, settings).balanced


def test_what_is_printed_is_never_cut_off(client: Client, settings: Settings) -> None:
    report = check(client, settings)
    for width in (PLAIN_WIDTH, 120, 80, 40):
        said: list[str] = []
        show(report, said.append, width=width)
        text = "\n".join(said)
        assert EPOCH in text and "client_events" in text and "…" not in text
        if width < PLAIN_WIDTH:
            assert all(len(line) <= width for line in text.splitlines())


def test_a_period_has_its_received_days_and_no_others(client: Client, settings: Settings) -> None:
    tomorrow = RECEIVED_AT + 86_400_000_000
    events = [success() for _ in range(EVENTS)]
    store(client, "client_events", *events, offset=FRAMES, received_at=tomorrow)
    plan(client, FRAMES, FRAMES, day="2025-11-22")
    client.command(
        f"INSERT INTO {client.database}.client_events_1m (fleet, bucket, received_day, events)"
        " VALUES ('demo', '2025-11-22 00:00:00', '2025-11-22', 1)"
    )
    first, second = date(2025, 11, 21), date(2025, 11, 22)
    report = verify(client, settings, until=first, kafka=False)
    assert report.findings == []
    assert [row.stored for row in report.partitions] == [FRAMES * EVENTS]
    report = verify(client, settings, since=second, kafka=False)
    assert [row.stored for row in report.partitions] == [EVENTS]
    told = [finding.what for finding in report.findings]  # the hour and the day follow the minute
    assert "client_events_1m has 6 events of 2025-11-22, client_events has 5" in told
    assert not any("2025-11-21" in what for what in told)


def test_a_batch_that_reaches_beyond_a_period_is_left_to_a_longer_one(
    client: Client, settings: Settings
) -> None:
    for received_at in (RECEIVED_AT, RECEIVED_AT + 86_400_000_000):  # two days in one batch of two frames
        events = [success() for _ in range(EVENTS)]
        offset = FRAMES + (received_at > RECEIVED_AT)
        store(client, "client_events", *events, offset=offset, received_at=received_at)
    plan(client, FRAMES, FRAMES + 1, day="2025-11-21', '2025-11-22")
    report = verify(client, settings, until=date(2025, 11, 21), kafka=False)
    assert report.findings == []
    assert [row.stored for row in report.partitions] == [FRAMES * EVENTS]
    assert [row.stored for row in verify(client, settings, kafka=False).partitions] == [(FRAMES + 2) * EVENTS]
    client.command(f"DELETE FROM {client.database}.client_events WHERE offset = 0 AND index = 0")
    assert not verify(client, settings, until=date(2025, 11, 21), kafka=False).balanced


def test_days_that_a_table_has_begun_to_let_go_are_not_compared(client: Client, settings: Settings) -> None:
    client.command(
        f"ALTER TABLE {client.database}.client_events_1m MODIFY TTL received_day + toIntervalDay(30)"
    )
    client.command(f"OPTIMIZE TABLE {client.database}.client_events_1m FINAL")
    assert client.command(f"SELECT count() FROM {client.database}.client_events_1m") == 0
    report = check(client, settings)
    assert report.findings == []
    assert (datetime.now(UTC).date() - report.since).days == 28
