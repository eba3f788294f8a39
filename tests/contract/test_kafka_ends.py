"""The ends of partitions, on each broker."""

from __future__ import annotations

import uuid

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tidegate.kafka.ends import log_ends
from tidegate.local.broker import Broker


def test_the_end_is_behind_the_last_record_of_the_last_batch(broker: Broker) -> None:
    topic = f"ends-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 200})
    for _ in range(2):
        for _ in range(5):
            producer.produce(topic, b"x", partition=1)
        producer.flush(30)
    producer.produce(topic, b"x", partition=2)
    producer.flush(30)
    assert log_ends(broker.bootstrap, [(topic, partition) for partition in range(3)], seconds=15) == {
        (topic, 0): (0, 0),
        (topic, 1): (0, 10),
        (topic, 2): (0, 1),
    }
