"""Every field that the reference documents name, with values that are taken and values that are refused.

The write side posts each value and reads the echo; the read side stores each value and reads the answer. A
path with a dot stands inside the object of its first part.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import builders

WRONG, RANGE, ENUM, FORMAT = "wrong_type", "out_of_range", "not_in_enum", "bad_format"
INT64 = 2**63 - 1


@dataclass(frozen=True)
class Field:
    """`good` comes back as it was sent unless `echoed` says otherwise; `bad` has the code of each refusal."""

    good: tuple[Any, ...]
    bad: tuple[tuple[Any, str], ...]
    required: bool = False
    echoed: Callable[[Any], Any] = lambda value: value

    @property
    def values(self) -> tuple[Any, ...]:
        """What may be sent, null included where it may be."""
        return self.good if self.required else (*self.good, None)


def _wrong(*values: Any) -> tuple[tuple[Any, str], ...]:
    return tuple((value, WRONG) for value in values)


def text(*good: str, required: bool = False) -> Field:
    """Any text; a required one is not empty."""
    bad = _wrong(5, 1.5, True, ["a"], {"a": "b"}) + ((("", FORMAT),) if required else ())
    empty = () if required else ("",)
    hostile = ("'; DROP TABLE x; --", "📶 \t\\\"'", "\0" * 32, "x" * 3000)
    return Field((*good, *empty, *hostile), bad, required)


def one_of(*good: str, required: bool = False) -> Field:
    bad = (("nonsense", ENUM), ("", ENUM), (good[0].swapcase(), ENUM), *_wrong(5, True, [], {}))
    return Field(good, bad, required)


def whole(low: int, high: int) -> Field:
    """An integer from `low` to `high`, also written with a point: JSON knows one kind of number."""
    middle = min(max(11, low), high)
    bad = _wrong("11", "", 1.5, True, [11], {"a": 11})
    return Field((low, middle, high, 4.0), (*bad, (low - 1, RANGE), (high + 1, RANGE)), echoed=int)


def number(*good: float, low: float | None = None, high: float | None = None) -> Field:
    """A number; a whole one comes back with its point, as in the document's -45 and -45.0."""
    ranges = tuple((bound, RANGE) for bound in (low, high) if bound is not None)
    return Field(good, (*_wrong("1.5", "", True, [1.5], {"a": 1}), *ranges), echoed=float)


def degrees(limit: int) -> Field:
    good = ("40.7128", "-74.0060", "0", f"{limit}", f"-{limit}", "+1.50", 40.5, -7, 0.0, 1e-7)
    bad: tuple[tuple[Any, str], ...] = (
        (f"{limit}.1", RANGE),
        (f"-{limit + 1}", RANGE),
        (limit + 0.5, RANGE),
        ("north", FORMAT),
        ("1e1", FORMAT),
        ("40,7", FORMAT),
        *_wrong(True, [], {}),
    )
    return Field(tuple(value for value in good if abs(float(value)) <= limit), bad, echoed=_degrees_text)


def _degrees_text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return {40.5: "40.5", -7: "-7.0", 0.0: "0.0", 1e-7: "0.0000001"}[value]


COUNT = whole(0, INT64)
INT = whole(-(2**63), INT64)
BOOLEAN = Field((True, False), _wrong("true", "", 1, 0, [], {}))
MAC = Field(
    ("00:1a:2b:3c:4d:5e", "00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e", "001A2B3C4D5E"),
    (
        *_wrong(5, True, ["00:1a:2b:3c:4d:5e"], {}),
        ("00:1a:2b:3c:4d", FORMAT),
        ("00:1a:2b:3c:4d:5g", FORMAT),
    ),
)
ISO = Field(
    ("2024-01-15T14:30:25Z", "2024-01-15T14:30:25.123456+05:30", "2024-01-15 14:30:25", "2024-01-15"),
    (
        *_wrong(1705329025, True, [], {}),
        ("yesterday", FORMAT),
        ("2024-13-01", FORMAT),
        ("1899-12-31T23:59:59Z", RANGE),
        ("2300-01-01", RANGE),
    ),
)
EPOCH = Field(
    (1505109958, 1505109958917, 1505109958917419, 0, 10_413_791_999, 10_413_791_999_999_999),
    (*_wrong("1505109958", "", True, [], {}), (-1, RANGE), (10_413_792_000_000_000, RANGE)),
)
SCALAR = Field(("v2.1.0", "", "📶", 5, -7, 1.5, True, False, 10**30), _wrong([], [1], {}, {"a": 1}))
ANYTHING = Field(("text", -45, 1.5, True, [1, None], {"a": {"b": []}}), ())
PROTOCOL = one_of("UNKNOWN", "A", "B", "BG", "G", "N", "AN", "GN", "BGN", "AC", "AX", "BE")


def must(field: Field) -> Field:
    """The same field where it is required: an empty text is refused, which elsewhere is an absent value."""
    empty = (("", FORMAT),) if isinstance(field.good[0], str) else ()
    return Field(field.good, field.bad + empty, required=True, echoed=field.echoed)


NETWORK: dict[str, Field] = {
    "network_name": text("Office WiFi", "Guest Network"),
    "network_type": one_of("wi", "mo", "bl", "et", required=True),
    "network_security": one_of("opn", "wep", "wpa", "wp2", "3gp", required=True),
    "network_mccmnc": Field(
        ("31026", "310260", "00101", "999999"),
        (
            *_wrong(31026, True, [], {}),
            ("3102", FORMAT),
            ("3102600", FORMAT),
            ("31026x", FORMAT),
            ("10026", RANGE),
        ),
    ),
    "frequency": number(2.4, 5.0, 5, 0, 300, low=-0.1, high=300.5),
    "authentication": one_of("non", "cpo", "wis", "psk", "rad", "eap", "3gp"),
    "bssid": MAC,
    "cellid": text("310-26-1234"),
    "roaming": BOOLEAN,
    "latitude": degrees(90),
    "longitude": degrees(180),
    "inbytes": COUNT,
    "outbytes": COUNT,
    "link_speed": number(150.0, 150, 0, 1e12, low=-1),
    "quality_metric": one_of("rssi", "sinr"),
    "quality_value": number(-45, -45.5, 0, 20, 1e300, -1e300),
}
SESSION: dict[str, Field] = {
    "device_id": text("DEV-001-XR7H9", required=True),
    "application_id": text("APP-MOBILE-001"),
    "connection_type": text("established"),
    "timestamp": must(ISO),
    "ip_address": text("192.168.1.105", "2001:db8::1"),
    "user_agent": text("MobileApp/2.1.0 (iOS 17.0)"),
    "status": text("success"),
    "duration": number(0, 12, 12.5, low=-0.5),
    "metadata": Field(({}, {"location": "Building A - Floor 2"}, {"a": [1, None]}), _wrong("x", 5, True, [])),
    "metadata.location": ANYTHING,
    "metadata.network_type": ANYTHING,
    "metadata.signal_strength": ANYTHING,
    "metadata.session_id": ANYTHING,
    "metadata.protocol": ANYTHING,
}
LEGACY: dict[str, Field] = {
    "device_id": text("dev_12345"),
    "app_id": text("app_67890"),
    "connection_type": text("wifi"),
    "connection_status": text("connected"),
    "timestamp": ISO,
    "ip_address": text("192.168.1.100"),
    "signal_strength": number(-45, -45.5, 0),
    "data_transferred": COUNT,
}
_COMMON: dict[str, Field] = {
    "macAddress": must(MAC),
    "protocol": PROTOCOL,
    "locationId": Field(
        ({"type": "locallocationid", "id": 95}, {"type": None, "id": -1}), _wrong(95, "95", True, [])
    ),
    "locationId.type": text("locallocationid"),
    "locationId.id": must(INT),
    "bssid": MAC,
    "channel": whole(0, 233),
    "timestamp": must(EPOCH),
    "associatedAPName": text("Mojo_8C:94:DF"),
    "ssid": text("varsha"),
}
_CONNECTION: dict[str, Field] = {
    "associationTimestamp": EPOCH,
    "authenticationTimestamp": EPOCH,
    "networkTimestamp": EPOCH,
    "autoTestSessionId": INT,
    "autoTestStatusCode": INT,
    "autoTestStatus": text("passed"),
}
SUCCESS: dict[str, Field] = {
    **_COMMON,
    "eventType": one_of("Success", required=True),
    **_CONNECTION,
    "dhcpLatency": COUNT,
    "aaaLatency": COUNT,
    "dnsLatency": COUNT,
}
FAILURE: dict[str, Field] = {
    **_COMMON,
    "eventType": one_of("Failure", required=True),
    **_CONNECTION,
    "failureCode": INT,
    "failure": text("Incorrect PSK"),
    "subFailureCode": INT,
    "subFailure": text("Wrong passphrase."),
    "fileId": text("DF59A2-88AF70-008869"),
}
INTERMEDIATE: dict[str, Field] = {
    **_COMMON,
    "eventType": one_of("Intermediate", required=True),
    "categoryCode": whole(0, 5),
    "typeCode": INT,
    "subTypeCode": INT,
    "category": text("Association"),
    "eventDescription": text("Steering"),
    "subEventDescription": text("Steered"),
    "vlan": whole(0, 4095),
    "ip": text("10.9.1.17", "2001:db8::1"),
    "bwUpload": COUNT,
    "bwDownload": COUNT,
    "rssi": INT,
    "bwPriority": INT,
    "radiusPrimaryIP": text("10.9.1.2"),
    "radiusSecondaryIP": text("10.9.1.3"),
    "assocCount": COUNT,
    "detailedRole": text("staff"),
    "detailedGoogleOU": text("/staff"),
    "thresholdRssi": INT,
    "bwSource": text("ssid"),
    "clCount2Ghz": COUNT,
    "clCount5Ghz": COUNT,
    "bstNbrRssi": INT,
    "bstNbrMac": MAC,
    "bstNbrClCnt": COUNT,
    "disTime": INT,
    "nbrCnt": COUNT,
}
DEVICE_LOG: dict[str, Field] = {
    "id": Field((1001, 0, -1, INT64, "log-1", "", "📶"), (*_wrong(True, 1.5, [], {}), (2**63, RANGE))),
    "datetime": must(ISO),
    "parent": Field(
        ({"id": "device-001", "name": None, "model": None, "location": None},),
        _wrong("device-001", 5, True, []),
        required=True,
    ),
    "parent.id": text("device-001", required=True),
    "parent.name": text("Router-Main-01"),
    "parent.model": text("Cisco ASR1001-X"),
    "parent.location": text("Data Center A"),
    "action": text("config_change", "restart", "firmware_update", required=True),
    "variable_name": text("bgp_neighbor"),
    "old_value": SCALAR,
    "new_value": SCALAR,
    "is_pending": BOOLEAN,
    "is_applied": BOOLEAN,
    "applied_at": ISO,
    "user": text("admin@company.com", "system"),
    "change_request_id": text("CR-2024-001"),
    "rollback_available": BOOLEAN,
    "notes": text("Updated BGP neighbor as part of network optimization"),
}
FIELDS: dict[str, dict[str, Field]] = {
    "network": NETWORK,
    "session": SESSION,
    "legacy": LEGACY,
    "success": SUCCESS,
    "failure": FAILURE,
    "intermediate": INTERMEDIATE,
    "device_log": DEVICE_LOG,
}
BUILDERS: dict[str, Callable[[], dict[str, Any]]] = {
    "network": builders.network_log,
    "session": builders.session_log,
    "legacy": builders.legacy_log,
    "success": builders.success,
    "failure": builders.failure,
    "intermediate": builders.intermediate,
    "device_log": builders.device_log,
}


CASES = [(form, path) for form, fields in FIELDS.items() for path in fields]
"""Form and path of each field."""


def event_with(form: str, path: str, value: Any) -> dict[str, Any]:
    """The sample of a form with another value at a path."""
    event = copy.deepcopy(BUILDERS[form]())
    *outer, last = path.split(".")
    inner = event
    for part in outer:
        inner = inner[part]
    inner[last] = value
    return event


def event_without(form: str, path: str) -> dict[str, Any]:
    event = event_with(form, path, None)
    *outer, last = path.split(".")
    inner = event
    for part in outer:
        inner = inner[part]
    del inner[last]
    return event


def at(document: Any, path: str) -> Any:
    """The value at a path."""
    for part in path.split("."):
        document = document[part]
    return document


def same(found: Any, expected: Any) -> bool:
    """Equal, and of one type: -45 is not -45.0, 1 not true."""
    return type(found) is type(expected) and found == expected
