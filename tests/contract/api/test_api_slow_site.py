"""A site where connecting takes longer than usual: the stage to blame, by what it took in the week before."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.api.insight import calls

Call = Callable[..., httpx.Response]

NOW = 1_763_712_000  # 2025-11-21 08:00:00 UTC
PAST = "insight_latencies_1h"


def connects(store: Client, site: int, at: int, count: int, took: int, dhcp: int, offset: int) -> None:
    events = [
        builders.connected(
            (at + number % 60) * 1000,
            took,
            macAddress=f"02:00:00:00:00:{number % 50:02x}",
            timestamp=(at + number % 60) * 1_000_000,
            locationId={"type": "locallocationid", "id": site},
            aaaLatency=300,
            dhcpLatency=dhcp,
            dnsLatency=20,
        )
        for number in range(count)
    ]
    table_rows.store(store, "client_events", *events, offset=offset, received_at=at * 1_000_000)


def test_the_week_before_is_asked_where_a_site_is_slow_and_says_what_to_blame(
    api: Call, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SHARED_SECONDS", 0.0)  # the newest event moves
    for site in (1, 2):
        connects(store, site, NOW - 86_400, 300, 500, 40, site)
        connects(store, site, NOW - 7_200, 60, 500, 40, 10 + site)
    params = {"to": NOW - 7_140, "minutes": 15}
    calm = api("/api/v1/insight/overview", params=params).json()
    assert [row["state"] for row in calm["sites"]] == ["usual", "usual"]
    assert PAST not in [one["name"] for one in calm["sql"]]
    for site in (1, 2):
        connects(store, site, NOW - 600, 60, 5000 if site == 1 else 500, 4500 if site == 1 else 40, 20 + site)
    slow = api("/api/v1/insight/overview", params={"to": NOW, "minutes": 15}).json()
    told = {row["site"]: (row["state"], row["time_to_connect"]["blame"]) for row in slow["sites"]}
    assert told == {"1": ("slow", "dhcp"), "2": ("usual", None)}
    [asked] = [one for one in slow["sql"] if one["name"] == PAST]
    assert asked["parameters"]["site"] == "1"
    window = {"from": NOW - 7200, "to": NOW}
    page = api("/api/v1/insight/sites/1", params=window).json()
    assert (page["state"], page["time_to_connect"]["blame"]) == ("slow", "dhcp")
    levels = api("/api/v1/insight/sle", params=window).json()
    blamed = {
        one["site"]: level["blame"] for one in levels["sites"] for level in one["levels"] if level["blame"]
    }
    assert blamed == {"1": "dhcp"}
    connects(store, 2, NOW - 300, 60, 5000, 40, 30)  # slow at no stage that is timed by itself
    both = api("/api/v1/insight/overview", params={"to": NOW, "minutes": 14}).json()
    told = {row["site"]: (row["state"], row["time_to_connect"]["blame"]) for row in both["sites"]}
    assert told == {"1": ("slow", "dhcp"), "2": ("slow", "association")}
