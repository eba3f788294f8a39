"""What is between the raw topics and the ledger: frames on their way, and the age of the oldest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidegate.contracts.topics import ENRICHED_STREAMS, RAW_STREAMS, Stream, enriched
from tidegate.errors import RetryLater
from tidegate.kafka.ends import topic_ends
from tidegate.kafka.onlooker import ATTEMPT_SECONDS, age, first_record, onlooker


class InFlight(NamedTuple):
    stream: Stream
    partition: int
    frames: int  # raw records behind the last one in the ledger
    oldest_age: float | None  # seconds since the oldest of them was written; None for none


def in_flight(bootstrap: str, stored: Mapping[tuple[Stream, int], int]) -> list[InFlight]:
    """Every raw partition; `stored` gives the last raw offset in the ledger of the present epoch.

    Raises RetryLater while the broker is away.
    """
    consumer = onlooker(bootstrap, "tidegate-verify")
    try:
        found = []
        for (topic, partition), (begin, end) in topic_ends(bootstrap, RAW_STREAMS).items():
            stream = RAW_STREAMS[topic]
            start = max(stored.get((stream, partition), -1) + 1, begin)
            age = _age(consumer, topic, partition, start) if start < end else None
            found.append(InFlight(stream, partition, max(0, end - start), age))
        return found
    finally:
        consumer.close()


def _age(consumer: Consumer, topic: str, partition: int, offset: int) -> float | None:
    """Seconds since the record was written; None where it does not come."""
    try:
        record = first_record(consumer, topic, partition, offset)
    except RetryLater:
        return None
    return None if record is None else age(record)


def committed(
    bootstrap: str, group: str, places: Iterable[tuple[Stream, int]]
) -> dict[tuple[Stream, int], int]:
    """How far the sink's group has committed the enriched topics; -1 where it has not.

    Raises RetryLater while the broker is away.
    """
    consumer = onlooker(bootstrap, group)
    wanted = [TopicPartition(enriched(stream), partition) for stream, partition in places]
    try:
        found = consumer.committed(wanted, timeout=ATTEMPT_SECONDS)
        return {(ENRICHED_STREAMS[place.topic], place.partition): place.offset for place in found}
    except KafkaException as error:
        raise RetryLater(f"Kafka at {bootstrap} is away: {error.args[0].str()}") from error
    finally:
        consumer.close()
