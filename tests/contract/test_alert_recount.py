"""Stored events folded again: they give the alerts that they gave, and a row that was deleted is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import roles
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from table_rows import EPOCH, table

import builders
from tidegate import lookups
from tidegate.alerts import backtest, recount
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.lookups import alert_rules
from tidegate.settings import Settings
from tidegate.store.alerts import block
from tidegate.store.insert import insert
from tidegate.verify.alerts import findings

BEGIN = builders.RECEIVED_AT // recount.HOUR * recount.HOUR
MINUTES = 50


@pytest.fixture(scope="module")
def settings(clickhouse: ClickHouseServer) -> Settings:
    return settings_of(clickhouse)


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    """Fifty minutes of two sites, ten of them with a dead RADIUS server."""
    with migrated(settings) as client:
        for minute in range(MINUTES):
            at = BEGIN + minute * MINUTE
            broken = 30 <= minute < 40
            events = [
                (builders.failure if broken and number % 4 else builders.success)(
                    locationId={"type": "locallocationid", "id": site},
                    macAddress=f"02:00:00:00:{site:02x}:{number:02x}",
                    timestamp=at,
                )
                for site in (1, 2)
                for number in range(16)
            ]
            client.insert_arrow(
                "client_events", table("client_events", events, offset=minute, received_at=at)
            )
        yield client


def folded(client: Client, settings: Settings) -> list[Alert]:
    tables = lookups.load(settings.lookups_dir)
    until = BEGIN + MINUTES * MINUTE
    return list(recount.changes(client, tables, alert_rules.load(""), BEGIN, until))


def test_stored_events_give_their_alerts_and_a_deleted_row_is_found(
    client: Client, settings: Settings
) -> None:
    assert recount.first_event(client) == BEGIN
    changes = folded(client, settings)
    assert [(one.signal, one.scope.site, one.sequence) for one in changes[:1]] == [("stage_failures", "1", 1)]
    assert changes[0].impact.clients >= 10
    assert {one.scope.site for one in changes} == {"1", "2"} and len({one.incident for one in changes}) == 1
    until = BEGIN + MINUTES * MINUTE
    side_by_side = backtest.changes(settings, alert_rules.load(""), BEGIN, until, processes=3)
    assert list(side_by_side) == changes
    insert(client, settings.clickhouse_database, block(changes, EPOCH), token="")
    assert findings(client, settings, kafka=False) == []
    client.command(
        f"ALTER TABLE alerts DELETE WHERE id = '{changes[0].id}' AND sequence = 1 SETTINGS mutations_sync = 2"
    )
    assert findings(client, settings, kafka=False)
    client.command(f"ALTER TABLE alerts DELETE WHERE id = '{changes[0].id}' SETTINGS mutations_sync = 2")
    [found] = findings(client, settings, kafka=False)
    assert "open an alert" in found.what


def test_an_alert_that_no_event_gave_is_found(client: Client, settings: Settings) -> None:
    client.command("TRUNCATE TABLE alerts")
    changes = folded(client, settings)
    insert(client, settings.clickhouse_database, block(changes, EPOCH), token="")
    client.command(
        "INSERT INTO alerts SELECT * REPLACE ('other' AS id, 'Sydney' AS site) FROM alerts FINAL"
        " WHERE sequence = 1 LIMIT 1"
    )
    [found] = findings(client, settings, kafka=False)
    assert "Sydney" in found.what and "does not come of" in found.what


def test_the_commands_say_what_rules_would_have_told(
    client: Client, settings: Settings, tmp_path: Path, clickhouse: ClickHouseServer
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "floor"\nsignal = "stage_failures"\nthreshold = { share = 0.5 }\n')
    values = {"clickhouse_url": clickhouse.url, "clickhouse_database": settings.clickhouse_database}
    done = roles.run("alerts", "check", str(rules), values=values)
    assert done.returncode == 0 and "floor" in done.stdout
    rules.write_text('[[rule]]\nname = "floor"\nsignal = "stage_failures"\nmin_client = 3\n')
    done = roles.run("alerts", "test", str(rules), values=values)
    assert done.returncode == 2 and "rules.toml:4: min_client" in done.stderr
    assert "did you mean 'min_clients'" in done.stderr
    done = roles.run("alerts", "ack", "0" * 20, values=values)
    assert done.returncode == 2 and "no alert" in done.stderr
