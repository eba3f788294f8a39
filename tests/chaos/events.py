"""Events that can be told apart, and found again in a table: each has its number in a field that reaches one.

Their fields are drawn so that lines of one frame differ in all that could be confused: forms, devices, some
with unknown fields and some without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from tidegate.contracts.topics import Stream

DAY = 86_400_000_000  # µs
CLOCKS = (0, 0, 0, -DAY // 2, -DAY - DAY // 2, -3 * DAY)  # device clocks differ from ours by

NUMBER: Mapping[Stream, str] = {
    "client_events": "ifNull(autotest_session_id, dis_time)",
    "connection_logs": "ifNull(inbytes, duration)",
    "device_logs": "toUInt64OrZero(ifNull(old_value, ''))",
}
"""The SQL expression that gives the number of a row's event."""
INCIDENTS = 4711  # the site
RADIUS = {
    "failureCode": 902,
    "failure": "RADIUS Failure",
    "subFailureCode": 1,
    "subFailure": "RADIUS server did not respond.",
}
UNKNOWN: tuple[Any, ...] = (7, -0.0, "café", None, True, ["a", {"b": 1}], {"deep": {"er": [1, None]}})


def make(
    stream: Stream,
    number: int,
    now: int,
    random: Random,
    *,
    bad: bool,
    with_id: bool = False,
    clock_days: int = 0,
    incidents: bool = False,
) -> str:
    """The JSON text of event `number`, at `now` (µs) by our clock. A bad one is well-formed, with an
    invalid value. With `clock_days` device clocks are anything up to so many days behind; with `incidents`
    some clients are at a site of their own, where all fail every other two minutes."""
    if clock_days:
        now -= random.randrange(clock_days) * DAY
    at = now + random.choice(CLOCKS) - random.randrange(60_000_000)
    event = _MAKERS[stream](number, at, random, bad)
    if incidents and stream == "client_events" and "locationId" in event and random.random() < 0.3:
        event["locationId"]["id"] = INCIDENTS
        fails = now // 120_000_000 % 2 == 0
        event |= {"eventType": "Failure", **RADIUS} if fails else {"eventType": "Success"}
    if with_id:
        event["event_id"] = f"chaos-{number}"
    if random.random() < 0.5:
        event |= {"chaos": number, "more": random.choice(UNKNOWN)}
    return json.dumps(event)


def _client_event(number: int, at: int, random: Random, bad: bool) -> dict[str, Any]:
    event: dict[str, Any] = {
        "macAddress": f"02:00:00:00:{random.randrange(4):02x}:{random.randrange(256):02x}",
        "timestamp": random.choice((at, at, at // 1000, at / 1_000_000)),
        "channel": 1000 if bad else random.choice((1, 6, 11, 36, 149)),
        "ssid": f"net-{random.randrange(3)}",
        "bssid": f"00-1A-2B-00-00-{random.randrange(20):02X}",
    }
    kind = random.random()
    if kind < 0.6:
        own: dict[str, Any] = {"eventType": "Success", "dhcpLatency": random.randrange(5000)}
    elif kind < 0.8:
        own = {"eventType": "Failure", "failureCode": random.choice((7, 8, 901)), "failure": "Incorrect PSK"}
    else:
        return event | {"eventType": "Intermediate", "vlan": random.randrange(4096), "disTime": number}
    own["locationId"] = {"type": "locallocationid", "id": random.randrange(9)}
    return event | own | {"autoTestSessionId": number}


def _connection_log(number: int, at: int, random: Random, bad: bool) -> dict[str, Any]:
    if random.random() < 0.2:
        return {
            "device_id": f"phone-{random.randrange(300)}",
            "timestamp": "soon" if bad else _iso(at),
            "duration": number,
            "metadata": {"number": number, "of": random.choice(UNKNOWN)},
        }
    return {
        "network_type": "zz" if bad else random.choice(("wi", "et")),
        "network_security": "wp2",
        "network_name": f"net-{random.randrange(5)}",
        "bssid": f"00:1a:2b:00:01:{random.randrange(20):02x}",
        "latitude": random.choice((0.0, -0.0, 52.52, "-33.9")),
        "longitude": random.choice((0.0, -0.0, 13.4, "18.4")),
        "inbytes": number,
        "outbytes": random.randrange(1 << 20),
    }


def _device_log(number: int, at: int, random: Random, bad: bool) -> dict[str, Any]:
    return {
        "datetime": "soon" if bad else _iso(at),
        "parent": {"id": f"device-{random.randrange(200)}", "model": random.choice(("m1", None, "m2"))},
        "action": "config_change",
        "old_value": random.choice((number, str(number))),
        "new_value": random.choice((random.randrange(1 << 30), -0.5, True, "on")),
    }


_MAKERS = {
    "client_events": _client_event,
    "connection_logs": _connection_log,
    "device_logs": _device_log,
}


def _iso(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")
