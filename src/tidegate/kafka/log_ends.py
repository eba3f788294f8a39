"""Where the records of partitions begin and end, as a fetch tells it.

The broker's own answer (ListOffsets) does not do. Behind the last record there may be more offsets: markers
of transactions, and records of aborted ones. And the embedded broker leaves out all but the first record of
the last batch; what it answers to a fetch is right, and so is Apache Kafka's.
Fetched within bounds, since anybody's batch may be the last.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate.contracts.topics import TopicPartition
from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, groupless_consumer
from tidegate.kafka.records import Records
from tidegate.kafka.topics import partition_counts

STEP = 8  # times further back at each look for the last record


def log_ends(
    kafka: Connection, places: Iterable[TopicPartition], *, seconds: float = ATTEMPT_SECONDS
) -> dict[TopicPartition, tuple[int, int]]:
    """The oldest offset, and that behind the last record, of each place; the same twice where there is none.

    Records of an open transaction, and all behind the first of them, are not there yet. Raises RetryLater
    when the broker does not answer for `seconds`.
    """
    consumer = groupless_consumer(kafka, "tidegate-ends")
    try:
        found: dict[TopicPartition, tuple[int, int]] = {}
        for topic, partition in places:
            found[TopicPartition(topic, partition)] = consumer.get_watermark_offsets(
                KafkaPartition(topic, partition), timeout=seconds
            )
        last = {place: end for place, (first, end) in found.items() if end > first}
        found |= {place: (first, first) for place, (first, _) in found.items()}
        records = Records(kafka)
        step = 1
        while last:
            starts = {place: max(found[place][0], end - step) for place, end in last.items()}
            for place, offset in records.last(starts, seconds=seconds).items():
                if offset is not None:
                    found[place] = (found[place][0], offset + 1)
                if offset is not None or starts[place] == found[place][0]:
                    del last[place]
            step *= STEP
        return found
    except KafkaException as error:
        raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()


def undecided(kafka: Connection, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """How many offsets of each place stand from its first open transaction on, mostly 0: nobody may read
    them until it ends. Raises RetryLater.
    """
    asked = [KafkaPartition(*place) for place in places]
    committed = groupless_consumer(kafka, "tidegate-ends")
    everything = groupless_consumer(kafka, "tidegate-ends", **{"isolation.level": "read_uncommitted"})
    try:
        found = {}
        for place in asked:  # the stable end last: what comes in between is not taken for open
            _, end = everything.get_watermark_offsets(place, timeout=ATTEMPT_SECONDS)
            _, stable = committed.get_watermark_offsets(place, timeout=ATTEMPT_SECONDS)
            found[TopicPartition(place.topic, place.partition)] = max(0, end - stable)
        return found
    except KafkaException as error:
        raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
    finally:
        committed.close()
        everything.close()


def topic_ends(kafka: Connection, topics: Iterable[str]) -> dict[TopicPartition, tuple[int, int]]:
    """As `log_ends`, of all the partitions of topics. A topic that does not exist has none."""
    counts = partition_counts(kafka, topics)
    return log_ends(
        kafka, [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    )
