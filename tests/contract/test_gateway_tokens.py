"""Tokens and rates of a running gateway: the file changes under it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from gateways import CLIENT_EVENTS, GatewayProcess, running_gateway
from waiting import await_

import builders
from tidegate.local.broker import Broker


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


eventually = partial(await_, seconds=10.0)


def status(gateway: GatewayProcess, token: str) -> int:
    return gateway.post(CLIENT_EVENTS, builders.success(), token=token).status_code


def test_a_new_token_works_and_a_revoked_one_does_not(gateway: GatewayProcess) -> None:
    token = gateway.tokens.create("short-lived", fleet="other", role="ingest")
    eventually(lambda: status(gateway, token) == 201)
    answer = gateway.post(CLIENT_EVENTS, [builders.success()], token=token)
    assert gateway.lines(*answer.json()["ids"])[0]["fleet"] == "other"
    gateway.tokens.revoke("short-lived")
    eventually(lambda: status(gateway, token) == 401)
    assert status(gateway, gateway.token["ingest"]) == 201  # type: ignore[index]


def test_a_broken_file_leaves_the_tokens_in_force(gateway: GatewayProcess) -> None:
    path: Path = gateway.tokens.path
    good = path.read_bytes()
    path.write_bytes(b'{"tokens": [')
    time.sleep(1.0)
    assert status(gateway, gateway.token["ingest"]) == 201  # type: ignore[index]
    path.write_bytes(good)


def test_a_fleet_in_a_body_is_no_fleet(gateway: GatewayProcess) -> None:
    answer = gateway.post(CLIENT_EVENTS, [builders.success(fleet="other")])
    assert gateway.lines(*answer.json()["ids"])[0]["fleet"] == "demo"


def test_a_token_over_its_rate_is_429_with_retry_after(gateway: GatewayProcess) -> None:
    token = gateway.tokens.create("slow", fleet="demo", role="ingest", rate_events_per_second=5)
    eventually(lambda: status(gateway, token) == 201)
    time.sleep(1.1)
    taken: list[httpx.Response] = []
    over: list[httpx.Response] = []
    while not over:
        answer = gateway.post(CLIENT_EVENTS, builders.success(), token=token)
        assert answer.status_code in (201, 429)
        (taken if answer.status_code == 201 else over).append(answer)
    assert len(taken) >= 5
    assert taken[0].headers["ratelimit-policy"] == '"events";q=5;w=1'
    assert taken[0].headers["ratelimit"].startswith('"events";r=4;')
    answer = over[0]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "rate_limited"
    assert answer.headers["ratelimit"].startswith('"events";r=0;')
    time.sleep(int(answer.headers["retry-after"]))
    assert status(gateway, token) == 201
    assert status(gateway, gateway.token["ingest"]) == 201  # type: ignore[index]


def test_a_batch_counts_its_events_and_may_exceed_the_burst_once(gateway: GatewayProcess) -> None:
    token = gateway.tokens.create("batches", fleet="demo", role="ingest", rate_events_per_second=10)
    eventually(lambda: status(gateway, token) == 201)
    time.sleep(1.1)
    batch = [builders.success()] * 610
    assert gateway.post(CLIENT_EVENTS, batch, token=token).status_code == 201
    answer = gateway.post(CLIENT_EVENTS, batch, token=token)
    assert answer.status_code == 429
    assert 30 < int(answer.headers["retry-after"]) <= 61  # the debt of a minute, less what went by


def test_bytes_are_limited_too(gateway: GatewayProcess) -> None:
    token = gateway.tokens.create("thin", fleet="demo", role="ingest", rate_bytes_per_second=2000)
    body = json.dumps([builders.success()] * 4).encode()
    answers: list[httpx.Response] = []

    def limited() -> bool:
        answers.append(gateway.post(CLIENT_EVENTS, body, token=token))
        return answers[-1].status_code == 429

    eventually(limited)
    assert '"bytes"' in answers[-1].headers["ratelimit"]
