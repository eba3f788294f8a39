"""A gateway process for tests, its tokens, and a look at what it wrote into the log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import control_key
import httpx
import metrics
import roles
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate import settings
from tidegate.contracts.position import Position, parse_id
from tidegate.contracts.topics import Stream, TopicPartition, raw
from tidegate.kafka import topics
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import log_ends
from tidegate.local.child import free_port
from tidegate.tokens import Role, TokenFile

CONNECTION_LOGS = "/api/v1/device_app_connection_log/"
CLIENT_EVENTS = "/api/v1/client_events/"
DEVICE_LOGS = "/api/v1/inventory_device_log/"
ROUTES: dict[Stream, str] = {
    "connection_logs": CONNECTION_LOGS,
    "client_events": CLIENT_EVENTS,
    "device_logs": DEVICE_LOGS,
}


class GatewayProcess:
    """`tidegate gateway` on a free port, with a token of each role for fleet `demo`."""

    def __init__(self, bootstrap: str, folder: Path, **values: object) -> None:
        self.bootstrap = bootstrap
        self.url = f"http://127.0.0.1:{free_port()}"
        self.tokens = TokenFile(folder / "tokens.json")
        self.token = {role: self.tokens.create(role, fleet="demo", role=role) for role in Role}
        self.values: dict[str, object] = {
            "kafka_bootstrap": bootstrap,
            "gateway_listen": self.url.removeprefix("http://"),
            "data_dir": str(folder),
            "control_key_file": os.environ[control_key.VARIABLE],
            **values,
        }
        self.child = roles.role("gateway", folder, self.values)
        self.client = httpx.Client(base_url=self.url, timeout=30.0)

    @property
    def settings(self) -> settings.Settings:
        return settings.load({}, overrides=self.values)

    def start(self, *, ready: bool = True) -> GatewayProcess:
        self.child.start()
        self.await_status("/readyz" if ready else "/healthz", 200)
        return self

    def stop(self) -> int | None:
        self.client.close()
        return self.child.stop(30.0)

    def await_status(self, path: str, status: int, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        found: object = None
        while time.monotonic() < deadline:
            assert self.child.running, self.child.tail()
            try:
                found = self.client.get(path).status_code
            except httpx.TransportError as error:
                found = error
            if found == status:
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} is {found}, not {status}:\n{self.child.tail()}")

    def post(
        self,
        path: str,
        content: Any,
        *,
        role: str = "ingest",
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Post bytes as they are, anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {
            "authorization": f"Bearer {token or self.token[Role(role)]}",
            "content-type": "application/json",
        }
        return self.client.post(path, content=body, headers=sent | (headers or {}))

    def lines(self, *ids: str) -> list[dict[str, Any]]:
        """The envelopes in the raw topics that ids name, in their order."""
        return read_lines(self.bootstrap, *ids)


@contextmanager
def running_gateway(bootstrap: str, folder: Path, **values: object) -> Iterator[GatewayProcess]:
    """A ready gateway on a broker whose topics are made; it must end cleanly."""
    prepare_topics(bootstrap)
    process = GatewayProcess(bootstrap, folder, **values).start()
    yield process
    assert process.stop() == 0, process.child.tail()


def prepare_topics(bootstrap: str) -> str:
    """Create the topics; the epoch."""
    return topics.ensure_topics(
        settings.load(
            {}, overrides={"kafka_bootstrap": bootstrap, "control_key_file": os.environ[control_key.VARIABLE]}
        )
    ).epoch


def read_lines(bootstrap: str, *ids: str) -> list[dict[str, Any]]:
    frames: dict[tuple[Stream, int, int], list[bytes]] = {}
    found = []
    consumer = _consumer(bootstrap)
    try:
        for id in ids:
            position = parse_id(id)
            assert isinstance(position, Position), id
            record = (position.stream, position.partition, position.offset)
            if record not in frames:
                partition = KafkaPartition(raw(position.stream), position.partition, position.offset)
                consumer.assign([partition])
                frames[record] = _next(consumer).split(b"\n")
            found.append(json.loads(frames[record][position.index]))
    finally:
        consumer.close()
    return found


def read_headers(bootstrap: str, id: str) -> dict[str, bytes]:
    """The headers of the raw record that an id names."""
    at = position(id)
    consumer = _consumer(bootstrap)
    try:
        consumer.assign([KafkaPartition(raw(at.stream), at.partition, at.offset)])
        message = consumer.poll(10)
        assert message is not None and message.error() is None, message and message.error()
        return dict(message.headers() or [])
    finally:
        consumer.close()


def read_all(
    bootstrap: str, stream: Stream, partitions: int = 4
) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Every envelope of a raw topic by partition, offset and index."""
    found = {}
    ends = log_ends(
        Connection(bootstrap), [TopicPartition(raw(stream), number) for number in range(partitions)]
    )
    consumer = _consumer(bootstrap)
    try:
        for (_, number), (low, high) in ends.items():
            consumer.assign([KafkaPartition(raw(stream), number, low)])
            while low < high:
                message = consumer.poll(10)
                assert message is not None and message.error() is None
                low = message.offset() + 1
                for index, line in enumerate(message.value().split(b"\n")):
                    found[number, message.offset(), index] = json.loads(line)
    finally:
        consumer.close()
    return found


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "look",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )


def _next(consumer: Consumer) -> bytes:
    message = consumer.poll(10)
    assert message is not None and message.error() is None, message and message.error()
    value: bytes = message.value()
    return value


def position(id: str) -> Position:
    found = parse_id(id)
    assert found is not None, id
    return found


def total(gateway: GatewayProcess, metric: str) -> float:
    """The sum of a metric over its labels."""
    return metrics.total(gateway.client.get("/metrics").text, metric)
