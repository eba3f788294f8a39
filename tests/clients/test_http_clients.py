"""HTTP clients of other makers at the gateway, with their default settings.

Each posts on a kept connection: an event, a batch, another event, and a batch of more than one packet. A
relay between shows that they did. What they were told is in the raw topic is there as it was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gateways
import pytest
from gateways import CONNECTION_LOGS, GatewayProcess
from toolchains import is_old

from clients.programs import HTTP_CLIENTS, HttpClient, http_clients, post
from clients.relay import relay
from tidegate.local.broker import Broker
from tidegate.tokens import Role

pytestmark = pytest.mark.timeout(1200)

UPGRADE = re.compile(rb"\r\nconnection:[^\r]*upgrade[^\r]*\r\n", re.IGNORECASE)
ASK_FOR_HTTP2 = ("HttpPosts", "curl")


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateways.running_gateway(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.mark.parametrize("client", HTTP_CLIENTS, ids=lambda client: client.program)
def test_an_http_client(client: HttpClient, gateway: GatewayProcess, tmp_path: Path) -> None:
    sent: list[Any] = [
        event(client, 0),
        [event(client, number) for number in range(1, 4)],
        event(client, 4),
        [event(client, number) for number in range(5, 1505)],
    ]
    bodies = [json.dumps(content, ensure_ascii=False).encode() for content in sent]
    address = urlsplit(gateway.url)
    assert address.hostname is not None and address.port is not None
    with relay(address.hostname, address.port) as between:
        url = f"http://127.0.0.1:{between.port}{CONNECTION_LOGS}"
        answers = post(client, url, gateway.token[Role.INGEST], bodies, tmp_path)
    assert [answer.status for answer in answers] == [201] * len(sent), answers
    assert len(between.sent) <= client.connections
    upgrades = any(UPGRADE.search(connection) for connection in between.sent)
    assert upgrades == (client.program in ASK_FOR_HTTP2)
    for content, answer in zip(sent, answers, strict=True):
        if isinstance(content, list):
            ids, events = answer.body["ids"], content
        else:
            ids, events = [answer.location.removeprefix("/api/v1/events/")], [content]
            assert answer.body.items() >= content.items()
        assert [line["event"] for line in gateway.lines(*ids)] == events


def event(client: HttpClient, number: int) -> dict[str, str]:
    name = f"{client.program} café {number}"
    return {"network_type": "wi", "network_security": "wp2", "network_name": name}


def test_the_sentence_of_the_docs(repository: Path) -> None:
    text = (repository / "docs" / "gateway.md").read_text(encoding="utf-8")
    assert http_clients() in " ".join(text.split())


def test_go_that_cannot_fetch_another_is_told_apart() -> None:
    assert is_old("go1.19.8") and is_old("go1.20") and is_old("") and is_old("devel")
    assert not is_old("go1.21.0") and not is_old("go1.26.8")
