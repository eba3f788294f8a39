"""Fleets that are kept shorter than the tables: what goes, what stays, a ledger that balances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from databases import settings_of
from store_contents import ROLLUPS, groups, rows
from table_rows import EPOCH, batch_plan, insert, table_of_lines

from builders import device_log, envelope, failure, network_log, success
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.sink.blocks import token_suffix
from tidegate.store import expiry
from tidegate.store.expiry import expire
from tidegate.store.ledger import Ledger
from tidegate.verify.command import verify

NOW = datetime.now(UTC)
AGES = (3, 2)  # days
KEPT = 3  # days of `north`: of these ages, one goes
EVENTS: dict[Stream, list[dict[str, Any]]] = {
    "client_events": [success(), failure()],
    "connection_logs": [network_log()],
    "device_logs": [device_log()],
}
REJECT = ["fleet", "id", "received_at", "stream", "epoch", "partition", "offset", "index", "original"]
ALERT = ["fleet", "id", "sequence", "updated_at"]


@pytest.fixture
def settings(clickhouse: ClickHouseServer) -> Settings:
    return settings_of(clickhouse, fleet_retention_days=f"north={KEPT}, lab=1", ttl_alerts_days=2)


def fill(client: Client, settings: Settings, *streams: Stream) -> Ledger:
    """A frame a stream and age with lines of two fleets, and a reject of each."""
    ledger = Ledger(client, settings.clickhouse_database)
    ledger.note_epoch(EPOCH)
    for stream in streams:
        for offset, age in enumerate(AGES):
            frame(client, ledger, stream, offset, NOW - timedelta(days=age))
    return ledger


def frame(
    client: Client,
    ledger: Ledger,
    stream: Stream,
    offset: int,
    received: datetime,
    fleets: tuple[str, ...] = ("north", "south"),
) -> None:
    micros = int(received.timestamp() * 1e6)
    lines = [envelope(event, fleet=fleet, received_at=micros) for fleet in fleets for event in EVENTS[stream]]
    refused = [
        [fleet, f"{stream}{offset}{fleet}", received, stream, EPOCH, 0, offset, 90 + at, "{"]
        for at, fleet in enumerate(fleets)
    ]
    plan = batch_plan(stream, offset, accepted=len(lines), rejected=len(refused), received=received)
    ledger.write([plan])
    found = table_of_lines(stream, lines, offset=offset, received_at=micros)
    insert(client, stream, found, token=plan.token + token_suffix(stream, received.date()))
    client.insert("rejects", refused, column_names=REJECT)


def contents(client: Client, where: str = "1") -> dict[str, Any]:
    found: dict[str, Any] = {name: rows(client, name, where) for name in (*STREAMS, "rejects")}
    return found | {name: groups(client, name, where) for name in (*ROLLUPS, "site_minutes")}


STAYS = f"fleet = 'south' OR {{}} > toDate(now('UTC')) - {KEPT}"


def stays(client: Client) -> dict[str, Any]:
    """What of the contents is to stay."""
    found: dict[str, Any] = {
        name: rows(client, name, STAYS.format("toDate(received_at)")) for name in (*STREAMS, "rejects")
    }
    found |= {name: groups(client, name, STAYS.format("received_day")) for name in ROLLUPS}
    return found | {"site_minutes": groups(client, "site_minutes", STAYS.format("toDate(minute)"))}


def test_a_fleets_rows_go_with_its_retention_and_nothing_else(client: Client, settings: Settings) -> None:
    ledger = fill(client, settings, *STREAMS)
    wanted = stays(client)
    assert any(wanted[name] != found for name, found in contents(client).items())
    gone = expire(client, settings)
    assert contents(client) == wanted
    assert {name: gone[name] for name in (*STREAMS, "rejects")} == {
        "client_events": 2,
        "connection_logs": 1,
        "device_logs": 1,
        "rejects": 3,
    }
    assert set(gone) == {*STREAMS, "rejects", *ROLLUPS, "site_minutes"}

    report = verify(client, settings, kafka=False)
    assert report.findings == []
    assert sum(row.expired for row in report.partitions) == 4
    assert sum(row.rejects_expired for row in report.partitions) == 3
    assert expire(client, settings) == {}
    first = batch_plan("client_events", 0, accepted=4, rejected=2, received=NOW - timedelta(days=AGES[0]))
    assert ledger.is_stored(first) and not ledger.is_stored(first._replace(accepted=5))


def test_what_is_on_record_covers_no_other_loss(client: Client, settings: Settings) -> None:
    fill(client, settings, "device_logs")
    expire(client, settings)
    for offset in (0, 1):  # a frame of which half has expired, and one of which nothing has
        client.command(
            f"ALTER TABLE device_logs DELETE WHERE fleet = 'south' AND offset = {offset}"
            " SETTINGS mutations_sync = 2"
        )
    found = [finding.what for finding in verify(client, settings, kafka=False).findings]
    assert [what for what in found if "raw offsets" in what] == [
        f"device_logs partition 0, raw offsets {offset} to {offset}: the ledger has 2 accepted,"
        f" table device_logs has {there} rows"
        for offset, there in ((0, 1), (1, 1))
    ]


def test_one_that_was_broken_off_balances_and_is_finished_by_the_next(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off behind the note of each table; and with its rollups still there."""
    fill(client, settings, "client_events")
    wanted = stays(client)
    note = expiry._note

    def broken_off(*arguments: Any) -> str:
        note(*arguments)
        raise ConnectionError("broken off")

    for table in ("client_events", "rejects"):
        with monkeypatch.context() as patch, pytest.raises(Exception, match="broken off"):
            patch.setattr(expiry, "_note", broken_off)
            expire(client, settings)
        assert verify(client, settings, kafka=False).findings == [], table
        with monkeypatch.context() as patch:
            patch.setattr(expiry, "ttl_days", lambda settings: {table: ("toDate(received_at)", 0)})  # noqa: B023
            expire(client, settings)
        assert verify(client, settings, kafka=False).findings == [], table
    expire(client, settings)
    assert contents(client) == wanted
    assert verify(client, settings, kafka=False).findings == []


def test_rows_that_come_late_are_counted_and_go_too(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the note and the deletion, and behind it: what is not on record is not deleted."""
    ledger = fill(client, settings, "client_events")
    old = NOW - timedelta(days=4)
    note = expiry._note

    def noted(client: Client, settings: Settings, table: str, where: str) -> str:
        found = note(client, settings, table, where)
        if table == "client_events":
            frame(client, ledger, "client_events", len(AGES), old, ("north",))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(expiry, "_note", noted)
        assert expire(client, settings)["client_events"] == 2
    assert len(rows(client, "client_events", "fleet = 'north' AND offset = 2")) == 2
    assert verify(client, settings, kafka=False).findings == []
    frame(client, ledger, "client_events", len(AGES) + 1, old, ("north",))
    assert verify(client, settings, kafka=False).findings == []
    assert expire(client, settings)["client_events"] == 4
    assert contents(client) == stays(client)
    assert verify(client, settings, kafka=False).findings == []


def test_alerts_go_whole_and_deliveries_by_their_time(client: Client, settings: Settings) -> None:
    """`north` is kept longer than alerts are: their TTL says when they go. `lab` is kept a day."""
    client.command("ALTER TABLE alerts REMOVE TTL")
    days = {1: NOW - timedelta(days=3), 2: NOW}
    changes = [[fleet, "ended", 1, days[1]] for fleet in ("north", "lab")]
    changes += [[fleet, "runs", at, days[at]] for fleet in ("north", "lab") for at in days]
    client.insert("alerts", changes, column_names=ALERT)
    client.insert(
        "webhook_deliveries",
        [[fleet, f"{at}", 0, days[at]] for fleet in ("lab", "south") for at in days],
        column_names=["fleet", "webhook_id", "entry", "at"],
    )
    assert expire(client, settings) == {"alerts": 1, "webhook_deliveries": 1}
    found = client.query("SELECT fleet, id, sequence FROM alerts FINAL ORDER BY ALL").result_rows
    assert found == [
        ("lab", "runs", 1),
        ("lab", "runs", 2),
        ("north", "ended", 1),
        ("north", "runs", 1),
        ("north", "runs", 2),
    ]
    found = client.query("SELECT fleet, webhook_id FROM webhook_deliveries ORDER BY ALL").result_rows
    assert found == [("lab", "2"), ("south", "1"), ("south", "2")]
