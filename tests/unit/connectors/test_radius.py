"""RADIUS accounting on the wire, and what its sessions become."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
import radius_client
from radius_client import start

from tidegate.connectors import radius_packet
from tidegate.connectors.radius import payload
from tidegate.connectors.radius_packet import Forged, Malformed
from tidegate.connectors.record import BadPayload
from tidegate.contracts.forms import Event, echo, examine

SECRET = b"shared"
NOW = 1_790_000_000


def test_a_request_is_read_and_answered() -> None:
    sent = radius_client.request(SECRET, start(NOW, **{"Proxy_State": b"\x01\x02"}))
    request = radius_packet.parse(sent, SECRET)
    assert radius_packet.named(request.attributes) == {
        "Acct-Status-Type": "Start",
        "Acct-Session-Id": "5F00A1B2C3D4E5F6",
        "Acct-Authentic": "RADIUS",
        "User-Name": "till-4",
        "NAS-Identifier": "lobby",
        "NAS-IP-Address": "10.20.0.3",
        "Called-Station-Id": "D4-20-B0-F0-1A-2C:Harbour",
        "Calling-Station-Id": "A4-83-E7-11-22-33",
        "Connect-Info": "CONNECT 54Mbps 802.11a",
        "Event-Timestamp": NOW,
    }
    answer = radius_packet.response(request, SECRET)
    assert radius_client.is_answer(answer, sent, SECRET)
    assert answer.endswith(b"\x21\x04\x01\x02"), "its Proxy-State goes back"
    assert radius_packet.parse(sent + b"padding", SECRET) == request


def test_another_secret_and_a_changed_byte_are_forged() -> None:
    sent = bytearray(radius_client.request(SECRET, start(NOW)))
    with pytest.raises(Forged):
        radius_packet.parse(bytes(sent), b"another")
    sent[-1] ^= 1
    with pytest.raises(Forged):
        radius_packet.parse(bytes(sent), SECRET)


def test_what_is_no_request() -> None:
    sent = radius_client.request(SECRET, start(NOW))
    for data in (b"", sent[:19], b"\x01" + sent[1:], sent[:-1], sent[:2] + b"\xff\xff" + sent[4:]):
        with pytest.raises(Malformed):
            radius_packet.parse(data, SECRET)


def test_whatever_comes_is_malformed_or_forged() -> None:
    chance = random.Random(7)
    sent = radius_client.request(SECRET, start(NOW))
    for _ in range(2000):
        data = bytearray(sent[: chance.randrange(len(sent) + 1)])
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        if bytes(data) != sent:
            with pytest.raises((Malformed, Forged)):
                radius_packet.parse(bytes(data), SECRET)


def test_attributes_that_are_cut_short_or_strange_are_told_apart() -> None:
    for tail in (b"\x01", b"\x01\x00", b"\x01\x09abc"):
        head = b"\x04\x01" + (20 + len(tail)).to_bytes(2, "big")
        sent = head + hashlib.md5(head + bytes(16) + tail + SECRET).digest() + tail
        with pytest.raises(Malformed):
            radius_packet.parse(sent, SECRET)
    strange = [(250, b"\xff"), (26, b"\x01\x02"), (8, b"abc"), (46, b"\x01"), (1, b"a"), (1, b"\xff")]
    assert radius_packet.named(strange) == {
        "Attribute-250": "ff",
        "Vendor-Specific": "0102",
        "Framed-IP-Address": "616263",
        "Acct-Session-Time": "01",
        "User-Name": ["a", "\\xff"],
    }


def named(**changed: Any) -> dict[str, Any]:
    sent = radius_client.request(SECRET, start(NOW, **changed))
    return radius_packet.named(radius_packet.parse(sent, SECRET).attributes)


def said(attributes: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    found = payload(attributes, "127.0.0.1", float(NOW), "radius:x")
    [record] = found.records
    event = examine(found.stream, json.dumps(record.event).encode())
    assert isinstance(event, Event), event
    assert record.event["radius"] == {**attributes, "sender": "127.0.0.1"}
    return found.stream, {name: value for name, value in echo(event).items() if value is not None}


CLIENT = {
    "macAddress": "a4:83:e7:11:22:33",
    "bssid": "d4:20:b0:f0:1a:2c",
    "ssid": "Harbour",
    "associatedAPName": "lobby",
    "timestamp": float(NOW),
}


def test_a_session_of_a_client() -> None:
    assert said(named()) == ("client_events", {**CLIENT, "eventType": "Success"})
    interim = named(Acct_Status_Type=3, Acct_Session_Time=60, Framed_IP_Address="10.20.4.17")
    assert said(interim)[1] == {
        **CLIENT,
        "eventType": "Intermediate",
        "categoryCode": 3,
        "category": "Network",
        "eventDescription": "Accounting Interim-Update",
        "ip": "10.20.4.17",
    }
    stop = named(Acct_Status_Type=2, Acct_Terminate_Cause=4)
    assert said(stop)[1] == {
        **CLIENT,
        "eventType": "Intermediate",
        "categoryCode": 1,
        "category": "Association",
        "eventDescription": "Disassociation",
        "subEventDescription": "Idle-Timeout",
    }
    assert said(named(Acct_Status_Type=15))[1]["failure"] == "RADIUS accounting failed"
    assert said(named(Acct_Status_Type=99))[1]["eventDescription"] == "Accounting 99"


@pytest.mark.parametrize(
    ("station", "wanted"),
    [
        ("D4-20-B0-F0-1A-2C:a: b", ("d4:20:b0:f0:1a:2c", "a: b")),
        ("d420b0f01a2c:Harbour", ("d4:20:b0:f0:1a:2c", "Harbour")),
        ("d420.b0f0.1a2c", ("d4:20:b0:f0:1a:2c", None)),
        ("10.20.0.3", (None, None)),
    ],
)
def test_an_access_point_and_its_ssid(station: str, wanted: tuple[str | None, str | None]) -> None:
    _, found = said(named(Called_Station_Id=station))
    assert (found.get("bssid"), found.get("ssid")) == wanted


def test_a_session_without_a_mac_address_is_a_connection_log() -> None:
    attributes = named(Calling_Station_Id="203.0.113.9", Acct_Status_Type=2, Acct_Session_Time=75)
    stream, found = said(attributes)
    assert stream == "connection_logs"
    assert found == {
        "device_id": "203.0.113.9",
        "application_id": "lobby",
        "connection_type": "radius",
        "timestamp": "2026-09-21T14:13:20Z",
        "status": "disconnected",
        "duration": 75,
    }


def test_a_nas_that_comes_up() -> None:
    stream, found = said({"Acct-Status-Type": "Accounting-On", "NAS-IP-Address": "10.20.0.3"})
    assert stream == "device_logs"
    assert (found["parent"]["id"], found["action"]) == ("10.20.0.3", "Accounting-On")


@pytest.mark.parametrize("missing", ["Acct-Status-Type", "Acct-Session-Id", "Calling-Station-Id"])
def test_a_request_that_says_too_little(missing: str) -> None:
    attributes = {name: value for name, value in named().items() if name not in (missing, "User-Name")}
    with pytest.raises(BadPayload) as refused:
        payload(attributes, "127.0.0.1", float(NOW), "radius:x")
    assert refused.value.path == missing
