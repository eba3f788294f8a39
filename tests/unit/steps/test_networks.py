from __future__ import annotations

from dataclasses import replace
from typing import Any

from enriched_events import row, shipped

import builders
from tidegate.lookups.networks import ApprovedNetworks, read_networks
from tidegate.lookups.table import Row


def approved(*rows: tuple[str, str, str]) -> ApprovedNetworks:
    names = ("fleet", "network_name", "bssid")
    return read_networks(
        Row("approved_networks.csv", n, dict(zip(names, one, strict=True))) for n, one in enumerate(rows)
    )


def flagged(networks: ApprovedNetworks, **fields: Any) -> bool:
    event = builders.network_log(**fields)
    found = row("connection_logs", event, lookups=replace(shipped(), approved=networks))
    return bool(found["unapproved"])


def test_a_fleet_without_a_list_is_not_judged() -> None:
    assert not flagged(approved(), network_name="Anything")
    assert not flagged(approved(("other", "Office", "")), network_name="Anything")


def test_a_network_is_approved_by_name_by_access_point_or_by_both() -> None:
    networks = approved(
        ("demo", "Office", ""), ("demo", "", "00:11:74:00:00:01"), ("demo", "Lab", "00-11-74-00-00-02")
    )
    assert not flagged(networks, network_name="Office", bssid=None)
    assert not flagged(networks, network_name="Whatever", bssid="00:11:74:00:00:01")
    assert not flagged(networks, network_name="Lab", bssid="00:11:74:00:00:02")
    assert flagged(networks, network_name="Lab", bssid="00:11:74:00:00:03")
    assert flagged(networks, network_name="Cafe", bssid=None)


def test_only_wifi_is_judged() -> None:
    assert not flagged(approved(("demo", "Office", "")), network_name="T-Mobile", network_type="mo")
