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
