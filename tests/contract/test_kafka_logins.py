"""Each way to log in at a broker, by each client that Tidegate has: librdkafka's, aiokafka's and Faust's."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import control_key
import pytest
from aiohttp import web
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from secured_kafka import OTHER_MECHANISMS, SecuredKafka, password, pkcs8

from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection, connection
from tidegate.kafka.oauth import Tokens
from tidegate.preflight.condition import State
from tidegate.preflight.kafka_login import inspect_login
from tidegate.settings import Settings
from tidegate.worker.faust_app import credentials

SECRET = "a secret: with + and %"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, kafka_is_here: None) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(tmp_path_factory.mktemp("logins"))
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


class TokenServer:
    """Gives each client of the right secret an unsigned JWT of `seconds`, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.seconds = 3600
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers["Authorization"], (await request.text())))
        if request.headers["Authorization"] != "Basic " + _base64(b"admin:a+secret%3A+with+%2B+and+%25"):
            return web.json_response({"error": "invalid_client"}, status=401)
        now = int(time.time())
        claims = {"sub": "admin", "iat": now, "exp": now + self.seconds}
        token = ".".join((_part({"alg": "none"}), _part(claims), ""))
        return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": self.seconds})


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode("ascii")


@pytest.fixture
async def token_server() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    app = web.Application()
    app.router.add_post("/token", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        yield server
    finally:
        await runner.cleanup()


def settings(kafka: SecuredKafka, **changed: Any) -> Settings:
    values = {**kafka.settings("admin"), "control_key_file": os.environ[control_key.VARIABLE], **changed}
    return Settings(**values)


async def brokers_seen(options: dict[str, Any]) -> int:
    client = AIOKafkaClient(**options)
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    finally:
        await client.close()


async def logs_in(found: Connection) -> None:
    """By aiokafka, and by what Faust makes of its credentials for aiokafka."""
    assert await brokers_seen(found.aiokafka()) == 1
    by_faust = credentials_to_aiokafka_auth(credentials(found), None)
    assert await brokers_seen({"bootstrap_servers": found.bootstrap, **by_faust}) == 1


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", [each for each in OTHER_MECHANISMS if each != "OAUTHBEARER"])
async def test_a_password_by_each_mechanism(kafka: SecuredKafka, mechanism: str) -> None:
    good = settings(kafka, kafka_bootstrap=kafka.others, kafka_sasl_mechanism=mechanism)
    [condition] = inspect_login(connection(good))
    assert condition.state is State.OK, condition
    await logs_in(connection(good))
    bad = connection(dataclasses.replace(good, kafka_sasl_password=password("another")))
    [condition] = inspect_login(bad)
    assert condition.state is State.WRONG and "refuses user admin" in condition.what
    with pytest.raises(KafkaError):
        await brokers_seen(bad.aiokafka())


@pytest.mark.kafka
async def test_a_certificate_of_the_client(kafka: SecuredKafka, tmp_path: Path) -> None:
    mine = kafka.authority.issue_cert("worker.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    key.write_bytes(pkcs8(mine.private_key_pem.bytes()))
    without = Settings(
        kafka_bootstrap=kafka.certified, kafka_security_protocol="SSL", kafka_ca_file=kafka.ca_file
    )
    found = connection(dataclasses.replace(without, kafka_cert_file=str(cert), kafka_key_file=str(key)))
    [condition] = inspect_login(found)
    assert condition.state is State.OK, condition
    await logs_in(found)
    [condition] = inspect_login(connection(without))
    assert condition.state is State.WRONG, condition
    with pytest.raises(KafkaError):
        await brokers_seen(connection(without).aiokafka())


@pytest.mark.kafka
async def test_a_token_of_an_identity_provider(kafka: SecuredKafka, token_server: TokenServer) -> None:
    found = connection(
        settings(
            kafka,
            kafka_bootstrap=kafka.others,
            kafka_sasl_mechanism="OAUTHBEARER",
            kafka_sasl_password=SECRET,
            kafka_oauth_token_url=token_server.url,
            kafka_oauth_scope="kafka",
        )
    )
    [condition] = await asyncio.to_thread(lambda: list(inspect_login(found)))
    assert condition.state is State.OK, (condition, token_server.asked)
    await logs_in(found)
    assert token_server.asked[0][1] == "grant_type=client_credentials&scope=kafka"


async def test_a_token_is_kept_while_it_holds(token_server: TokenServer) -> None:
    given = {"token_url": token_server.url, "client_id": "admin", "scope": ""}
    tokens = Tokens(client_secret=SECRET, **given)
    assert await tokens.token() == await tokens.token()
    assert len(token_server.asked) == 1
    token_server.seconds = 0
    hurried = Tokens(client_secret=SECRET, **given)
    await hurried.token()
    await hurried.token()
    assert len(token_server.asked) == 3
    with pytest.raises(RetryLater, match="kafka_oauth_token_url answers 401"):
        await Tokens(client_secret="another", **given).token()
