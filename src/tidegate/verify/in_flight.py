"""What is between the raw topics and the ledger: frames on their way, and the age of the oldest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidegate.contracts.topics import STREAMS, Stream, raw
from tidegate.errors import RetryLater

SECONDS = 5.0  # one request to the broker


class InFlight(NamedTuple):
    stream: Stream
    partition: int
    frames: int  # raw records behind the last one in the ledger
    oldest_age: float | None  # seconds since the oldest of them was written; None for none


def in_flight(bootstrap: str, stored: Mapping[tuple[Stream, int], int]) -> list[InFlight]:
    """Every raw partition; `stored` gives the last raw offset in the ledger of the present epoch.

    Raises RetryLater while the broker is away.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tidegate-verify",  # joins no group, commits nothing
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        return [
            _of(consumer, stream, partition, stored.get((stream, partition), -1))
            for stream in STREAMS
            for partition in sorted(consumer.list_topics(raw(stream), SECONDS).topics[raw(stream)].partitions)
        ]
    except KafkaException as error:
        raise RetryLater(f"Kafka at {bootstrap} is away: {error}") from error
    finally:
        consumer.close()


def _of(consumer: Consumer, stream: Stream, partition: int, last: int) -> InFlight:
    place = TopicPartition(raw(stream), partition)
    low, high = consumer.get_watermark_offsets(place, SECONDS)
    start = max(last + 1, low)
    if start >= high:
        return InFlight(stream, partition, 0, None)
    place.offset = start
    consumer.assign([place])
    message = consumer.poll(SECONDS)
    consumer.unassign()
    age = None
    if message is not None and message.error() is None:
        age = max(0.0, time.time() - message.timestamp()[1] / 1000)
    return InFlight(stream, partition, high - start, age)
