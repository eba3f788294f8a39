"""What a connector delivers to a gateway, whatever its size."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from gateways import GatewayProcess, running_gateway

from builders import success
from tidegate.connectors.gateway_client import GatewayClient, Refusal
from tidegate.local.broker import Broker
from tidegate.tokens import Role

MOST = 8192  # bytes of a body


def deliver(gateway: GatewayProcess, events: list[dict[str, Any]], key: str = "") -> list[Refusal]:
    settings = dataclasses.replace(
        gateway.settings, connect_gateway_url=gateway.url, connect_token=gateway.token[Role.INGEST]
    )

    async def once() -> list[Refusal]:
        client = GatewayClient(settings)
        try:
            return await client.deliver("client_events", events, key=key)
        finally:
            client.close()

    return asyncio.run(once())


def accepted(gateway: GatewayProcess) -> float:
    name = 'tidegate_gateway_events_total{stream="client_events"} '
    lines = gateway.client.get("/metrics").text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


@pytest.mark.parametrize("own_broker", ["embedded"], indirect=True)
def test_what_is_too_large_for_one_request_goes_in_several(own_broker: Broker, tmp_path: Path) -> None:
    """The gateway answered 413, for ever: nothing behind it was delivered any more."""
    with running_gateway(own_broker.bootstrap, tmp_path, gateway_max_body_bytes=MOST) as gateway:
        for key in ("", "a-batch"):
            in_several(gateway, key)


def in_several(gateway: GatewayProcess, key: str) -> None:
    name = key or "none"
    events = [success(ssid=f"{name} {number}", event_id=f"{name}-{number}") for number in range(70)]
    events[3]["macAddress"] = "nobody"
    events[50]["macAddress"] = "nobody"
    events[60]["notes"] = "x" * MOST
    before = accepted(gateway)
    refused = deliver(gateway, events, key)
    assert [(one.index, one.code, one.path) for one in refused] == [
        (3, "bad_format", "macAddress"),
        (50, "bad_format", "macAddress"),
        (60, "too_large", ""),
    ]
    assert accepted(gateway) - before == 67
    assert deliver(gateway, events, key) == refused
    assert accepted(gateway) - before == 67 or not key  # without a key the worker tells them by event_id
