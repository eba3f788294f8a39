"""Both brokers that `tidegate up` can start: they start, hold records, stop, and say why they cannot."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import running_broker

from tidegate.errors import UsageError
from tidegate.local.broker import Broker, EmbeddedBroker, answers
from tidegate.local.child import free_port
from tidegate.local.kafka import KafkaBroker


def test_answers(broker: Broker) -> None:
    assert answers(broker.bootstrap, 5.0)
    assert not answers(f"127.0.0.1:{free_port()}")


def test_large_records_come_back(broker: Broker) -> None:
    topic = f"large-{uuid.uuid4()}"
    create(broker, topic)
    value = bytes(5_000_000)
    produce(broker, topic, value)
    assert read(broker, topic) == [value]


def test_a_taken_port_is_named(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kafka_listen: cannot listen on"):
        EmbeddedBroker(broker.bootstrap, tmp_path / "log").start()


def test_embedded_broker_leaves_nothing(tmp_path: Path) -> None:
    broker = EmbeddedBroker(f"127.0.0.1:{free_port()}", tmp_path / "log")
    for _ in range(2):
        broker.start()
        create(broker, "t")  # not there any more the second time
        pid = broker.child.pid
        broker.stop()
        assert pid is not None and not psutil.pid_exists(pid)


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_apache_kafka_keeps_its_records(tmp_path: Path, number: signal.Signals) -> None:
    with running_broker("kafka", tmp_path) as broker:
        create(broker, "t")
        produce(broker, "t", b"kept")
        broker.child.signal(number)
        broker.child.wait(30)
        broker.start()
        assert read(broker, "t") == [b"kept"]


def test_wrong_jars_folder_is_named(tmp_path: Path) -> None:
    broker = KafkaBroker(f"127.0.0.1:{free_port()}", tmp_path / "data", tmp_path / "log", jars=str(tmp_path))
    with pytest.raises(UsageError):
        broker.start()


def create(broker: Broker, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    new = NewTopic(topic, 1, 1, config={"max.message.bytes": "16777216"})
    admin.create_topics([new], operation_timeout=10)[topic].result()


def produce(broker: Broker, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 16_777_216})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(broker: Broker, topic: str) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "test", "fetch.message.max.bytes": 16_777_216}
    )
    partition = TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(partition, timeout=10)
    consumer.assign([partition])
    values: list[bytes] = []
    while len(values) < end:
        message = consumer.poll(30)
        assert message is not None and message.error() is None, message and message.error()
        values.append(message.value())
    consumer.close()
    return values
