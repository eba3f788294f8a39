"""Stored events folded again: they give the alerts that they gave, and a row that was deleted is found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roles
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from table_rows import EPOCH, table

import builders
from tidegate import lookups
from tidegate.alerts import backtest, recount
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE, PartialCounts
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.lookups import alert_rules
from tidegate.settings import Settings
from tidegate.steps.aggregate import aggregate, merge_all
from tidegate.steps.detect import Counted
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


def test_stored_events_are_counted_as_their_frames_are_by_any_number_of_processes(
    clickhouse: ClickHouseServer,
) -> None:
    """Two fleets, four sites, a midnight; what an event may leave out, and lines that came late."""
    rng = random.Random(7)
    begin = BEGIN // recount.DAY * recount.DAY + recount.DAY - 40 * MINUTE
    until = begin + 80 * MINUTE
    settings = settings_of(clickhouse)
    partials: list[PartialCounts] = []
    with migrated(settings) as client:
        for minute in range(80):
            at = begin + minute * MINUTE
            for fleet in ("demo", "other"):
                events = [_event(rng, at, broken=20 <= minute < 45) for _ in range(24)]
                frame = table("client_events", events, fleet=fleet, offset=minute, received_at=at)
                client.insert_arrow("client_events", frame)
                partials += [one for batch in frame.to_batches() for one in aggregate("client_events", batch)]
            logs = [
                builders.network_log(network_name=rng.choice(("Guest", None)), network_security="opn")
                for _ in range(4)
            ]
            device = rng.choice(("phone", None))
            frame = table("connection_logs", logs, device=device, offset=minute, received_at=at)
            client.insert_arrow("connection_logs", frame)
            partials += [one for batch in frame.to_batches() for one in aggregate("connection_logs", batch)]
        for share in ((0, 1), (0, 2), (1, 2)):
            counted = [
                as_partial(one)
                for _, places in recount.minutes(client, begin, until, "", share)
                for one in places.values()
            ]
            assert counted
            mine = {one.key[1:3] for one in counted} if share[1] > 1 else None
            assert sorted(counted, key=lambda one: one.key) == [
                one for one in merge_all(partials) if mine is None or one.key[1:3] in mine
            ]
        rules = alert_rules.load("")
        whole = list(recount.changes(client, lookups.load(settings.lookups_dir), rules, begin, until))
        assert {one.fleet for one in whole} == {"demo", "other"}
        assert len({one.scope.site for one in whole}) > 2
        for processes in (1, 2):
            assert list(backtest.changes(settings, rules, begin, until, processes=processes)) == whole


def as_partial(one: Counted) -> PartialCounts:
    return PartialCounts(**{name: getattr(one, name) for name in PartialCounts.__struct_fields__})


def _event(rng: random.Random, received_at: int, *, broken: bool) -> dict[str, Any]:
    site = rng.randrange(4)
    fields: dict[str, Any] = {
        "locationId": {"type": "locallocationid", "id": site},
        "macAddress": f"02:00:00:00:{site:02x}:{rng.randrange(40):02x}",
        "timestamp": received_at - rng.choice((0, 0, 0, 3 * recount.DAY)),  # late, or a wrong clock
        "ssid": rng.choice(("Staff", "Guest", None)),
        "associatedAPName": rng.choice(("AP1", "AP2", None)),
        "bssid": rng.choice(("00:11:74:8c:94:c0", None)),
    }
    if broken and rng.random() < 0.6:
        return builders.failure(**fields, subFailureCode=rng.choice((14, None)))
    if rng.random() < 0.3:
        said = rng.choice(("Client disassociated", "Roaming", None))
        return builders.intermediate(
            **fields, eventDescription=said, subEventDescription=rng.choice(("disassociation", None))
        )
    times = {f"{name}Latency": rng.choice((rng.randrange(4000), None)) for name in ("aaa", "dhcp", "dns")}
    return builders.success(**fields, **times)


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
