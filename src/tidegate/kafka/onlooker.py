"""Consumers that look at a log without a part in reading it: no group is joined, nothing is committed."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tidegate.errors import RetryLater

ATTEMPT_SECONDS = 5.0  # one request to the broker


def client(bootstrap: str) -> dict[str, object]:
    """What every short-lived Kafka client here begins with."""
    # librdkafka prints to standard error by itself; what matters comes back as errors.
    return {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "socket.connection.setup.timeout.ms": int(ATTEMPT_SECONDS * 1000),
    }


def onlooker(bootstrap: str, group: str, **more: object) -> Consumer:
    """A consumer that assigns itself what it looks at; the end of a partition is told as an error.

    `group` is whose committed offsets it tells; the client requires a name where they are of no interest.
    """
    return Consumer(
        {
            **client(bootstrap),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where the position is gone already
            "allow.auto.create.topics": False,
            "socket.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 2_000,
            **more,
        }
    )


def first_record(
    consumer: Consumer, topic: str, partition: int, offset: int, *, seconds: float = ATTEMPT_SECONDS
) -> Message | None:
    """The first record at or behind `offset`, None where the partition ends before one.

    The consumer's assignment is gone afterwards. Raises RetryLater while the broker does not answer.
    """
    place = f"{topic} partition {partition}"
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return message
            if error.code() == KafkaError._PARTITION_EOF:
                return None
    except KafkaException as error:
        raise RetryLater(f"{place}: {error.args[0].str()}") from error
    finally:
        consumer.unassign()
    raise RetryLater(f"{place}: nothing comes from offset {offset} on")


def age(record: Message) -> float:
    """Seconds since the record was written."""
    return float(max(0.0, time.time() - record.timestamp()[1] / 1000))
