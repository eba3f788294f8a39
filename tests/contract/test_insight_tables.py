"""The tables of hours that ClickHouse refreshes beside the inserts, beside the same counted in Python."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

import builders
from tidegate.erase.rollups import ADDED_UP, HOURS
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.steps.aggregate import EDGES
from tidegate.store import insight
from tidegate.store.insight import Counted
from tidegate.store.queries import Query

STAGES = ("association", "authentication", "aaa", "dhcp", "dns", "network")
TEXTS = {"authentication": (8, "EAPOL Handshake Failure"), "dhcp": (903, "DHCP Failure")}
VIEWS = ("stage_hours", "radio_hours", "contrast_hours")


@pytest.fixture(scope="module")
def client(clickhouse: ClickHouseServer) -> Iterator[Client]:
    with migrated(settings_of(clickhouse)) as client:
        yield client


def refresh(client: Client) -> None:
    for view in VIEWS:
        client.command(f"SYSTEM REFRESH VIEW {view}_mv")
        client.command(f"SYSTEM WAIT VIEW {view}_mv")


def events(pick: random.Random, at: int, count: int) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        place = {
            "macAddress": f"02:00:00:00:00:{pick.randrange(9):02x}",
            "timestamp": at + number * 1000,
            "ssid": pick.choice(["staff", "guests"]),
            "associatedAPName": f"AP-{pick.randrange(3)}",
            "channel": pick.choice([1, 36]),
        }
        kind = pick.randrange(4)
        if kind == 0:
            code, text = TEXTS[pick.choice(list(TEXTS))]
            found.append(builders.failure(**place, failureCode=code, failure=text, subFailure=None))
        elif kind == 1:
            what = pick.choice(["Disassociation", "Bandwidth"])
            found.append(builders.intermediate(**place, eventDescription=what, rssi=pick.randrange(-90, -50)))
        else:
            start, took = at // 1000, pick.choice([0, 1, 2, 3, 500, 1024, 2000, 2048, 90_000, 2_000_000])
            found.append(
                builders.success(
                    **place,
                    associationTimestamp=start - took,
                    networkTimestamp=start,
                    aaaLatency=took,
                    dhcpLatency=None,
                    dnsLatency=pick.randrange(5000),
                )
            )
    return found


def bucket(milliseconds: int) -> int:
    return int(EDGES.searchsorted(milliseconds, side="right"))


def test_refreshed_hours_are_those_of_the_events(client: Client) -> None:
    pick = random.Random(3)
    now = int(time.time()) * 1_000_000
    sent: list[dict[str, Any]] = []
    for offset in range(3):  # what comes between two refreshes is counted by the next one
        own = events(pick, now + offset, 60)
        sent += own
        table_rows.store(client, "client_events", *own, offset=offset, received_at=now)
        refresh(client)
        refresh(client)  # one that finds nothing new changes nothing
    stages: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    failing: dict[tuple[str, str], set[str]] = defaultdict(set)
    latencies: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    sides: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    radio: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    by_code = {code: stage for stage, (code, _) in TEXTS.items()}
    for one in sent:
        ssid, mac, kind = one["ssid"], one["macAddress"], one["eventType"]
        band = "2.4" if one["channel"] == 1 else "5"
        place = radio[one["associatedAPName"], band]
        place["events"] += 1
        if kind == "Intermediate":
            place["rssi_count"] += 1
            place["rssi_sum"] += one["rssi"]
            place["covered"] += one["rssi"] >= -72
            place["disassociations"] += one["eventDescription"] == "Disassociation"
            continue
        place["attempts"] += 1
        place["failures"] += kind == "Failure"
        stage = by_code[one["failureCode"]] if kind == "Failure" else None
        passed = STAGES if stage is None else STAGES[: STAGES.index(stage) + 1]
        for name in ("connect", *passed):
            fails = stage is not None and name in ("connect", stage)
            stages[ssid, name].update(reached=1, failed=fails)
            if fails:
                failing[ssid, name].add(mac)
            for dimension, value in (("ssid", ssid), ("ap", one["associatedAPName"]), ("band", band)):
                sides[name, dimension, value].update(attempts=1, failures=fails)
        if kind == "Success":
            took = one["networkTimestamp"] - one["associationTimestamp"]
            latencies[ssid, "connect"][bucket(took)] += 1
            latencies[ssid, "aaa"][bucket(one["aaaLatency"])] += 1
            latencies[ssid, "dns"][bucket(one["dnsLatency"])] += 1
    rows = client.query(
        "SELECT ssid, stage, sum(reached), sum(failed), uniqMerge(clients), sumMap(latencies)"
        " FROM stage_hours FINAL GROUP BY ssid, stage"
    ).result_rows
    assert {tuple(row[:2]): row[2:4] for row in rows} == {
        key: (found["reached"], found["failed"]) for key, found in stages.items()
    }
    for ssid, stage, _, _, clients, histogram in rows:
        assert clients == len(failing[ssid, stage])
        assert {number: count for number, count in histogram.items() if count} == latencies[ssid, stage]
    names = ("events", "attempts", "failures", "rssi_count", "rssi_sum", "covered", "disassociations")
    rows = client.query(
        f"SELECT ap, band, {', '.join(f'sum({name})' for name in names)} FROM radio_hours FINAL"
        " GROUP BY ap, band"
    ).result_rows
    assert {tuple(row[:2]): dict(zip(names, row[2:], strict=True)) for row in rows} == {
        key: {name: found[name] for name in names} for key, found in radio.items()
    }
    rows = client.query(
        "SELECT stage, dimension, value, sum(attempts), sum(failures) FROM contrast_hours FINAL"
        " WHERE dimension IN ('ssid', 'ap', 'band') GROUP BY stage, dimension, value"
    ).result_rows
    assert {tuple(row[:3]): row[3:] for row in rows} == {
        key: (found["attempts"], found["failures"]) for key, found in sides.items()
    }


def test_roams_of_an_hour(client: Client) -> None:
    now = int(time.time()) * 1_000_000
    start = now // 1000

    def at(second: int, ap: str, kind: str = "success", took: int = 100) -> dict[str, Any]:
        place = {
            "macAddress": "02:00:00:00:ff:01",
            "timestamp": now + second * 1_000_000,
            "ssid": "roam",
            "associatedAPName": ap,
        }
        if kind == "left":
            return builders.intermediate(**place, eventDescription="Disassociation")
        times = {"associationTimestamp": start - took, "networkTimestamp": start}
        return builders.success(**place, **times)

    line = [
        at(0, "R-1"),
        at(1, "R-2"),  # a roam
        at(2, "R-2"),  # no other access point
        at(3, "R-3", took=3000),  # a slow one
        at(4, "R-3", kind="left"),
        at(5, "R-1"),  # left before: a connection of its own
    ]
    table_rows.store(client, "client_events", *line, offset=77, received_at=now)
    refresh(client)
    rows = client.query(
        "SELECT ap, sum(roams), sum(roams_quick) FROM radio_hours FINAL WHERE ap LIKE 'R-%'"
        " GROUP BY ap ORDER BY ap"
    ).result_rows
    assert rows == [("R-1", 0, 0), ("R-2", 1, 1), ("R-3", 1, 0)]


def test_hours_that_are_over_answer_as_minutes_do(clickhouse: ClickHouseServer) -> None:
    """Each question that may read them, of windows that begin and end within hours; late events count."""
    pick = random.Random(7)
    now = int(time.time())
    with migrated(settings_of(clickhouse)) as client:

        def come(offset: int, ago: int) -> None:
            received = (now - ago) * 1_000_000
            clock = pick.choice([0, 0, 1800, 9000]) * 1_000_000  # of the devices, behind
            table_rows.store(
                client,
                "client_events",
                *events(pick, received - clock, 8),
                offset=offset,
                received_at=received,
            )

        def counted() -> Counted:
            for view in ADDED_UP:
                client.command(f"SYSTEM REFRESH VIEW {view}_mv")
                client.command(f"SYSTEM WAIT VIEW {view}_mv")
            query = insight.counted_hours("demo")
            [found] = client.query(query.sql, parameters=dict(query.parameters)).result_rows
            return Counted(*found)

        def rows(query: Query) -> list[str]:
            return sorted(map(str, client.query(query.sql, parameters=dict(query.parameters)).result_rows))

        assert counted() == (86_400, 3600)  # nothing yet
        for offset, ago in enumerate(range(0, 44 * 3600, 1700)):
            come(offset, ago)
        counted()
        come(1000, 20 * 3600)  # into an hour that was counted
        found = counted()
        assert found.until >= (now - 120) // 3600 * 3600 - 3600
        for since, until in ((43 * 3600, 0), (15 * 3600 + 77, 4000), (6 * 3600, 0)):
            window = insight.Window(
                fleet="demo", since=(now - since) // 60 * 60, until=(now - until) // 60 * 60 + 60
            )
            whole = dataclasses.replace(window, since=window.since // 3600 * 3600)
            for ask in (
                insight.attempts,
                insight.newest,
                insight.clients,
                insight.usual,
                lambda of: insight.latencies(of, "1m"),
                lambda of: insight.series(of, 7200),
                lambda of: insight.sparklines(of, 3600),
            ):
                by_hours = ask(dataclasses.replace(window, counted=found))
                assert ("FINAL" in by_hours.sql) == (since > 6 * 3600), by_hours.name
                assert rows(by_hours) == rows(ask(window)), by_hours.name
            past = insight.latencies(dataclasses.replace(whole, counted=found), "1h")
            assert rows(past) == rows(insight.latencies(whole, "1h"))
        odd = insight.series(dataclasses.replace(window, counted=found), 300)
        assert "FINAL" not in odd.sql  # hours tell nothing of five minutes


COUNTED = {
    "stage_hours": ("stage, reached", "'connect'"),
    "radio_hours": ("ap, band, attempts, events", "'', ''"),
    "contrast_hours": ("stage, dimension, attempts", "'connect', 'ssid'"),
}
"""Columns of a row with so many attempts, and the values in front of them."""


@pytest.mark.parametrize(("hours_ago", "over"), [(0, False), (2, True)])
def test_a_large_hour_is_counted_again_when_it_has_doubled_or_is_over(
    clickhouse: ClickHouseServer, hours_ago: int, over: bool
) -> None:
    """Rows of a site of its own stand for a million attempts that were counted, and for those that came."""
    received = int(time.time() - hours_ago * 3600) * 1_000_000
    hour = f"toStartOfHour(fromUnixTimestamp64Micro({received}, 'UTC'), 'UTC')"
    with migrated(settings_of(clickhouse)) as client:

        def come(count: int) -> None:
            client.command(
                "INSERT INTO site_minutes (fleet, site, minute, outcome, events)"
                f" SELECT 'demo', 'large', {hour}, 'success', {count}"
            )

        def counted() -> set[int]:
            refresh(client)
            return {
                int(client.query(f"SELECT {sql} FROM {table} FINAL WHERE site != 'large'").result_rows[0][0])
                for table, sql in HOURS.items()
            }

        for table, (columns, values) in COUNTED.items():
            number = "1000000, 1000000" if table == "radio_hours" else "1000000"
            client.command(
                f"INSERT INTO {table} (fleet, site, hour, {columns})"
                f" SELECT 'demo', 'large', {hour}, {values}, {number}"
            )
        come(1_500_000)
        table_rows.store(
            client, "client_events", builders.success(), builders.failure(), received_at=received
        )
        assert counted() == {2 if over else 0}
        come(500_000)
        assert counted() == {2}
