"""Raw records as a producer of one's own writes them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer, TopicPartition

from tidegate.contracts.topics import Stream, raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import groupless_consumer


def write_record(
    bootstrap: str,
    stream: Stream,
    lines: Sequence[bytes],
    *,
    partition: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> int:
    """The offset of the record."""
    written: list[Message] = []

    def acked(error: Any, message: Message) -> None:
        assert error is None, error
        written.append(message)

    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    producer.produce(
        raw(stream), b"\n".join(lines), partition=partition, headers=list(headers), on_delivery=acked
    )
    assert producer.flush(30) == 0
    [message] = written
    offset: int = message.offset()
    return offset


def committed_records(bootstrap: str, topic: str, partition: int = 0) -> Iterator[Message]:
    """What Kafka's own client reads as committed, up to the end of the partition."""
    consumer = groupless_consumer(Connection(bootstrap), "test")
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                return
        raise AssertionError(f"{topic} was not read to its end")
    finally:
        consumer.close()
