"""Events that can be told apart, and recognised in a table: `text` is what must come out of their row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from chaos.books import FIELD
from tidegate.contracts.topics import Stream

DAY = 86_400_000_000  # µs
CLOCKS = (0, 0, 0, -DAY // 2, -DAY - DAY // 2, -3 * DAY)  # device clocks differ from ours by

TEXT: Mapping[Stream, str] = {
    "client_events": "concat(mac, '|', toString(ifNull(channel, -1)), '|',"
    " toString(toUnixTimestamp64Micro(event_time)), '|', toString(ifNull(dhcp_latency, -1)), '|',"
    " toString(ifNull(failure_code, -1)))",
    "connection_logs": "concat(ifNull(network_name, ''), '|', toString(ifNull(inbytes, -1)), '|',"
    " toString(ifNull(outbytes, -1)))",
    "device_logs": "concat(device_id, '|', ifNull(old_value, ''), '|', ifNull(new_value, ''), '|',"
    " toString(toUnixTimestamp64Micro(event_time)))",
}
"""The SQL expression that gives a row's text."""


class Made(NamedTuple):
    body: bytes  # JSON
    text: str


def make(
    stream: Stream,
    number: int,
    now: int,
    random: Random,
    *,
    bad: bool,
    with_id: bool = False,
    clock_days: int = 0,
) -> Made:
    """Event `number`, at `now` (µs) by our clock. A bad one is well-formed and has an invalid value. With
    `clock_days` device clocks are anything up to so many days behind."""
    if clock_days:
        now -= random.randrange(clock_days) * DAY
    event, text = _event(stream, number, now, random, bad)
    if with_id:
        event["event_id"] = f"chaos-{number}"
    return Made(json.dumps(event | {FIELD: number}).encode(), text)


def _event(stream: Stream, number: int, now: int, random: Random, bad: bool) -> tuple[dict[str, Any], str]:
    at = now + random.choice(CLOCKS) - random.randrange(60_000_000)
    if stream == "client_events":
        return _client_event(at, random, bad)
    if stream == "connection_logs":
        return _connection_log(random, bad)
    return _device_log(number, at, random, bad)


def _client_event(at: int, random: Random, bad: bool) -> tuple[dict[str, Any], str]:
    mac = f"02:00:00:00:{random.randrange(4):02x}:{random.randrange(256):02x}"
    channel = random.choice((1, 6, 11, 36, 149))
    latency, code = random.randrange(5000), -1
    event: dict[str, Any] = {
        "macAddress": mac,
        "eventType": "Success",
        "timestamp": at,
        "channel": 1000 if bad else channel,
        "ssid": f"net-{random.randrange(3)}",
        "dhcpLatency": latency,
    }
    if random.random() < 0.2:
        latency, code = -1, random.choice((7, 8, 901))
        del event["dhcpLatency"]
        event |= {"eventType": "Failure", "failureCode": code, "failure": "Incorrect PSK"}
    return event, f"{mac}|{channel}|{at}|{latency}|{code}"


def _connection_log(random: Random, bad: bool) -> tuple[dict[str, Any], str]:
    name, read, written = f"net-{random.randrange(5)}", random.randrange(1 << 30), random.randrange(1 << 20)
    event = {
        "network_type": "zz" if bad else "wi",
        "network_security": "wp2",
        "network_name": name,
        "inbytes": read,
        "outbytes": written,
    }
    return event, f"{name}|{read}|{written}"


def _device_log(number: int, at: int, random: Random, bad: bool) -> tuple[dict[str, Any], str]:
    device, old, new = f"device-{random.randrange(200)}", str(number), str(random.randrange(1 << 30))
    moment = datetime.fromtimestamp(at / 1_000_000, UTC).replace(microsecond=at % 1_000_000)
    event = {
        "datetime": "soon" if bad else moment.isoformat().replace("+00:00", "Z"),
        "parent": {"id": device},
        "action": "config_change",
        "old_value": old,
        "new_value": new,
    }
    return event, f"{device}|{old}|{new}|{round(moment.timestamp() * 1_000_000)}"
