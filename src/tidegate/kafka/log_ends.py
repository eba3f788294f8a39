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
    kafka: Connection, partitions: Iterable[TopicPartition], *, seconds: float = ATTEMPT_SECONDS
) -> dict[TopicPartition, tuple[int, int]]:
    """The oldest offset of each partition and that behind its last record: the same where there is none.

    Records of an open transaction, and all behind the first of them, are not there yet. Raises RetryLater
    when the broker does not answer for `seconds`.
    """
    consumer = groupless_consumer(kafka, "tidegate-ends")
    try:
        found: dict[TopicPartition, tuple[int, int]] = {}
        for partition in partitions:
            found[partition] = consumer.get_watermark_offsets(KafkaPartition(*partition), timeout=seconds)
        last = {partition: end for partition, (first, end) in found.items() if end > first}
        found |= {partition: (first, first) for partition, (first, _) in found.items()}
        records = Records(kafka)
        step = 1
        while last:
            starts = {partition: max(found[partition][0], end - step) for partition, end in last.items()}
            for partition, offset in records.last(starts, seconds=seconds).items():
                if offset is not None:
                    found[partition] = (found[partition][0], offset + 1)
                if offset is not None or starts[partition] == found[partition][0]:
                    del last[partition]
            step *= STEP
        return found
    except KafkaException as error:
        raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()


def undecided(kafka: Connection, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """How many offsets of each partition stand from its first open transaction on, mostly 0: nobody may
    read them until it ends. Raises RetryLater.
    """
    committed = groupless_consumer(kafka, "tidegate-ends")
    everything = groupless_consumer(kafka, "tidegate-ends", **{"isolation.level": "read_uncommitted"})
    try:
        found = {}
        for partition in partitions:
            asked = KafkaPartition(*partition)
            _, end = everything.get_watermark_offsets(asked, timeout=ATTEMPT_SECONDS)
            # The stable end last: what comes in between is not taken for open.
            _, stable = committed.get_watermark_offsets(asked, timeout=ATTEMPT_SECONDS)
            found[partition] = max(0, end - stable)
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
