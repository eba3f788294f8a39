"""A connector's batches beside a real gateway: what it refuses as a whole holds up no other event."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from conftest import running_broker
from gateways import GatewayProcess, read_all, running_gateway

from tidegate import settings
from tidegate.connectors.gateway_client import GatewayClient, Refusal
from tidegate.tokens import Role

BODY_BYTES = 65_536
EVENTS = 20  # of one request


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    limits: dict[str, object] = {"gateway_max_body_bytes": BODY_BYTES, "gateway_max_batch_events": EVENTS}
    with (
        running_broker("embedded", tmp_path_factory.mktemp("broker")) as broker,
        running_gateway(broker.bootstrap, tmp_path_factory.mktemp("gateway"), **limits) as one,
    ):
        yield one


def event(mark: str, number: int, **fields: Any) -> dict[str, Any]:
    return {
        "macAddress": "02:00:00:00:00:01",
        "timestamp": int(time.time()),
        "eventType": "Success",
        "event_id": f"{mark}-{number}",
        "seen": {"mark": mark, "number": number},
        **fields,
    }


def nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def deliver(gateway: GatewayProcess, events: list[dict[str, Any]], *, key: str = "") -> list[Refusal]:
    """Twice, as where the first answer was lost."""

    async def both() -> list[Refusal]:
        client = GatewayClient(
            settings.load(
                {},
                overrides={"connect_gateway_url": gateway.url, "connect_token": gateway.token[Role.INGEST]},
            )
        )
        try:
            first = await client.deliver("client_events", events, key=key)
            assert await client.deliver("client_events", events, key=key) == first
            assert not client.problem, "the gateway is there"
        finally:
            client.close()
        return first

    return asyncio.run(both())


def taken(gateway: GatewayProcess, mark: str) -> list[int]:
    """The numbers of the events of a mark that are in the log."""
    found = read_all(gateway.bootstrap, "client_events").values()
    seen = [envelope["event"].get("seen", {}) for envelope in found]
    return sorted(one["number"] for one in seen if one.get("mark") == mark)


@pytest.mark.parametrize("key", ["", "key"])
def test_more_than_a_request_may_hold_goes_in_several(gateway: GatewayProcess, key: str) -> None:
    mark = uuid.uuid4().hex
    many = [event(mark, number) for number in range(3 * EVENTS)]
    large = [event(mark, number, noise="\x01" * 2000) for number in range(3 * EVENTS, 4 * EVENTS)]
    assert len(msgspec.json.encode(large)) > 3 * BODY_BYTES
    for events in (many, large):
        assert deliver(gateway, events, key=key and uuid.uuid4().hex) == []
    assert sorted(set(taken(gateway, mark))) == list(range(4 * EVENTS))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param({"noise": "x" * BODY_BYTES}, "too_large", id="longer than a body"),
        pytest.param({"noise": nested(980)}, "not_json", id="as deep as can just be written"),
        pytest.param({"noise": nested(3000)}, "not_json", id="deeper than can be written"),
    ],
)
@pytest.mark.parametrize("key", ["", "key"])
def test_one_event_holds_up_no_others(
    gateway: GatewayProcess, bad: dict[str, Any], code: str, key: str
) -> None:
    mark = uuid.uuid4().hex
    events = [event(mark, number) for number in range(9)]
    events[5] |= bad
    events[7]["macAddress"] = "nobody"
    refused = deliver(gateway, events, key=key and uuid.uuid4().hex)
    assert [(one.index, one.code) for one in refused] == [(5, code), (7, "bad_format")]
    assert all(one.detail or one.allowed for one in refused)
    assert sorted(set(taken(gateway, mark))) == [0, 1, 2, 3, 4, 6, 8]
