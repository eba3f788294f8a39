"""Where pseudonyms are stored a client is found by its MAC, under every key, and by each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate import keyfile
from tidegate.contracts.topics import Stream
from tidegate.pseudonyms import Stored, stored
from tidegate.settings import Settings
from tidegate.steps.pseudonymise import pseudonymise

Call = Callable[..., httpx.Response]

MAC, OTHER = "00:1a:2b:3c:4d:77", "00:1a:2b:3c:4d:78"
DEVICE = "tablet-of-anna"
CLOCK = 1_763_700_000_000_000  # µs


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return replace(settings, pseudonymise=True)


@pytest.fixture(scope="module")
def keys(settings: Settings, store: Client) -> keyfile.Keys:
    """Two keys; rows of each, and of before there were any."""
    path = settings.pseudonym_key_path
    first = Stored(keyfile.load_or_create(path))
    keys = keyfile.rotate(path)
    for offset, names in enumerate((None, first, Stored(keys))):
        clients = [
            builders.success(macAddress=mac, timestamp=CLOCK + 10 * offset + n, ssid=f"{offset}")
            for n, mac in enumerate((MAC, OTHER))
        ]
        put(store, "client_events", clients, offset, names)
        logs = [
            builders.device_log(parent={"id": device}, variable_name=f"{offset}")
            for device in (DEVICE, "another")
        ]
        put(store, "device_logs", logs, offset, names)
    put(store, "client_events", [builders.success(macAddress=MAC)], 9, Stored(keys), fleet="other")
    return keys


def put(
    store: Client, stream: Stream, events: list[Any], offset: int, names: Stored | None, fleet: str = "demo"
) -> None:
    rows = table_rows.table(stream, events, offset=offset, fleet=fleet)
    if names is not None:
        [batch] = rows.to_batches()
        rows = rows.from_batches([pseudonymise(stream, batch, names)])
    table_rows.insert(store, stream, rows, token=f"{stream}{offset}{fleet}")


@pytest.mark.parametrize("role", ["viewer", "superuser"])
def test_a_client_is_found_by_its_mac(api: Call, keys: keyfile.Keys, role: str) -> None:
    known = {MAC, stored(keys, "demo", MAC), stored(keys, "demo", MAC, id="k1")}
    if role == "superuser":  # of every fleet
        known.add(stored(keys, "other", MAC))
    logs = api(f"/V5/devices/clients/connectionlogs?clientmacaddress={MAC.upper()}", role=role).json()
    assert {entry["macAddress"].lower() for entry in logs["successLogs"]} == known
    page = api(f"/V5/devices/clientevents/{MAC}/0/100", role=role).json()
    assert {entry["macAddress"].lower() for entry in page["clientEvents"]} == known
    export = api(f"/V5/devices/clientevents/{MAC}/0/100?format=ndjson", role=role)
    assert len(export.text.splitlines()) == len(known)
    one = stored(keys, "demo", MAC, id="k1")
    [entry] = api(f"/V5/devices/clientevents/{one}/0/100", role=role).json()["clientEvents"]
    assert entry["macAddress"].lower() == one


def test_a_clients_timeline_has_all_of_it(api: Call, keys: keyfile.Keys) -> None:
    window = {"from": CLOCK // 1_000_000 - 60, "to": CLOCK // 1_000_000 + 60}
    answer = api(f"/api/v1/insight/clients/{MAC}", params=window).json()
    assert (answer["mac"], len(answer["events"])) == (MAC, 3)


def test_a_device_is_found_by_its_id(api: Call, keys: keyfile.Keys) -> None:
    found = api("/api/v1/inventory_device_log/", params={"parent__id": DEVICE}).json()["results"]
    assert sorted(entry["variable_name"] for entry in found) == ["0", "1", "2"]
    one = stored(keys, "demo", DEVICE)
    found = api("/api/v1/inventory_device_log/", params={"parent__id": one}).json()["results"]
    assert [entry["variable_name"] for entry in found] == ["2"]
