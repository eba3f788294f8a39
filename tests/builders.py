"""Events for tests, in the documents' spelling. Each builder takes what a test wants to differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidegate.contracts.frames import envelope_line, envelope_prefix

SAMPLES = Path(__file__).parent / "samples"
RECEIVED_AT = 1_763_712_000_000_000  # 2025-11-21 08:00:00 UTC, µs


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def _with(event: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return event | fields


def network_log(**fields: Any) -> dict[str, Any]:
    return _with(sample("app_connection_log.request"), fields)


def session_log(**fields: Any) -> dict[str, Any]:
    return _with(sample("app_connection_event.request"), fields)


def legacy_log(**fields: Any) -> dict[str, Any]:
    """The older body, outside of its wrapper."""
    return _with(json.loads(sample("app_connection_event.legacy_request")["data"]), fields)


def wrapped(event: dict[str, Any]) -> dict[str, Any]:
    return {"data": json.dumps(event)}


def success(**fields: Any) -> dict[str, Any]:
    return _with(sample("client_events.response")["clientEvents"][1], fields)


def failure(**fields: Any) -> dict[str, Any]:
    return _with(sample("client_events.response")["clientEvents"][2], fields)


def intermediate(**fields: Any) -> dict[str, Any]:
    return _with(sample("client_events.response")["clientEvents"][0], fields)


FAILURES: dict[str, tuple[int, str, int, str]] = {
    "association": (901, "Association Failure", 17, "Access point is full: too many stations."),
    "authentication": (8, "EAPOL Handshake Failure", 41, "Maximum retries for 3/4 msg reached."),
    "aaa": (902, "RADIUS Failure", 1, "RADIUS server did not respond."),
    "dhcp": (903, "DHCP Failure", 2, "DHCP server did not respond."),
    "dns": (904, "DNS Failure", 1, "DNS server did not respond."),
}
"""By stage: code, text, sub code and its text."""


def connected(end: int, took: int, **fields: Any) -> dict[str, Any]:
    """A success at `end` (ms since 1970), `took` ms behind its association."""
    times = {
        "associationTimestamp": end - took,
        "authenticationTimestamp": end - took // 2,
        "networkTimestamp": end,
    }
    return success(**times | fields)


def failed_at(stage: str, end: int, took: int, **fields: Any) -> dict[str, Any]:
    """A failure of a stage, at `end` (ms since 1970), `took` ms behind its association."""
    code, text, sub_code, sub_text = FAILURES[stage]
    failure_ = {"failureCode": code, "failure": text, "subFailureCode": sub_code, "subFailure": sub_text}
    times = {
        "associationTimestamp": end - took,
        "authenticationTimestamp": end,
        "networkTimestamp": end,
    }
    return failure(**failure_ | times | fields)


def device_log(**fields: Any) -> dict[str, Any]:
    return _with(sample("inventory_device_log.detail"), fields)


def body(event: Any) -> bytes:
    return json.dumps(event).encode("utf-8")


def envelope(
    event: Any,
    *,
    fleet: str = "demo",
    received_at: int = RECEIVED_AT,
    device: str | None = None,
    origin: str = "",
) -> bytes:
    """One line of a raw frame."""
    line = event if isinstance(event, bytes) else body(event)
    return envelope_line(envelope_prefix(fleet, received_at, device, origin=origin), line)


def frame(*events: Any, fleet: str = "demo", received_at: int = RECEIVED_AT) -> bytes:
    """A raw frame of envelopes."""
    return b"\n".join(envelope(event, fleet=fleet, received_at=received_at) for event in events)
