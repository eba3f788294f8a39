"""Payloads of vendors, made by us with the fields that their documents list.

Mist: the schemas `webhook_<topic>_event` of Juniper's OpenAPI description of the Mist API. Meraki: "Common
JSON Parameters" and the samples of developer.cisco.com/meraki/webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

ORG = "9f0c1de2-5b1c-4a53-8d8e-0b5a3b0d7c11"
SITE = "1d3b52c4-77aa-4a0e-9a55-6a2b0f1c9e20"
WLAN = "c7b1f4a9-2e64-4d5c-8f3e-90a1b2c3d4e5"


def mist(topic: str, *events: dict[str, Any]) -> bytes:
    return json.dumps({"topic": topic, "events": list(events)}).encode()


def signature(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Mist-Signature-v2": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def client_join(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "ap": "d420b0001a2b",
        "ap_name": "Lobby-AP-3",
        "band": "5",
        "bssid": "d420b0f01a2c",
        "connect": int(now) - 4,
        "connect_float": int(now) - 4 + 0.25,
        "mac": "a483e7112233",
        "org_id": ORG,
        "random_mac": False,
        "rssi": -58,
        "site_id": SITE,
        "site_name": "Pier 7",
        "ssid": "Harbour",
        "timestamp": int(now),
        "version": 1,
        "wlan_id": WLAN,
        **changed,
    }


def client_session(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "ap": "d420b0001a2b",
        "ap_name": "Lobby-AP-3",
        "band": "5",
        "bssid": "d420b0f01a2c",
        "client_family": "Pixel",
        "client_manufacture": "Google",
        "client_model": "8a",
        "client_os": "Android 16",
        "connect": int(now) - 900,
        "connect_float": int(now) - 900 + 0.5,
        "disconnect": int(now) - 3,
        "disconnect_float": int(now) - 3 + 0.75,
        "duration": 897.25,
        "mac": "a483e7112233",
        "next_ap": "000000000000",
        "org_id": ORG,
        "rssi": -71.4,
        "site_id": SITE,
        "site_name": "Pier 7",
        "ssid": "Harbour",
        "termination_reason": 1,
        "timestamp": int(now),
        "version": 2,
        "wlan_id": WLAN,
        **changed,
    }


def client_info(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "hostname": "till-4",
        "ip": "10.20.4.17",
        "mac": "a483e7112233",
        "org_id": ORG,
        "site_id": SITE,
        "timestamp": int(now),
        **changed,
    }


def nac_event(now: float, kind: str, **changed: Any) -> dict[str, Any]:
    return {
        "ap": "d420b0001a2b",
        "auth_type": "eap-tls",
        "bssid": "d420b0f01a2c",
        "mac": "a483e7112233",
        "nas_vendor": "juniper-mist",
        "org_id": ORG,
        "site_id": SITE,
        "ssid": "Harbour",
        "text": "no rule lets this client in",
        "timestamp": int(now) + 0.125,
        "type": kind,
        "username": "till-4@harbour.example",
        "vlan": "40",
        **changed,
    }


def device_event(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "ap": "d420b0001a2b",
        "ap_name": "Lobby-AP-3",
        "audit_id": "5e0f6b7c-11aa-4c1d-a5b9-2f3e4d5c6b7a",
        "device_name": "Lobby-AP-3",
        "device_type": "ap",
        "ev_type": "notice",
        "mac": "d420b0001a2b",
        "org_id": ORG,
        "reason": "scheduled-site-rrm",
        "site_id": SITE,
        "site_name": "Pier 7",
        "text": "changed channel of the 5 GHz radio",
        "timestamp": int(now),
        "type": "AP_RRM_ACTION",
        **changed,
    }


def device_updown(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "ap": "d420b0001a2b",
        "ap_name": "Lobby-AP-3",
        "for_site": True,
        "org_id": ORG,
        "site_id": SITE,
        "site_name": "Pier 7",
        "timestamp": int(now),
        "type": "AP_DISCONNECTED",
        **changed,
    }


def audit(now: float, **changed: Any) -> dict[str, Any]:
    return {
        "admin_name": "Nora Quay nora@harbour.example",
        "id": "7a0c8d1e-52f3-4b6a-9e1d-0c2b4a6d8e0f",
        "message": 'Update WLAN "Harbour"',
        "org_id": ORG,
        "site_id": SITE,
        "src_ip": "203.0.113.9",
        "timestamp": int(now) + 0.5,
        "before": {"enabled": True},
        "after": {"enabled": False},
        **changed,
    }


def iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")


def meraki(now: float, secret: str, **changed: Any) -> dict[str, Any]:
    return {
        "version": "0.1",
        "sharedSecret": secret,
        "sentAt": iso(now),
        "organizationId": "4417",
        "organizationName": "Harbour",
        "organizationUrl": "https://n1.meraki.example/o/x/manage/organization/overview",
        "networkId": "N_98765",
        "networkName": "Pier 7",
        "networkUrl": "https://n1.meraki.example/n/x/manage/nodes/list",
        "networkTags": [],
        "alertId": "7001",
        "alertType": "Settings changed",
        "alertTypeId": "settings_changed",
        "alertLevel": "informational",
        "occurredAt": iso(now - 5),
        "alertData": {},
        **changed,
    }


def meraki_client(now: float, secret: str, *, connected: Any, **changed: Any) -> dict[str, Any]:
    data = {
        "mac": "a4:83:e7:44:55:66",
        "ip": "10.20.4.18",
        "connected": connected,
        "clientName": "till-5",
        "clientUrl": "https://n1.meraki.example/n/x/manage/usage/list#c=k",
    }
    return meraki(
        now,
        secret,
        **{
            "alertId": "7002",
            "alertType": "Client connectivity changed",
            "alertTypeId": "client_connectivity",
            "alertData": data,
            **changed,
        },
    )


def meraki_settings(now: float, secret: str, **changed: Any) -> dict[str, Any]:
    changes = {
        "editSsid": {
            "label": "Enabled SSID",
            "newText": "true",
            "oldText": "false",
            "changedBy": "Nora Quay (nora@harbour.example)",
            "ssidId": 2,
        }
    }
    data = {"name": "SSIDs", "url": "/manage/configure/ssids", "changes": changes, "userId": "31"}
    return meraki(now, secret, **{"alertId": "7003", "alertData": data, **changed})


def meraki_device_down(now: float, secret: str, **changed: Any) -> dict[str, Any]:
    return meraki(
        now,
        secret,
        **{
            "alertId": "7004",
            "alertType": "APs went down",
            "alertTypeId": "stopped_reporting",
            "alertLevel": "critical",
            "deviceSerial": "Q2AB-CDEF-GH12",
            "deviceMac": "e0:cb:bc:00:11:22",
            "deviceName": "Lobby-AP-9",
            "deviceModel": "MR46",
            **changed,
        },
    )


def openwifi_state(now: int, mark: str) -> dict[str, Any]:
    """A report of an access point with one client, as OpenWiFi's page "State" shows them."""
    association = {
        "bssid": "f0:a1:b2:c3:d4:e6",
        "connected": 71,
        "rssi": -61,
        "rx_bytes": 100,
        "station": "a4:83:e7:11:22:33",
        "mark": mark,
    }
    ssid = {"associations": [association], "bssid": "f0:a1:b2:c3:d4:e6", "ssid": "Harbour"}
    state = {"interfaces": [{"name": "up0v0", "ssids": [ssid]}], "unit": {"localtime": now}}
    return {"system": {"id": 1}, "payload": {"serial": "f0a1b2c3d4e5", "state": state, "uuid": 7}}
