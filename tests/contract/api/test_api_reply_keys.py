"""The read side of `docs/api-conformance.md`, key by key.

Whatever a sender may write in a field is stored, and the answers show it under the document's key, in the
document's unit and spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from document_fields import FIELDS, Field, at, event_with, same

import builders
from tidegate.contracts.position import Position

Call = Callable[..., httpx.Response]
CLOCK = 1_763_000_000  # seconds; 2025-11-13 02:13:20 UTC
EVENT_FORMS = ("success", "failure", "intermediate")
EVENTS = [(form, path) for form in EVENT_FORMS for path in FIELDS[form]]
LOGS = [(form, path) for form, path in EVENTS if form != "intermediate"]
# A sender's own `id` is kept as `source_id`; the answers have ours.
ENTRY = [path for path in FIELDS["device_log"] if path != "id"]
DETAIL_ONLY = ("parent.model", "parent.location", "change_request_id", "rollback_available", "notes")
MACS = frozenset({"macAddress", "bssid", "bstNbrMac"})
MILLISECONDS = frozenset({"associationTimestamp", "authenticationTimestamp", "networkTimestamp"})
FROM_THE_CATALOGUE = {"failure": "Incorrect PSK", "subFailure": "Wrong passphrase."}
SECONDS = {
    "2024-01-15T14:30:25Z": "2024-01-15T14:30:25Z",
    "2024-01-15T14:30:25.123456+05:30": "2024-01-15T09:00:25Z",
    "2024-01-15 14:30:25": "2024-01-15T14:30:25Z",
    "2024-01-15": "2024-01-15T00:00:00Z",
}


def mac_of(form: str, path: str) -> str:
    """The client whose events differ in one field."""
    if path == "macAddress":
        return "00:1a:2b:3c:4d:5e"
    return f"02:00:00:{EVENT_FORMS.index(form):02x}:00:{list(FIELDS[form]).index(path):02x}"


def device_of(path: str) -> str:
    return f"differs in {path}"


def micros(value: int) -> int:
    return value * (1_000_000 if value < 10**11 else 1000 if value < 10**14 else 1)


def client_event(form: str, path: str, value: Any, place: int) -> dict[str, Any]:
    """Event `place` of its client, counted from the newest."""
    event = event_with(form, path, value)
    if path != "macAddress":
        event["macAddress"] = mac_of(form, path)
    if path != "timestamp":
        event["timestamp"] = CLOCK - 100 * EVENT_FORMS.index(form) - place
    return event


def device_log(path: str, value: Any, place: int) -> dict[str, Any]:
    event = event_with("device_log", path, value)
    if path not in ("parent", "parent.id"):
        event["parent"]["id"] = device_of(path)
    if path != "user":
        event["user"] = device_of(path)
    if path != "datetime":
        event["datetime"] = f"2025-11-13T02:13:{59 - place:02d}Z"
    return event


def offset_of(path: str) -> int:
    return 100 + ENTRY.index(path)


@pytest.fixture(scope="module", autouse=True)
def rows(store: Client) -> None:
    for offset, form in enumerate(EVENT_FORMS, 1):
        events = [
            client_event(form, path, value, place)
            for path, field in FIELDS[form].items()
            for place, value in enumerate(field.values)
        ]
        table_rows.store(store, "client_events", *events, offset=offset)
    for path in ENTRY:
        entries = [
            device_log(path, value, place) for place, value in enumerate(FIELDS["device_log"][path].values)
        ]
        table_rows.store(store, "device_logs", *entries, offset=offset_of(path))
        table_rows.plan(store, "device_logs", offset_of(path))


def answered(field: Field, path: str, value: Any, *, timestamp_unit: int) -> Any:
    """What the answer shows for what was sent; `timestamp_unit` in microseconds."""
    if value is None:
        return FROM_THE_CATALOGUE.get(path)
    if path in MACS:
        return "00:1a:2b:3c:4d:5e"
    if path == "timestamp":
        return micros(value) // timestamp_unit
    if path in MILLISECONDS:
        return micros(value) // 1000
    if path in ("datetime", "applied_at"):
        return SECONDS[value]
    if path in ("old_value", "new_value"):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return field.echoed(value)


def expect(events: list[dict[str, Any]], form: str, path: str, *, timestamp_unit: int) -> None:
    values = FIELDS[form][path].values
    if path == "timestamp":
        values = tuple(sorted(values, key=micros, reverse=True))
    assert len(events) == len(values)
    for event, value in zip(events, values, strict=True):
        expected = answered(FIELDS[form][path], path, value, timestamp_unit=timestamp_unit)
        if path.startswith("parent") and "." not in path:
            expected = {"id": value["id"], "name": None}
        found = at(event, path)
        assert same(found, expected), (value, found, expected)


@pytest.mark.parametrize(("form", "path"), LOGS)
def test_a_key_of_connection_logs(api: Call, form: str, path: str) -> None:
    answer = api("/V5/devices/clients/connectionlogs", params={"clientmacaddress": mac_of(form, path)})
    section = f"{form}Logs"
    logs = answer.json()[section]
    sample = builders.sample("client_connection_logs.response")
    assert list(answer.json()) == list(sample)
    assert all(list(log) == list(sample[section][0]) for log in logs)
    expect(logs, form, path, timestamp_unit=1_000_000)


@pytest.mark.parametrize(("form", "path"), EVENTS)
def test_a_key_of_client_events(api: Call, form: str, path: str) -> None:
    answer = api(f"/V5/devices/clientevents/{mac_of(form, path)}/0/100").json()
    events = [event for event in answer["clientEvents"] if event["eventType"].lower() == form]
    sample = builders.sample("client_events.response")
    assert list(answer) == list(sample)
    keys = {event["eventType"].lower(): list(event) for event in sample["clientEvents"]}
    assert all(list(event) == keys[form] for event in events)
    expect(events, form, path, timestamp_unit=1)


@pytest.mark.parametrize("key", ["category", "eventDescription", "subEventDescription"])
def test_a_text_that_the_sender_left_out_is_the_catalogues(api: Call, store: Client, key: str) -> None:
    rows = api("/api/v1/catalogue/intermediate_events").json()["intermediateEvents"]
    [row] = [row for row in rows if row["subTypeCode"] == 30]
    mac = f"02:00:00:09:00:{len(key):02x}"
    codes = {name: row[name] for name in ("categoryCode", "typeCode", "subTypeCode")}
    event = builders.intermediate(macAddress=mac, rssi=-71, **codes, **{key: None})
    table_rows.store(store, "client_events", event, offset=len(key) + 50)
    [found] = api(f"/V5/devices/clientevents/{mac}/0/1").json()["clientEvents"]
    filled = row[key].replace("[$rssi]", "-71")
    assert found[key] == re.sub(r"\[\$\w+\]", "unknown", filled)


@pytest.mark.parametrize("path", [path for path in ENTRY if path not in DETAIL_ONLY])
def test_a_key_of_the_device_log_list(api: Call, path: str) -> None:
    parameters = {"limit": "100"} | ({} if path.startswith("parent") else {"parent__id": device_of(path)})
    answer = api("/api/v1/inventory_device_log/", params=parameters).json()
    sample = builders.sample("inventory_device_log.list")
    assert list(answer) == list(sample)
    ours = f"-d0-{offset_of(path)}-"
    page = answer["results"]
    while path.startswith("parent") and answer["next"]:
        answer = api(answer["next"]).json()
        page += answer["results"]
    entries = [entry for entry in page if ours in entry["id"]]
    assert all(list(entry) == list(sample["results"][0]) for entry in entries)
    if path == "datetime":
        assert sorted(entry[path] for entry in entries) == sorted(SECONDS.values())
    else:
        expect(entries, "device_log", path, timestamp_unit=1)


@pytest.mark.parametrize("path", ENTRY)
def test_a_key_of_the_device_log_detail(api: Call, path: str) -> None:
    sample = builders.sample("inventory_device_log.detail")
    field = FIELDS["device_log"][path]
    values = field.values
    for index in {0, len(values) - 2, len(values) - 1} - {-1}:
        id = Position(table_rows.EPOCH, "device_logs", 0, offset_of(path), index).id()
        found = api(f"/api/v1/inventory_device_log/{id}/").json()
        assert (list(found), list(found["parent"])) == (list(sample), list(sample["parent"]))
        assert found["id"] == id
        value = values[index]
        expected = value if path == "parent" else answered(field, path, value, timestamp_unit=1)
        assert same(at(found, path), expected), (value, found)
