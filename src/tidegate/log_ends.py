"""Where partitions begin and end, as a fetch tells it.

Asked for a partition's end (ListOffsets), the embedded broker leaves out all but the first record of the
last batch; what it answers to a fetch is right, and so is Apache Kafka's on both ways.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tidegate.errors import RetryLater

Place = tuple[str, int]  # topic and partition


def log_ends(
    bootstrap: str, places: Iterable[Place], *, seconds: float = 5.0
) -> dict[Place, tuple[int, int]]:
    """The offset of the first record and that behind the last one, of each place.

    Raises RetryLater when the broker does not answer within `seconds`.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tidegate-ends",  # required by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )
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
