"""Kafka clients of other makers, with their default settings, on both brokers.

On the embedded one behind a whole `tidegate up`: what they produce is stored, each event once.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from raw_topics import committed_records
from up_rig import Up, await_, running

from clients import programs
from clients.programs import BROKERS, CLIENTS, Client, works
from tidegate.contracts.topics import raw
from tidegate.local.broker import Broker

pytestmark = pytest.mark.timeout(1200)

EVENTS = 4
EMBEDDED, KAFKA = BROKERS
EACH = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.program)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("clients"), "--simulate", "0") as found:
        yield found


@EACH
def test_at_the_embedded_broker(client: Client, up: Up) -> None:
    topic = raw("connection_logs")
    sent: list[str] = []
    for action in ("produce", *client.actions):
        values = events(client, action)
        done = programs.run(client, action, up.listens["kafka"], topic, name(client), *values)
        if works(action, EMBEDDED):
            assert done.returncode == 0, done.stderr
            sent += values
        else:
            assert done.returncode != 0, "a transaction whose abort would hide nothing"
            assert re.search("unsupported|not support", done.stderr, re.IGNORECASE), done.stderr
    # A group on a topic of its own: kafkajs cannot read the compression that others write by default.
    own, values = create(up.listens["kafka"]), events(client, "consume")
    done = programs.run(client, "produce", up.listens["kafka"], own, name(client), *values)
    assert done.returncode == 0, done.stderr
    done = programs.run(client, "consume", up.listens["kafka"], own, name(client), *values)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")[:-1]) == sorted(values), done.stderr
    wanted = sorted(json.loads(value)["network_name"] for value in sent)
    query = (
        "SELECT network_name FROM tidegate.connection_logs"
        f" WHERE startsWith(network_name, '{client.program} ') ORDER BY network_name"
    )
    await_(lambda: up.sql(query).splitlines() == wanted, up.said)


@EACH
@pytest.mark.kafka
def test_at_apache_kafka(client: Client, apache_kafka: Broker) -> None:
    """What the worker would read of it: all that was produced, and nothing of an aborted transaction."""
    topic = create(apache_kafka.bootstrap)
    expected: list[str] = []
    for action in ("produce", *client.actions):
        values = events(client, action)
        done = programs.run(client, action, apache_kafka.bootstrap, topic, name(client), *values)
        assert works(action, KAFKA) and done.returncode == 0, done.stderr
        expected += values[: EVENTS // 2] if action == "transactions" else values
    done = programs.run(client, "consume", apache_kafka.bootstrap, topic, name(client), *expected)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")[:-1]) == sorted(expected)
    found = [(record.value() or b"").decode() for record in committed_records(apache_kafka.bootstrap, topic)]
    assert found == expected


def test_the_table_of_the_docs(repository: Path) -> None:
    assert programs.table() in (repository / "docs" / "topics.md").read_text(encoding="utf-8")


def create(bootstrap: str) -> str:
    """A new topic of one partition."""
    topic = f"clients-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(60)
    return topic


def name(client: Client) -> str:
    """A group of its own, or a transactional id."""
    return f"{client.program}-{time.time_ns()}"


def events(client: Client, action: str) -> list[str]:
    names = [f"{client.program} {action} {number}" for number in range(EVENTS)]
    return [
        json.dumps({"network_type": "et", "network_security": "opn", "network_name": one}) for one in names
    ]
