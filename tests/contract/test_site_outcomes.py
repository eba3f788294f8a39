"""`site_outcomes`: the counts of the events by day and site, and nothing that could be a client's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from databases import settings_of
from store_contents import rows

import builders
from tidegate.erase.client import Eraser
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.expiry import expire

DAY = 86_400_000_000  # µs
MAC, OTHER = "02:aa:bb:cc:dd:01", "02:aa:bb:cc:dd:02"
COUNTED = (
    "SELECT fleet, site, toDate(received_at) AS day, toString(outcome), toString(stage),"
    " if(outcome = 'failure', ifNull(failure_code, -1), -1),"
    " if(outcome = 'failure', ifNull(sub_failure_code, -1), -1), count()"
    " FROM client_events GROUP BY ALL ORDER BY ALL"
)
KEPT = (
    "SELECT fleet, site, day, outcome, stage, failure_code, sub_failure_code, events"
    " FROM site_outcomes FINAL ORDER BY ALL"
)


@pytest.fixture
def settings(clickhouse: ClickHouseServer, tmp_path: Path) -> Settings:
    return settings_of(clickhouse, data_dir=str(tmp_path), fleet_retention_days="short=2")


def refresh(client: Client) -> None:
    client.command("SYSTEM WAIT VIEW site_outcomes_mv")  # for the one that it was made with
    client.command("SYSTEM REFRESH VIEW site_outcomes_mv")
    client.command("SYSTEM WAIT VIEW site_outcomes_mv")


def store(client: Client, fleet: str, offset: int, days: int, *macs: str) -> None:
    """Of each client a success and two failures at two places, received so many days ago."""
    events = [
        make(macAddress=mac, ssid=f"net of {mac}", locationId={"type": "locallocationid", "id": place}, **of)
        for mac in macs
        for make, place, of in (
            (builders.success, 7, {}),
            (builders.failure, 7, {"failureCode": 902, "subFailureCode": 1}),
            (builders.failure, 8, {"failureCode": 7}),
        )
    ]
    received = time.time_ns() // 1000 - days * DAY
    table_rows.store(client, "client_events", *events, fleet=fleet, offset=offset, received_at=received)


def test_it_has_the_counts_of_the_events_and_no_client(client: Client, settings: Settings) -> None:
    for offset, (fleet, days) in enumerate((("demo", 3), ("demo", 0), ("short", 3))):
        store(client, fleet, offset, days, MAC, OTHER)
    refresh(client)
    store(client, "demo", 7, 0, OTHER)  # what comes later is counted by the next refresh
    refresh(client)
    refresh(client)  # one that finds nothing new changes nothing
    found = client.query(KEPT).result_rows
    assert found == client.query(COUNTED).result_rows and len(found) == 9
    assert [row[-1] for row in found if row[0] == "demo"] == [2, 2, 3, 3, 2, 3]

    types = client.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'site_outcomes'"
    ).result_rows
    assert {name for name, _ in types} == {
        *("fleet", "site", "day", "outcome", "stage", "failure_code", "sub_failure_code", "events")
    }
    assert not any("AggregateFunction" in type_ for _, type_ in types)
    said = str(rows(client, "site_outcomes"))
    assert "net of" not in said and MAC not in said

    # A fleet's retention does not reach it, nor does what is gone from the events take it along.
    assert expire(client, settings)["client_events"] == 6
    refresh(client)
    assert client.query(KEPT).result_rows == found
    # An erasure counts the days anew that are over, and a refresh the others.
    Eraser(client, settings, "demo", MAC).erase(lambda line: None)
    assert [row[-1] for row in client.query(KEPT).result_rows if row[0] == "demo"] == [1, 1, 3, 3, 1, 3]
    refresh(client)
    counts = {row[:-1]: row[-1] for row in client.query(KEPT).result_rows}
    assert {row[:-1]: row[-1] for row in client.query(COUNTED).result_rows}.items() <= counts.items()
    assert [count for row, count in counts.items() if row[0] == "short"] == [2, 2, 2]
    assert [count for row, count in counts.items() if row[0] == "demo"] == [1, 1, 2, 2, 1, 2]


def test_what_an_erased_client_alone_had_is_erased(client: Client, settings: Settings) -> None:
    """A row that no event is left for was counted for ever, as was the only client of a fleet's day."""
    for offset, (macs, days) in enumerate((((MAC,), 4), ((MAC, OTHER), 3), ((MAC,), 0))):
        store(client, "demo", offset, days, *macs)
    place = {"type": "locallocationid", "id": 9}
    for days in (3, 0):  # at a place where nobody else is
        received = time.time_ns() // 1000 - days * DAY
        alone = builders.failure(macAddress=MAC, locationId=place, failureCode=8)
        table_rows.store(client, "client_events", alone, offset=20 + days, received_at=received)
    refresh(client)
    assert client.query(KEPT).result_rows == client.query(COUNTED).result_rows
    Eraser(client, settings, "demo", MAC).erase(lambda line: None)
    refresh(client)
    counted = client.query(COUNTED).result_rows
    assert len(counted) == 3 and [row for row in client.query(KEPT).result_rows if row[-1]] == counted
