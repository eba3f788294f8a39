"""What a take-over rests on: partitions that are held are read from where they are sought to, all of them."""

from __future__ import annotations

import secrets
import signal
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from waiting import PATIENCE

from tidegate.local.broker import Broker
from tidegate.settings import Settings
from tidegate.sink.group import consumer, hold

PARTITIONS = 9
RECORDS, BEGIN = 40, 20


@pytest.mark.kafka
def test_held_partitions_are_read_from_where_they_are_sought_to(apache_kafka: Broker) -> None:
    """The broker stands still meanwhile: whatever it was asked at the assignment is answered afterwards."""
    name = f"hold-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()
    producer = Producer({"bootstrap.servers": apache_kafka.bootstrap})
    for number in range(RECORDS * PARTITIONS):
        producer.produce(name, b"x", partition=number % PARTITIONS)
    assert producer.flush(PATIENCE) == 0
    settings = Settings(kafka_bootstrap=apache_kafka.bootstrap, sink_group=name)
    member = consumer(settings, lambda error: None)
    held: list[TopicPartition] = []

    def on_assign(member: Consumer, assigned: list[TopicPartition]) -> None:
        apache_kafka.child.signal(signal.SIGSTOP)
        hold(member, assigned)
        held.extend(assigned)

    member.subscribe([name], on_assign=on_assign)
    try:
        deadline = time.monotonic() + PATIENCE
        while not held:
            assert time.monotonic() < deadline
            member.poll(0.05)
        for partition in held:
            member.seek(TopicPartition(name, partition.partition, BEGIN))
        apache_kafka.child.signal(signal.SIGCONT)
        member.resume(held)
        first: dict[int | None, int | None] = {}
        while len(first) < PARTITIONS and time.monotonic() < deadline:
            message = member.poll(0.2)
            if message is not None and message.error() is None:
                first.setdefault(message.partition(), message.offset())
        assert first == dict.fromkeys(range(PARTITIONS), BEGIN)
    finally:
        apache_kafka.child.signal(signal.SIGCONT)
        member.close()
