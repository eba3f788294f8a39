"""Payloads with values that no maker sends: an event is made of each, or it is refused."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from tidegate.connectors import meraki, mist, openwifi, radius, radius_packet
from tidegate.connectors.record import BadPayload, document_of

ODD: list[Any] = [
    *(10**400, -(10**400), 1e308, -1, 0, True, "", "\x00\u202e", "9999-12-31T23:59:59-14:00"),
    *("0001-01-01T00:00:00+14:00", [], [[]], {}, {"a": {}}, None),
]


def document(fields: dict[str, Any]) -> Any:
    """As it comes: what JSON can hold."""
    return document_of(msgspec.json.encode(fields))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:24])
@pytest.mark.parametrize("topic", [*mist.TOPICS, "", "ping"])
def test_mist(topic: str, odd: Any) -> None:
    names = (
        *("timestamp", "connect", "connect_float", "disconnect", "disconnect_float", "mac", "ap", "ap_name"),
        *("proto", "rssi", "termination_reason", "type", "text", "reason", "id", "org_id", "ssid", "message"),
    )
    events = [dict.fromkeys(names, odd), *({name: odd, "timestamp": 1_790_000_000} for name in names), odd]
    for one in events:
        try:
            msgspec.json.encode(
                [made.event for made in mist.payload(document({"topic": topic, "events": [one]})).records]
            )
        except BadPayload as error:
            assert error.code
    with pytest.raises(BadPayload):
        mist.payload(document({"topic": odd if odd != "ping" else 1, "events": odd}))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:24])
def test_meraki(odd: Any) -> None:
    data = dict.fromkeys(("connected", "mac", "ip", "ssidName", "name", "changes"), odd)
    for about in ({"alertTypeId": meraki.CLIENT}, {"alertTypeId": odd}, {"alertType": odd}):
        for inner in (data, odd):
            fields = dict.fromkeys(("sentAt", "occurredAt", "deviceSerial", "networkId", "alertId"), odd)
            made = meraki.payload(document({**fields, **about, "alertData": inner}))
            msgspec.json.encode([record.event for record in made.records])
    assert not meraki.is_genuine("secret", document({meraki.SECRET: odd}))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:24])
@pytest.mark.parametrize("topic", openwifi.TOPICS)
def test_openwifi(topic: str, odd: Any) -> None:
    association = dict.fromkeys(("station", "bssid", "rssi"), odd)
    ssid = {"associations": [association, odd], "bssid": odd, "ssid": odd, "radio": {"$ref": odd}}
    interface = {"clients": [{"mac": odd, "ipv4_addresses": odd}, odd], "ssids": [ssid, odd]}
    state = {"unit": {"localtime": odd}, "radios": odd, "interfaces": [interface, odd]}
    fields = dict.fromkeys(("serial", "timestamp", "firmware", "sanity", "type"), odd)
    inner = {**fields, "disconnection": {"timestamp": odd, "serialNumber": odd}, "state": state}
    for one in (
        inner,
        {**inner, "disconnection": odd, "capabilities": {"model": odd}},
        {**inner, "state": odd},
        odd,
    ):
        for whole in ({"payload": one}, one):
            if isinstance(whole, dict):
                made = list(openwifi.events(topic, "serial", document(whole), 1.79e9))
                msgspec.json.encode([record.event for _, record in made])


@pytest.mark.parametrize("kind", [*radius_packet.KINDS, 255])
@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\xff" * 4, b"\xed\xa0\x80", b"\x1b\r\n", b"\xff" * 16, b"x" * 253]
)
def test_radius(kind: int, value: bytes) -> None:
    for status in (1, 2, 3, 7, 8, 15, 4_294_967_295):
        known = {40: struct.pack("!I", status), 44: b"s", 31: b"A4-83-E7-11-22-33", 30: b"x"}
        for attributes in (
            [*known.items(), (kind, value)],
            list({**known, kind: value}.items()),
            [(kind, value)] * 3,
        ):
            named = radius_packet.named(attributes)
            try:
                made = radius.payload(named, "192.0.2.1", 1.79e9, "id")
            except BadPayload:
                continue
            msgspec.json.encode([record.event for record in made.records])
