"""Cisco Meraki webhooks: alerts of the dashboard, by the payload template "Meraki (included)".

One alert a request, with the shared secret in its field ``sharedSecret``; the body is not signed, so only
TLS keeps the secret. Fields as Cisco's page "Meraki Webhooks" lists them, times in ISO 8601. An alert about
a client that came or went is a client event; every other one an entry of the device or network that it is
about.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.connectors.record import Fields, Payload, Record, identified, without_nothing

NAME = "meraki"
SECRET = "sharedSecret"
CLIENT = "client_connectivity"  # alertTypeId
_CLIENT_TEXT = "client connectivity changed"  # alertType, of versions without ids


def is_genuine(secret: str, document: Fields) -> bool:
    """Whether the sender has the secret."""
    sent = document.get(SECRET)
    return isinstance(sent, str) and hmac.compare_digest(secret.encode(), sent.encode("utf-8", "replace"))


def payload(document: Fields) -> Payload:
    """The alert of a delivery, without the secret. What is missing of it the gateway names."""
    kept = {name: value for name, value in document.items() if name != SECRET}
    found = document.get("alertData")
    data: Fields = found if isinstance(found, dict) else {}
    sent_at = _epoch(document.get("sentAt"))
    if _is_about_a_client(document) and "connected" in data:
        made, names = _client(document, data), _CLIENT_NAMES
        stream: Any = "client_events"
    else:
        made, names = _entry(document, data), _ENTRY_NAMES
        stream = "device_logs"
    record = Record(identified(NAME, without_nothing(made) | {NAME: kept}), names, sent_at=sent_at)
    return Payload(stream, [record])


_CLIENT_NAMES: Mapping[str, str] = {"macAddress": "alertData.mac", "timestamp": "occurredAt"}
_ENTRY_NAMES: Mapping[str, str] = {
    "datetime": "occurredAt",
    "parent.id": "networkId",
    "action": "alertTypeId",
    "id": "alertId",
}


def _is_about_a_client(document: Fields) -> bool:
    kind = document.get("alertTypeId")
    if isinstance(kind, str):
        return kind == CLIENT
    text = document.get("alertType")
    return isinstance(text, str) and text.casefold() == _CLIENT_TEXT


def _client(document: Fields, data: Fields) -> dict[str, Any]:
    came = str(data["connected"]).casefold() == "true"  # a boolean, or its text
    at = _epoch(document.get("occurredAt"))
    common = {
        "macAddress": data.get("mac"),
        "timestamp": document.get("occurredAt") if at is None else at,
        "associatedAPName": document.get("deviceName"),
        "ssid": data.get("ssidName"),
    }
    if came:
        return {**common, "eventType": "Success"}
    return {
        **common,
        "eventType": "Intermediate",
        "categoryCode": 1,
        "category": "Association",
        "eventDescription": "Disassociation",
        "ip": data.get("ip"),
    }


def _entry(document: Fields, data: Fields) -> dict[str, Any]:
    return {
        "id": document.get("alertId"),
        "datetime": document.get("occurredAt"),
        "parent": without_nothing(
            {
                "id": document.get("deviceSerial") or document.get("networkId"),
                "name": document.get("deviceName") or document.get("networkName"),
                "model": document.get("deviceModel"),
                "location": document.get("networkName"),
            }
        ),
        "action": document.get("alertTypeId") or document.get("alertType"),
        "variable_name": data.get("name") if "changes" in data else None,
        "notes": document.get("alertType"),
    }


def _epoch(text: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time, UTC where it names no zone; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
