"""Juniper Mist webhooks, of type http-post with a secret.

The body is signed: header ``X-Mist-Signature-v2`` is the HMAC-SHA-256 of it under the secret, in hex. It is
``{"topic": …, "events": [{…}, …]}``; times are epoch seconds, MAC addresses are without colons. Fields as
Juniper's OpenAPI description of the Mist API names them (the schemas ``webhook_*``).
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tidegate.connectors.record import BadPayload, Fields, Payload, Record, identified, iso, without_nothing
from tidegate.contracts.topics import Stream

NAME = "mist"
SIGNATURE = b"x-mist-signature-v2"

_CLIENT = {"macAddress": "mac", "associatedAPName": "ap_name"}
_ENDS = {1: "disassociated", 2: "inactive", 3: "roamed to another access point"}


def is_genuine(secret: str, headers: Mapping[bytes, bytes], body: bytes) -> bool:
    """Whether whoever wrote the body has the secret."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
    return hmac.compare_digest(expected, headers.get(SIGNATURE, b"").strip().lower())


def payload(document: Fields) -> Payload:
    """The events of a delivery. Raises BadPayload."""
    topic, events = document.get("topic"), document.get("events")
    if not isinstance(topic, str):
        raise BadPayload("missing_field", "topic", "a delivery has a topic")
    if topic == "ping":  # the portal's button that tries a webhook
        return Payload("device_logs", [])
    if topic not in TOPICS:
        allowed = ", ".join(TOPICS)
        detail = "this topic has no events that Tidegate keeps: take it from the webhook's topics"
        raise BadPayload("not_in_enum", "topic", detail, found=topic[:80], allowed=allowed)
    if not isinstance(events, list):
        raise BadPayload("wrong_type", "events", "the events are an array")
    kind = TOPICS[topic]
    records = []
    for index, event in enumerate(events):
        place = f"events[{index}]"
        if not isinstance(event, dict):
            raise BadPayload("not_object", place, "an event is a JSON object")
        made = without_nothing(kind.event(event)) | {NAME: {"topic": topic, **event}}
        records.append(
            Record(identified(NAME, made), kind.names, place, sent_at=_number(event.get("timestamp")))
        )
    return Payload(kind.stream, records)


class _Kind(NamedTuple):
    stream: Stream
    event: Callable[[Fields], dict[str, Any]]
    names: Mapping[str, str]


def _client(event: Fields) -> dict[str, Any]:
    protocol = event.get("proto")
    return {
        "macAddress": event.get("mac"),
        "bssid": event.get("bssid"),
        "ssid": event.get("ssid"),
        "associatedAPName": event.get("ap_name") or event.get("ap"),
        "protocol": protocol.upper() if protocol in ("a", "b", "g", "n", "ac", "ax", "be") else None,
    }


def _join(event: Fields) -> dict[str, Any]:
    connect = event.get("connect_float") or event.get("connect") or event.get("timestamp")
    times = {"timestamp": connect, "associationTimestamp": connect}
    return {**_client(event), **times, "eventType": "Success"}


def _session(event: Fields) -> dict[str, Any]:
    reason = event.get("termination_reason")
    return {
        **_client(event),
        "eventType": "Intermediate",
        "timestamp": event.get("disconnect_float") or event.get("disconnect") or event.get("timestamp"),
        "categoryCode": 1,
        "category": "Association",
        "eventDescription": "Disassociation",
        "subEventDescription": _ENDS.get(reason) if isinstance(reason, int) else None,
        "rssi": _rounded(event.get("rssi")),
    }


def _info(event: Fields) -> dict[str, Any]:
    return {
        **_client(event),
        "eventType": "Intermediate",
        "timestamp": event.get("timestamp"),
        "categoryCode": 3,
        "category": "Network",
        "eventDescription": "Client information",
        "ip": event.get("ip"),
    }


def _nac(event: Fields) -> dict[str, Any]:
    kind = event.get("type")
    common = {**_client(event), "timestamp": event.get("timestamp")}
    if kind == "NAC_CLIENT_DENY":  # the checks that led to it come as events of their own
        return {**common, "eventType": "Failure", "failure": f"AAA: {kind}", "subFailure": event.get("text")}
    return {
        **common,
        "eventType": "Intermediate",
        "categoryCode": 2,
        "category": "Authentication",
        "eventDescription": kind,
        "subEventDescription": event.get("text"),
    }


def _device(event: Fields) -> dict[str, Any]:
    device = event.get("mac") or event.get("ap") or event.get("mxedge_id")
    return {
        "datetime": iso(event.get("timestamp")),
        "parent": without_nothing(
            {
                "id": device,
                "name": event.get("device_name") or event.get("ap_name") or event.get("mxedge_name"),
                "model": event.get("model"),
                "location": event.get("site_name"),
            }
        ),
        "action": event.get("type"),
        "notes": event.get("text") or event.get("reason"),
    }


def _audit(event: Fields) -> dict[str, Any]:
    return {
        "id": event.get("id"),
        "datetime": iso(event.get("timestamp")),
        "parent": {"id": event.get("device_id") or event.get("site_id") or event.get("org_id")},
        "action": "audit",
        "user": event.get("admin_name"),
        "notes": event.get("message"),
    }


def _alarm(event: Fields) -> dict[str, Any]:
    return {
        "id": event.get("id"),
        "datetime": iso(event.get("timestamp")),
        "parent": {"id": event.get("site_id") or event.get("org_id")},
        "action": event.get("type"),
    }


_DEVICE_NAMES = {"datetime": "timestamp", "parent.id": "mac", "action": "type"}
_AUDIT_NAMES = {"datetime": "timestamp", "parent.id": "org_id", "user": "admin_name", "notes": "message"}
_ALARM_NAMES = {"datetime": "timestamp", "parent.id": "site_id", "action": "type"}

TOPICS: dict[str, _Kind] = {
    "client-join": _Kind("client_events", _join, {**_CLIENT, "timestamp": "connect"}),
    "client-sessions": _Kind("client_events", _session, {**_CLIENT, "timestamp": "disconnect"}),
    "client-info": _Kind("client_events", _info, _CLIENT),
    "nac-events": _Kind("client_events", _nac, {**_CLIENT, "eventDescription": "type"}),
    "device-events": _Kind("device_logs", _device, _DEVICE_NAMES),
    "device-updowns": _Kind("device_logs", _device, {**_DEVICE_NAMES, "parent.id": "ap"}),
    "mxedge-events": _Kind("device_logs", _device, {**_DEVICE_NAMES, "parent.id": "mxedge_id"}),
    "audits": _Kind("device_logs", _audit, _AUDIT_NAMES),
    "alarms": _Kind("device_logs", _alarm, _ALARM_NAMES),
}
"""The topics that hold connections or say what became of a device, each with what is made of its events."""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _rounded(value: Any) -> Any:
    """Mist averages signal strengths; Tidegate's are whole dBm."""
    return round(value) if isinstance(value, float) and abs(value) < 1e6 else value
