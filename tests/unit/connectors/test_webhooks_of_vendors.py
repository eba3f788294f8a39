"""What is made of deliveries of Mist and Meraki, kind by kind: events that the models take."""

from __future__ import annotations

import json
from typing import Any

import connector_payloads as made
import pytest

from tidegate.connectors import meraki, mist
from tidegate.connectors.record import BadPayload, Payload
from tidegate.contracts.forms import Event, echo, examine
from tidegate.contracts.rejects import Fault

NOW = 1_790_000_000.0
SECRET = "a secret of the dashboard"


def said(payload: Payload) -> list[dict[str, Any]]:
    """Each event as the gateway echoes it, what is null left out, after the check of its model."""
    found = []
    for record in payload.records:
        event = examine(payload.stream, json.dumps(record.event).encode())
        assert isinstance(event, Event), event
        found.append({name: value for name, value in echo(event).items() if value is not None})
    return found


CLIENT = {
    "macAddress": "a483e7112233",
    "bssid": "d420b0f01a2c",
    "ssid": "Harbour",
    "associatedAPName": "Lobby-AP-3",
}
DEVICE = {"id": "d420b0001a2b", "name": "Lobby-AP-3", "location": "Pier 7"}
MIST: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "client-join": (
        made.client_join(NOW),
        "client_events",
        {
            **CLIENT,
            "eventType": "Success",
            "timestamp": NOW - 3.75,
            "associationTimestamp": NOW - 3.75,
        },
    ),
    "client-sessions": (
        made.client_session(NOW),
        "client_events",
        {
            **CLIENT,
            "eventType": "Intermediate",
            "timestamp": NOW - 2.25,
            "categoryCode": 1,
            "category": "Association",
            "eventDescription": "Disassociation",
            "subEventDescription": "disassociated",
            "rssi": -71,
        },
    ),
    "client-info": (
        made.client_info(NOW),
        "client_events",
        {
            "macAddress": "a483e7112233",
            "eventType": "Intermediate",
            "timestamp": NOW,
            "categoryCode": 3,
            "category": "Network",
            "eventDescription": "Client information",
            "ip": "10.20.4.17",
        },
    ),
    "nac-events": (
        made.nac_event(NOW, "NAC_CLIENT_DENY"),
        "client_events",
        {
            **CLIENT,
            "associatedAPName": "d420b0001a2b",
            "eventType": "Failure",
            "timestamp": NOW + 0.125,
            "failure": "AAA: NAC_CLIENT_DENY",
            "subFailure": "no rule lets this client in",
        },
    ),
    "device-events": (
        made.device_event(NOW),
        "device_logs",
        {
            "datetime": "2026-09-21T14:13:20Z",
            "parent": DEVICE,
            "action": "AP_RRM_ACTION",
            "notes": "changed channel of the 5 GHz radio",
        },
    ),
    "device-updowns": (
        made.device_updown(NOW),
        "device_logs",
        {"datetime": "2026-09-21T14:13:20Z", "parent": DEVICE, "action": "AP_DISCONNECTED"},
    ),
    "audits": (
        made.audit(NOW),
        "device_logs",
        {
            "id": "7a0c8d1e-52f3-4b6a-9e1d-0c2b4a6d8e0f",
            "datetime": "2026-09-21T14:13:20.500000Z",
            "parent": {"id": made.SITE},
            "action": "audit",
            "user": "Nora Quay nora@harbour.example",
            "notes": 'Update WLAN "Harbour"',
        },
    ),
}


@pytest.mark.parametrize("topic", MIST)
def test_an_event_of_mist(topic: str) -> None:
    event, stream, wanted = MIST[topic]
    payload = mist.payload(json.loads(made.mist(topic, event)))
    assert payload.stream == stream
    [found] = said(payload)
    if "parent" in found:
        found["parent"] = {name: value for name, value in found["parent"].items() if value is not None}
    assert found == wanted
    [record] = payload.records
    assert record.event["mist"] == {"topic": topic, **event}, "all that the vendor said is kept"


def test_a_session_of_mist_that_nac_lets_in_is_on_its_way() -> None:
    [found] = said(
        mist.payload({"topic": "nac-events", "events": [made.nac_event(NOW, "NAC_CLIENT_PERMIT")]})
    )
    assert (found["eventType"], found["eventDescription"]) == ("Intermediate", "NAC_CLIENT_PERMIT")


def test_the_same_event_of_mist_has_the_same_id_in_whatever_company() -> None:
    one, other = made.client_join(NOW), made.client_join(NOW, mac="a483e7112299")
    alone = mist.payload({"topic": "client-join", "events": [one]})
    together = mist.payload({"topic": "client-join", "events": [other, one]})
    ids = [record.event["event_id"] for record in (*alone.records, *together.records)]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "topic"),
        ({"topic": "zone", "events": []}, "topic"),
        ({"topic": "client-join"}, "events"),
        ({"topic": "client-join", "events": {}}, "events"),
        ({"topic": "client-join", "events": [made.client_join(NOW), "x"]}, "events[1]"),
    ],
    ids=["no topic", "another topic", "no events", "an object", "a text"],
)
def test_a_delivery_of_mist_that_is_none(document: dict[str, Any], path: str) -> None:
    with pytest.raises(BadPayload) as refused:
        mist.payload(document)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("topic", "event", "path"),
    [
        ("client-join", made.client_join(NOW, mac="none"), "events[0].mac"),
        ("client-join", made.client_join(NOW, connect_float="x"), "events[0].connect"),
        ("client-sessions", made.client_session(NOW, bssid=7), "events[0].bssid"),
        ("client-sessions", made.client_session(NOW, termination_reason=[1], mac=None), "events[0].mac"),
        ("device-updowns", made.device_updown(NOW, type=None), "events[0].type"),
        ("device-updowns", made.device_updown(NOW, ap=None), "events[0].ap"),
        ("audits", made.audit(NOW, timestamp="today"), "events[0].timestamp"),
    ],
    ids=["MAC", "time", "BSSID", "no MAC", "no type", "no device", "a word for a time"],
)
def test_a_field_that_the_gateway_refuses_is_named_as_mist_spells_it(
    topic: str, event: dict[str, Any], path: str
) -> None:
    payload = mist.payload({"topic": topic, "events": [event]})
    [record] = payload.records
    fault = examine(payload.stream, json.dumps(record.event).encode())
    assert isinstance(fault, Fault)
    assert record.path(fault.path) == path


def test_who_signs_a_delivery_of_mist() -> None:
    body = made.mist("client-join", made.client_join(NOW))
    signed = {name.lower().encode(): value.encode() for name, value in made.signature(SECRET, body).items()}
    assert mist.is_genuine(SECRET, signed, body)
    assert not mist.is_genuine(SECRET, signed, body + b" ")
    assert not mist.is_genuine("another", signed, body)
    assert not mist.is_genuine(SECRET, {}, body)
    assert not mist.is_genuine(SECRET, {mist.SIGNATURE: "é".encode()}, body)


def test_an_alert_of_meraki_about_a_client_that_came() -> None:
    for connected in (True, "true"):
        payload = meraki.payload(made.meraki_client(NOW, SECRET, connected=connected))
        assert payload.stream == "client_events"
        assert said(payload) == [
            {"macAddress": "a4:83:e7:44:55:66", "timestamp": NOW - 5, "eventType": "Success"}
        ]


def test_an_alert_of_meraki_about_a_client_that_left() -> None:
    for connected in (False, "false"):
        [found] = said(meraki.payload(made.meraki_client(NOW, SECRET, connected=connected)))
        assert found["eventDescription"] == "Disassociation"
        assert found["ip"] == "10.20.4.18"


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (
            made.meraki_settings(NOW, SECRET),
            {
                "id": "7003",
                "datetime": "2026-09-21T14:13:15Z",
                "parent": {"id": "N_98765", "name": "Pier 7", "model": None, "location": "Pier 7"},
                "action": "settings_changed",
                "variable_name": "SSIDs",
                "notes": "Settings changed",
            },
        ),
        (
            made.meraki_device_down(NOW, SECRET),
            {
                "id": "7004",
                "datetime": "2026-09-21T14:13:15Z",
                "parent": {
                    "id": "Q2AB-CDEF-GH12",
                    "name": "Lobby-AP-9",
                    "model": "MR46",
                    "location": "Pier 7",
                },
                "action": "stopped_reporting",
                "notes": "APs went down",
            },
        ),
    ],
    ids=["settings", "device"],
)
def test_an_alert_of_meraki_about_something_else(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    payload = meraki.payload(document)
    assert payload.stream == "device_logs"
    assert said(payload) == [wanted]


def test_the_secret_of_meraki_is_not_kept_and_all_else_is() -> None:
    document = made.meraki_settings(NOW, SECRET)
    [record] = meraki.payload(document).records
    assert SECRET not in json.dumps(record.event)
    assert record.event["meraki"] == {key: one for key, one in document.items() if key != "sharedSecret"}


def test_an_alert_of_meraki_without_a_time_is_refused_by_its_name() -> None:
    for document in (
        made.meraki_client(NOW, SECRET, connected=True, occurredAt=None),
        made.meraki_settings(NOW, SECRET, occurredAt="yesterday"),
    ):
        payload = meraki.payload(document)
        [record] = payload.records
        fault = examine(payload.stream, json.dumps(record.event).encode())
        assert isinstance(fault, Fault)
        assert record.path(fault.path) == "occurredAt"


def test_who_has_the_secret_of_meraki() -> None:
    assert meraki.is_genuine(SECRET, {"sharedSecret": SECRET})
    for document in ({}, {"sharedSecret": ""}, {"sharedSecret": None}, {"sharedSecret": "\udc80"}):
        assert not meraki.is_genuine(SECRET, document)
