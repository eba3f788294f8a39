"""Where partitions begin and end, as a fetch tells it.

Asked for a partition's end (ListOffsets), the embedded broker leaves out all but the first record of the
last batch; what it answers to a fetch is right, and so is Apache Kafka's on both ways.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tidegate.errors import RetryLater
from tidegate.kafka.onlooker import ATTEMPT_SECONDS, onlooker

Place = tuple[str, int]  # topic and partition


def log_ends(
    bootstrap: str, places: Iterable[Place], *, seconds: float = ATTEMPT_SECONDS
) -> dict[Place, tuple[int, int]]:
    """The offset of the first record and that behind the last one, of each place.

    Raises RetryLater when the broker does not answer within `seconds`.
    """
    consumer = onlooker(bootstrap, "tidegate-ends")
    try:
        found: dict[Place, tuple[int, int]] = {}
        for topic, partition in places:
            found[topic, partition] = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=seconds
            )
        missing = {place for place, (first, end) in found.items() if end > first}
        consumer.assign(
            [TopicPartition(*place, max(found[place][0], found[place][1] - 1)) for place in missing]
        )
        deadline = time.monotonic() + seconds
        while missing:
            message = consumer.poll(0.1)
            error = message.error() if message is not None else None
            if message is not None and error is not None and error.code() == KafkaError._PARTITION_EOF:
                place = (message.topic() or "", message.partition() or 0)
                found[place] = (found[place][0], max(found[place][1], message.offset() or 0))
                missing.discard(place)
            elif time.monotonic() > deadline:
                raise RetryLater(f"the broker does not tell the ends of {sorted(missing)}")
        return found
    except KafkaException as error:
        raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()


def topic_ends(bootstrap: str, topics: Iterable[str]) -> dict[Place, tuple[int, int]]:
    """As `log_ends`, of all the partitions of topics. A topic that does not exist has none."""
    counts = partition_counts(bootstrap, topics)
    return log_ends(
        bootstrap, [(topic, partition) for topic, count in counts.items() for partition in range(count)]
    )


def partition_counts(bootstrap: str, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each topic has; one that does not exist is left out. Raises RetryLater."""
    consumer = onlooker(bootstrap, "tidegate-ends")
    try:
        known = consumer.list_topics(timeout=ATTEMPT_SECONDS).topics
    except KafkaException as error:
        raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return {topic: len(known[topic].partitions) for topic in topics if topic in known}
