"""probe: what the broker itself says of a partition, past Faust and its buffers. Blocking calls."""

from __future__ import annotations

import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidegate.errors import RetryLater

SECONDS = 5.0


class Probe:
    """A consumer without a group of its own that assigns itself what it looks at. One thread at a time."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "tidegate-worker-probe",  # required by the client; nothing is ever committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "logger": logging.getLogger("tidegate.librdkafka"),
            }
        )

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will have. Raises RetryLater when the broker does not say."""
        try:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS)
        except KafkaException as error:
            raise RetryLater(f"{topic} partition {partition}: {error.args[0].str()}") from error
        return int(end)

    def first(self, topic: str, partition: int, offset: int) -> int:
        """The offset of the first record at or behind `offset`. Raises RetryLater if none comes."""
        try:
            self._consumer.assign([TopicPartition(topic, partition, offset)])
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                message = self._consumer.poll(0.1)
                if message is not None and message.error() is None:
                    return int(message.offset() or 0)
        except KafkaException as error:
            raise RetryLater(f"{topic} partition {partition}: {error.args[0].str()}") from error
        finally:
            self._consumer.unassign()
        raise RetryLater(f"{topic} partition {partition}: no record at or behind {offset}")

    def partitions(self, topic: str) -> int:
        """How many the topic has, 0 if there is no such topic. Raises RetryLater when nobody answers."""
        try:
            found = self._consumer.list_topics(topic, timeout=SECONDS).topics[topic]
        except KafkaException as error:
            raise RetryLater(f"Kafka does not answer: {error.args[0].str()}") from error
        return 0 if found.error is not None else len(found.partitions)

    def close(self) -> None:
        self._consumer.close()
