"""What is made of OpenWiFi's records, whose fields are those of its pages "SDK Kafka"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.connectors.openwifi import events
from tidegate.contracts.forms import Event, echo, examine
from tidegate.contracts.rejects import Fault

NOW = 1_790_000_000
SERIAL = "f0a1b2c3d4e5"
SYSTEM = {"id": 1, "host": "https://owgw.example:17002"}


def record(payload: dict[str, Any]) -> dict[str, Any]:
    return {"system": SYSTEM, "payload": payload}


def state(**changed: Any) -> dict[str, Any]:
    association = {
        "bssid": "f0:a1:b2:c3:d4:e6",
        "connected": 71,
        "rssi": -61,
        "rx_bytes": 100,
        "station": "a4:83:e7:11:22:33",
        **changed,
    }
    return record(
        {
            "serial": SERIAL,
            "uuid": 7,
            "state": {
                "interfaces": [
                    {
                        "clients": [{"mac": "a4:83:e7:11:22:33", "ipv4_addresses": ["10.20.4.17"]}],
                        "ssids": [
                            {"bssid": "f0:a1:b2:c3:d4:e7", "ssid": "Empty", "radio": {"$ref": "#/radios/9"}},
                            {
                                "associations": [association],
                                "bssid": "f0:a1:b2:c3:d4:e6",
                                "radio": {"$ref": "#/radios/1"},
                                "ssid": "Harbour",
                            },
                        ],
                    },
                    {"name": "down1v0"},
                ],
                "radios": [{"channel": 6}, {"channel": 100}],
                "unit": {"localtime": NOW},
            },
        }
    )


def said(topic: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for stream, one in events(topic, SERIAL, document, float(NOW)):
        event = examine(stream, json.dumps(one.event).encode())
        assert isinstance(event, Event), event
        found.append({name: value for name, value in echo(event).items() if value is not None})
    return found


def test_an_association_of_a_state() -> None:
    assert said("state", state()) == [
        {
            "macAddress": "a4:83:e7:11:22:33",
            "eventType": "Intermediate",
            "timestamp": NOW,
            "bssid": "f0:a1:b2:c3:d4:e6",
            "ssid": "Harbour",
            "channel": 100,
            "associatedAPName": SERIAL,
            "categoryCode": 1,
            "category": "Association",
            "eventDescription": "State",
            "rssi": -61,
            "ip": "10.20.4.17",
        }
    ]
    [(_, one)] = events("state", SERIAL, state(), float(NOW))
    assert one.event["openwifi"]["association"]["rx_bytes"] == 100


def test_a_field_that_the_gateway_refuses_is_named_by_its_place() -> None:
    [(stream, one)] = events("state", SERIAL, state(station="x"), float(NOW))
    fault = examine(stream, json.dumps(one.event).encode())
    assert isinstance(fault, Fault)
    assert one.path(fault.path) == "payload.state.interfaces[0].ssids[1].associations[0].station"


def entry(topic: str, payload: dict[str, Any]) -> tuple[Any, ...]:
    [found] = said(topic, record(payload))
    parent = found["parent"]
    return found["action"], found["datetime"], parent["id"], parent["model"], found.get("new_value")


AT = "2026-09-21T14:13:20Z"


def test_what_becomes_of_an_access_point() -> None:
    capabilities = {
        "capabilities": {"model": "AP-9", "platform": "ap"},
        "firmware": "r1",
        "serial": SERIAL,
        "timestamp": NOW,
        "uuid": 1,
    }
    assert entry("connection", capabilities) == ("connection", AT, SERIAL, "AP-9", None)
    gone = {"disconnection": {"serialNumber": SERIAL, "timestamp": NOW}}
    assert entry("connection", gone) == ("disconnection", AT, SERIAL, None, None)
    health = {"data": {"unit": {"memory": 20}}, "sanity": 43, "serial": SERIAL, "timestamp": NOW, "uuid": 1}
    assert entry("healthcheck", health) == ("healthcheck", AT, SERIAL, None, 43)
    changed = {"type": "unit.firmware_change", "timestamp": NOW, "payload": {"newFirmware": "r2"}}
    [found] = said("device_event_queue", {**changed, "payload": None})
    assert (found["action"], found["parent"]["id"]) == ("unit.firmware_change", SERIAL)
    many = {"events": {"dhcp": [], "wifi": []}, "serial": SERIAL, "status": {"error": 0}, "uuid": 2}
    assert entry("device_event_queue", many) == ("events", AT, SERIAL, None, None)


def test_a_keep_alive_is_no_event() -> None:
    assert said("connection", record({"ping": {"serialNumber": SERIAL, "timestamp": NOW}})) == []


@pytest.mark.parametrize("topic", ["connection", "device_event_queue", "healthcheck", "state"])
@pytest.mark.parametrize("payload", [None, [], {"state": []}, {"state": {"interfaces": [1, {"ssids": 7}]}}])
def test_what_is_shaped_otherwise_ends_nothing(topic: str, payload: Any) -> None:
    list(events(topic, SERIAL, {"payload": payload}, float(NOW)))
