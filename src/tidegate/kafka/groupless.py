"""Consumers that look at a log without a part in reading it: no group is joined, nothing is committed.

They see what a worker sees: records outside transactions, and those of committed ones. An offset may hold
something else: the marker that ends a transaction, or a record of an aborted one. What strangers can write is
not fetched with them, but with `records`.
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidegate.kafka.connection import Connection

ATTEMPT_SECONDS = 5.0  # one request to the broker


def client(kafka: Connection) -> dict[str, object]:
    """What every short-lived Kafka client here begins with."""
    # librdkafka prints to standard error by itself; what matters comes back as errors.
    return {
        **kafka.librdkafka(),
        "log_level": 0,
        "socket.connection.setup.timeout.ms": int(ATTEMPT_SECONDS * 1000),
    }


def groupless_consumer(kafka: Connection, group: str, **more: object) -> Consumer:
    """A consumer that assigns itself what it looks at; the end of a partition is told as an error.

    Its partitions end at the first open transaction (the last stable offset). `group` is whose committed
    offsets it tells; the client requires a name where they are of no interest.
    """
    return Consumer(
        {
            **client(kafka),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",  # where the position is gone already
            "allow.auto.create.topics": False,
            "socket.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 2_000,
            **more,
        }
    )


def watermarks(
    consumer: Consumer, topic: str, partition: int, *, seconds: float = ATTEMPT_SECONDS
) -> tuple[int, int]:
    """The oldest offset of a partition and the one behind its last record, asked of its leader.

    librdkafka asks the leader that it knows and does not look for another where that one is dead: a client
    that outlives a broker would fail until its next refresh, minutes later. So after a failure the metadata
    is fetched anew, for all topics, and the new leader is asked once. Raises KafkaException.
    """
    asked = TopicPartition(topic, partition)
    try:
        low, high = consumer.get_watermark_offsets(asked, timeout=seconds)
    except KafkaException:
        consumer.list_topics(timeout=seconds)
        low, high = consumer.get_watermark_offsets(asked, timeout=seconds)
    return low, high
