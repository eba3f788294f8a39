"""Examples of responses in the OpenAPI document: the reference documents' samples, in today's shape."""

from __future__ import annotations

from typing import Any

from tidegate.api.client_events import KEYS
from tidegate.contracts import examples

ID = "01K9ZQ4T3M8W5X0R2B7C6D1E9F-d3-1042-0"
BASE = "http://127.0.0.1:8081"


def _event(event: dict[str, Any], *, timestamp_unit: int = 1) -> dict[str, Any]:
    """All keys of its type; `timestamp` in so many microseconds."""
    timestamp = event["timestamp"] // timestamp_unit
    return {key: event.get(key) for key in KEYS[event["eventType"]]} | {"timestamp": timestamp}


_ENTRY = {
    key: examples.DEVICE_LOG[key]
    for key in (
        *("datetime", "parent", "action", "variable_name", "old_value", "new_value"),
        *("is_pending", "is_applied", "applied_at", "user"),
    )
}
_PARENT = {key: examples.DEVICE_LOG["parent"][key] for key in ("id", "name")}
_ACCESS_POINT = {
    "macaddress": "00:11:74:8c:94:c0",
    "devicename": "Mojo_8C:94:DF",
    "locationid": -1,
    "ssids": ["varsha"],
    "firstseen": 1505109280000,
    "lastseen": 1505109958917,
    "model": None,
    "capabilities": [],
}
_CLIENT = "/V5/devices/clientevents/68:05:71:a4:ef:0e"

EXAMPLES: dict[str, Any] = {
    "/V5/devices/clients/connectionlogs": {
        "successLogs": [_event(examples.SUCCESS, timestamp_unit=1_000_000)],
        "failureLogs": [_event(examples.FAILURE, timestamp_unit=1_000_000)],
    },
    "/V5/devices/clientevents/{macaddress}/{offset}/{limit}": {
        "previousLink": f"{BASE}{_CLIENT}/0/3?totalcountrequired=3",
        "nextLink": f"{BASE}{_CLIENT}/3/3?totalcountrequired=3",
        "totalCount": 3,
        "clientEvents": [
            _event(event) for event in (examples.INTERMEDIATE, examples.SUCCESS, examples.FAILURE)
        ],
    },
    "/V2/analytics/associationdata/{startdate}/{enddate}": "/V2/analytics/files/WyJkZW1vIiwxNzA1.csv",
    "/V2/devices/aps": [_ACCESS_POINT],
    "/V5/devices/aps": [_ACCESS_POINT],
    "/api/v1/inventory_device_log/": {
        "count": 156,
        "next": f"{BASE}/api/v1/inventory_device_log/?cursor=WyJvIiwxNzA1MzE0NjAwMDAwMDAwLCJpZCJd",
        "previous": None,
        "results": [{"id": ID} | _ENTRY | {"parent": _PARENT}],
    },
    "/api/v1/inventory_device_log/{id}/": {"id": ID}
    | _ENTRY
    | {key: examples.DEVICE_LOG[key] for key in ("change_request_id", "rollback_available", "notes")},
    "/api/v1/events/{id}": {
        "id": ID,
        "stream": "device_logs",
        "status": "stored",
        "received_at": "2024-01-15T10:31:16.000000Z",
        "event_time": "2024-01-15T10:30:00.000000Z",
        "outcome": "success",
        "stage": None,
        "reject": None,
    },
    "/api/v1/catalogue/failures": {
        "failures": [
            {
                "failureCode": 7,
                "failure": "Incorrect PSK",
                "subFailureCode": 14,
                "subFailure": "Wrong passphrase.",
                "stage": "authentication",
                "action": "Enter the passphrase again on the client",
            }
        ],
        "ieee80211": [
            {
                "kind": "reason",
                "code": 15,
                "name": "4WAY_HANDSHAKE_TIMEOUT",
                "stage": "authentication",
                "action": "Check the passphrase",
            }
        ],
    },
    "/api/v1/catalogue/intermediate_events": {
        "intermediateEvents": [
            {
                "categoryCode": 1,
                "category": "Association",
                "typeCode": 1,
                "eventDescription": "Client associated",
                "subTypeCode": None,
                "subEventDescription": None,
            }
        ]
    },
}
"""The first good answer of each path."""
