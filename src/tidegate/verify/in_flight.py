"""What is between the raw topics and the ledger: frames on their way, and the age of the oldest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate.contracts.topics import (
    ENRICHED_STREAMS,
    RAW_STREAMS,
    Stream,
    StreamPartition,
    TopicPartition,
    enriched,
)
from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, groupless_consumer
from tidegate.kafka.log_ends import topic_ends, undecided
from tidegate.kafka.records import Records, age

COUNTED = 200  # offsets of a partition that are looked at one by one


class InFlight(NamedTuple):
    """What of a raw partition is not stored yet."""

    stream: Stream
    partition: int
    frames: int  # raw records behind the last one in the ledger
    oldest_age: float | None  # seconds since the oldest of them was written; None for none
    undecided: int  # offsets from the first open transaction on: none of them may be read until it ends


def in_flight(kafka: Connection, stored: Mapping[tuple[Stream, int], int]) -> list[InFlight]:
    """Every raw partition; `stored` gives the last raw offset in the ledger of the present epoch.

    Raises RetryLater while the broker is away.
    """
    records = Records(kafka)
    found = []
    ends = topic_ends(kafka, RAW_STREAMS)
    behind_open = undecided(kafka, ends)
    for (topic, partition), (begin, end) in ends.items():
        stream = RAW_STREAMS[topic]
        start = max(stored.get((stream, partition), -1) + 1, begin)
        frames, oldest = _look(records, topic, partition, start, end) if start < end else (0, None)
        open = behind_open[TopicPartition(topic, partition)]
        found.append(InFlight(stream, partition, frames, oldest, open))
    return found


def _look(records: Records, topic: str, partition: int, start: int, end: int) -> tuple[int, float | None]:
    """How many records stand from `start` up to `end`, and the age of the first in seconds, None where it
    does not come.

    Many are not counted one by one: their number is that of the offsets then, some of which may hold markers
    of transactions or records of aborted ones.
    """
    try:
        if end - start > COUNTED:
            first = records.first(topic, partition, start)
            is_there = first is not None and first.offset < end
            return (end - start, age(first)) if first is not None and is_there else (0, None)
        seen = records.seen(topic, partition, start, end)
        return len(seen), age(seen[0]) if seen else None
    except RetryLater:
        return end - start, None


def committed(
    kafka: Connection, group: str, partitions: Iterable[StreamPartition]
) -> dict[StreamPartition, int]:
    """How far the sink's group has committed the enriched topics; -1 where it has not.

    Raises RetryLater while the broker is away.
    """
    consumer = groupless_consumer(kafka, group)
    wanted = [KafkaPartition(enriched(stream), partition) for stream, partition in partitions]
    try:
        found = consumer.committed(wanted, timeout=ATTEMPT_SECONDS)
        return {StreamPartition(ENRICHED_STREAMS[each.topic], each.partition): each.offset for each in found}
    except KafkaException as error:
        raise RetryLater(f"Kafka at {kafka} is away: {error.args[0].str()}") from error
    finally:
        consumer.close()
