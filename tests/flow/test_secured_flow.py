"""The whole flow on Apache Kafka with TLS, SCRAM and ACLs, each role as a user of its own.

One broker, and three that keep everything thrice, one of which is killed under load.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import control_key
import httpx
import pytest
import roles
from confluent_kafka import KafkaError, Producer
from databases import settings_of
from secured_kafka import SecuredKafka
from waiting import await_

from tidegate.kafka import topics
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

pytestmark = pytest.mark.kafka
SECONDS = 200.0
BODY = {"network_type": "wi", "network_security": "wp2", "network_name": "Office"}


class Place:
    """Gateway, worker and sink on a secured Kafka."""

    def __init__(self, kafka: SecuredKafka, clickhouse: ClickHouseServer, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        store = settings_of(clickhouse)
        copies = len(kafka.nodes)
        self._common: dict[str, Any] = {
            "data_dir": str(folder),
            "control_key_file": os.environ[control_key.VARIABLE],
            "clickhouse_url": store.clickhouse_url,
            "clickhouse_database": store.clickhouse_database,
            "kafka_partitions": 2,
            "kafka_replication": copies,
            "gateway_listen": self.url.removeprefix("http://"),
            "worker_listen": f"127.0.0.1:{free_port()}",
            "sink_listen": f"127.0.0.1:{free_port()}",
        }
        kafka.allow()
        operator = Settings(**self.values("operator"))
        await_(lambda: topics.ensure_topics(operator).epoch, seconds=SECONDS)
        with connect(operator, database="") as admin:
            migrate(admin, operator)
        self.client = connect(operator)
        self.group = operator.sink_group
        tokens = TokenFile(folder / "tokens.json")
        self.token = tokens.create("one", fleet="demo", role="ingest", rate_events_per_second=1e9)
        self.roles = {name: self._role(name) for name in ("gateway", "worker", "sink")}

    def values(self, user: str) -> dict[str, Any]:
        return {**self._common, **self.kafka.settings(user)}

    def _role(self, name: str) -> Child:
        return roles.role(name, self.folder, self.values(name))

    def start(self) -> None:
        for child in self.roles.values():
            child.start()
        await_(lambda: self.post(1), self.tails, SECONDS)

    def stop(self) -> None:
        for child in self.roles.values():
            child.stop(30)
        self.client.close()

    def tails(self) -> str:
        return "\n".join(f"--- {name}\n{child.tail()}" for name, child in self.roles.items())

    def tend(self) -> None:
        """Start roles that have ended again, as whatever runs them does: a worker that loses its broker while
        it starts ends for that."""
        for child in self.roles.values():
            if not child.running:
                child.start()

    def ready(self) -> bool:
        self.tend()
        return all(
            roles.get(self._common[f"{name}_listen"], "/readyz")[0] == 200 for name in ("worker", "sink")
        )

    def post(self, count: int) -> list[str]:
        """Send a batch; the ids of what was acknowledged."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson"}
        body = "\n".join(json.dumps({**BODY, "network_name": f"n{number}"}) for number in range(count))
        try:
            answer = httpx.post(
                f"{self.url}/api/v1/device_app_connection_log/", content=body, headers=headers, timeout=30.0
            )
        except httpx.HTTPError:
            return []
        return list(answer.json()["ids"]) if answer.status_code == 201 else []

    def stored(self) -> list[str]:
        return [str(row[0]) for row in self.client.query("SELECT id FROM connection_logs").result_rows]


@pytest.fixture
def one(tmp_path: Path, clickhouse: ClickHouseServer, kafka_is_here: None) -> Iterator[Place]:
    yield from _place(SecuredKafka(tmp_path / "kafka"), clickhouse, tmp_path)


@pytest.fixture
def three(tmp_path: Path, clickhouse: ClickHouseServer, kafka_is_here: None) -> Iterator[Place]:
    yield from _place(SecuredKafka(tmp_path / "kafka", nodes=3), clickhouse, tmp_path)


def _place(kafka: SecuredKafka, clickhouse: ClickHouseServer, folder: Path) -> Iterator[Place]:
    try:
        kafka.start()
        place = Place(kafka, clickhouse, folder)
        try:
            place.start()
            yield place
        finally:
            place.stop()
    finally:
        kafka.stop()


@pytest.mark.timeout(900)
def test_events_pass_with_a_user_for_each_role(one: Place) -> None:
    sent = 1 + sum(len(one.post(500)) for _ in range(4))
    assert sent == 2001
    await_(lambda: len(one.stored()) == sent, one.tails, SECONDS)
    report = roles.assert_verified(one.values("operator"), seconds=SECONDS)
    assert report["findings"] == []
    # What a user is not allowed it cannot do: the sink's writes no frame.
    refused: list[Any] = []
    producer = Producer({**one.kafka.client("sink"), "log_level": 0})
    producer.produce(
        "tidegate.connection_logs.enriched", b"x", on_delivery=lambda error, _: refused.append(error)
    )
    producer.flush(SECONDS)
    assert [error.code() for error in refused] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


@pytest.mark.timeout(900)
def test_a_broker_killed_under_load_loses_nothing(three: Place) -> None:
    """The killed one leads partitions and coordinates the sink's group: worker and sink lose both."""
    await_(three.ready, three.tails, SECONDS)
    acknowledged: list[str] = []
    for _ in range(8):
        acknowledged += three.post(200)
    assert len(acknowledged) == 8 * 200
    three.kafka.coordinator(three.group).kill()
    goal = len(acknowledged) + 8 * 200

    def posted() -> bool:
        three.tend()
        acknowledged.extend(three.post(200))
        return len(acknowledged) >= goal

    await_(posted, three.tails, SECONDS)

    def arrived() -> bool:
        three.tend()
        return {*three.stored()} >= {*acknowledged}

    await_(arrived, three.tails, SECONDS)
    stored = three.stored()
    assert len(stored) == len({*stored})
    roles.assert_verified(three.values("operator"), seconds=SECONDS)
