"""Single records that a tool or a role notes in a topic, each known to be there before anything goes on."""

from __future__ import annotations

from confluent_kafka import KafkaError, Producer

from tidegate.errors import RetryLater
from tidegate.kafka.onlooker import client


def note(bootstrap: str, topic: str, key: bytes | None, value: bytes | None) -> None:
    """Write a record into partition 0. Raises RetryLater without its ack: it may be there."""
    errors: list[KafkaError | None] = []
    producer = Producer(client(bootstrap) | {"acks": "all", "message.timeout.ms": 10_000})
    producer.produce(
        topic, key=key, value=value, partition=0, on_delivery=lambda error, _: errors.append(error)
    )
    producer.flush(15)
    if errors != [None]:
        raise RetryLater(f"{topic} could not be written: {errors[0].str() if errors and errors[0] else ''}")
