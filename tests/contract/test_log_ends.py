"""The ends of partitions, on each broker."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic
from transactions import Transactional

from tidegate.contracts.topics import TopicPartition
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import log_ends, undecided
from tidegate.kafka.probe import Probe
from tidegate.kafka.records import Records
from tidegate.kafka.retention import Retention
from tidegate.local.broker import Broker


def test_the_end_is_behind_the_last_record_of_the_last_batch(broker: Broker) -> None:
    topic = create(broker, 3)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 200})
    for _ in range(2):
        for _ in range(5):
            producer.produce(topic, b"x", partition=1)
        producer.flush(30)
    producer.produce(topic, b"x", partition=2)
    producer.flush(30)
    assert log_ends(
        Connection(broker.bootstrap), [TopicPartition(topic, partition) for partition in range(3)], seconds=15
    ) == {
        (topic, 0): (0, 0),
        (topic, 1): (0, 10),
        (topic, 2): (0, 1),
    }


@pytest.mark.kafka
def test_what_only_transactions_left_behind_the_last_record_is_not_its_end(apache_kafka: Broker) -> None:
    topic = create(apache_kafka, 1)
    partition = TopicPartition(topic, 0)
    kafka = Connection(apache_kafka.bootstrap)
    one = Transactional(apache_kafka.bootstrap, f"one-{topic}", topic)
    other = Transactional(apache_kafka.bootstrap, f"other-{topic}", topic)
    probe = Probe(kafka)

    def ends() -> tuple[int, int]:
        return log_ends(kafka, [partition], seconds=15)[partition]

    one.aborted([b"no"] * 3)  # 0 to 2, marker 3
    assert ends() == (0, 0)
    assert not probe.has_record(*partition, 0)

    one.committed([b"a", b"b"])  # 4 and 5, marker 6
    assert ends() == (0, 6)
    assert probe.end(*partition) == 7  # what may be read ends behind the marker
    assert probe.has_record(*partition, 5) and not probe.has_record(*partition, 6)

    one.aborted([b"no"] * 100)  # 7 to 106, marker 107
    assert ends() == (0, 6)
    assert not probe.has_record(*partition, 6)

    one.open([b"c"])  # 108
    other.committed([b"d"])  # 109, marker 110: behind the first open transaction
    assert ends() == (0, 6)
    assert probe.end(*partition) == 108
    assert undecided(kafka, [partition]) == {partition: 3}

    one.commit()  # marker 111
    assert ends() == (0, 110)
    assert undecided(kafka, [partition]) == {partition: 0}
    assert [record.offset for record in Records(kafka).seen(*partition, 0, 1000)] == [4, 5, 108, 109]
    probe.close()


@pytest.mark.kafka
@pytest.mark.parametrize("deleted_to", [2, 3])
def test_everything_behind_the_last_record_is_expired(apache_kafka: Broker, deleted_to: int) -> None:
    """All that is left is a marker, or nothing: the ends are told, and nothing waits for a record."""
    topic = create(apache_kafka, 1)
    partition = TopicPartition(topic, 0)
    kafka = Connection(apache_kafka.bootstrap)
    one = Transactional(apache_kafka.bootstrap, f"one-{topic}", topic)
    one.committed([b"a", b"b"])  # 0 and 1, marker 2
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    admin.delete_records([KafkaPartition(topic, 0, deleted_to)])[KafkaPartition(topic, 0)].result(30)
    assert log_ends(kafka, [partition], seconds=15) == {partition: (deleted_to, deleted_to)}
    assert undecided(kafka, [partition]) == {partition: 0}
    for offset in range(4):
        assert Records(kafka).first(*partition, offset, seconds=15) is None
    assert Records(kafka).seen(*partition, 0, 3, seconds=15) == []
    retention = Retention(kafka)
    assert retention.look({partition: 0})[topic].age == 0
    retention.close()


def create(broker: Broker, partitions: int) -> str:
    topic = f"ends-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic
