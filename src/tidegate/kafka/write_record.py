"""Writes a single record into a topic and waits for its ack."""

from __future__ import annotations

from confluent_kafka import KafkaError, Producer

from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import client


def write_record(
    kafka: Connection,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes]] | None = None,
) -> None:
    """Write a record into partition 0. Raises RetryLater without its ack: it may be there."""
    errors: list[KafkaError | None] = []
    producer = Producer(client(kafka) | {"acks": "all", "message.timeout.ms": 10_000})
    producer.produce(
        topic,
        key=key,
        value=value,
        headers=headers,
        partition=0,
        on_delivery=lambda error, _: errors.append(error),
    )
    producer.flush(15)
    if not errors:
        raise RetryLater(f"{topic} could not be written: no answer")
    if errors[0] is not None:  # a KafkaError must not be compared with None: SystemError comes of it
        raise RetryLater(f"{topic} could not be written: {errors[0].str()}")
