"""Bodies for the OpenAPI document: the reference documents' own samples."""

from __future__ import annotations

import json
from typing import Any

NETWORK: dict[str, Any] = {
    "network_name": "Office WiFi Main",
    "network_type": "wi",
    "network_security": "wp2",
    "frequency": 5.0,
    "authentication": "eap",
    "bssid": "00:1a:2b:3c:4d:5e",
    "roaming": False,
    "latitude": "40.7128",
    "longitude": "-74.0060",
    "inbytes": 1048576,
    "outbytes": 524288,
    "link_speed": 150.0,
    "quality_metric": "rssi",
    "quality_value": -45,
}
SESSION: dict[str, Any] = {
    "device_id": "DEV-001-XR7H9",
    "application_id": "APP-MOBILE-001",
    "connection_type": "established",
    "timestamp": "2024-01-15T14:30:25Z",
    "ip_address": "192.168.1.105",
    "user_agent": "MobileApp/2.1.0 (iOS 17.0)",
    "status": "success",
    "duration": None,
    "metadata": {"location": "Building A - Floor 2", "network_type": "WiFi", "signal_strength": -45},
}
LEGACY_INNER: dict[str, Any] = {
    "device_id": "dev_12345",
    "app_id": "app_67890",
    "connection_type": "wifi",
    "connection_status": "connected",
    "timestamp": "2024-01-15T10:30:00Z",
    "ip_address": "192.168.1.100",
    "signal_strength": -45,
    "data_transferred": 1024,
}
WRAPPER: dict[str, Any] = {"data": json.dumps(LEGACY_INNER)}
_CLIENT: dict[str, Any] = {
    "macAddress": "68:05:71:a4:ef:0e",
    "protocol": "BG",
    "locationId": {"type": "locallocationid", "id": -1},
    "bssid": "00:11:74:8c:94:c0",
    "channel": 11,
    "timestamp": 1505109958917419,
    "associatedAPName": "Mojo_8C:94:DF",
    "ssid": "varsha",
}
SUCCESS = _CLIENT | {
    "eventType": "Success",
    "associationTimestamp": 1505109957000,
    "authenticationTimestamp": 1505109957000,
    "networkTimestamp": 1505109958000,
    "dhcpLatency": 4,
    "aaaLatency": 0,
    "dnsLatency": 74,
}
FAILURE = _CLIENT | {
    "eventType": "Failure",
    "associationTimestamp": 1505109280000,
    "authenticationTimestamp": 1505109280000,
    "networkTimestamp": 1505109280000,
    "failureCode": 7,
    "failure": "Incorrect PSK",
    "subFailureCode": 14,
    "subFailure": "Wrong passphrase.",
}
INTERMEDIATE = _CLIENT | {
    "eventType": "Intermediate",
    "categoryCode": 0,
    "typeCode": 23,
    "subTypeCode": 0,
    "ip": "10.9.1.17",
}
DEVICE_LOG: dict[str, Any] = {
    "id": 1001,
    "datetime": "2024-01-15T10:30:00Z",
    "parent": {
        "id": "device-001",
        "name": "Router-Main-01",
        "model": "Cisco ASR1001-X",
        "location": "Data Center A",
    },
    "action": "config_change",
    "variable_name": "bgp_neighbor",
    "old_value": "192.168.1.1",
    "new_value": "192.168.1.2",
    "is_pending": False,
    "is_applied": True,
    "applied_at": "2024-01-15T10:31:15Z",
    "user": "admin@company.com",
    "change_request_id": "CR-2024-001",
    "rollback_available": True,
    "notes": "Updated BGP neighbor as part of network optimization",
}
OF_FORM: dict[str, dict[str, Any]] = {
    "network": NETWORK,
    "session": SESSION,
    "legacy": LEGACY_INNER,
    "success": SUCCESS,
    "failure": FAILURE,
    "intermediate": INTERMEDIATE,
    "device_log": DEVICE_LOG,
}
"""An example of each form that may stand in a body as it is."""
