"""probe: what the broker itself says of a partition, past Faust and its buffers. Blocking calls."""

from __future__ import annotations

from confluent_kafka import KafkaException

from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, groupless_consumer, watermarks
from tidegate.kafka.records import Records


class Probe:
    """A consumer without a group of its own that assigns itself what it looks at. One thread at a time."""

    def __init__(self, kafka: Connection) -> None:
        self._consumer = groupless_consumer(kafka, "tidegate-worker-probe")
        self._records = Records(kafka)

    def end(self, topic: str, partition: int) -> int:
        """The offset behind everything that may be read: the next one, or the first of an open transaction.

        Raises RetryLater when the broker does not say.
        """
        try:
            _, end = watermarks(self._consumer, topic, partition)
        except KafkaException as error:
            raise RetryLater(f"{topic} partition {partition}: {error.args[0].str()}") from error
        return end

    def has_record(self, topic: str, partition: int, offset: int) -> bool:
        """Whether there is a record at or behind `offset`, and not only markers of transactions and records
        of aborted ones. Raises RetryLater when the broker does not say.
        """
        return self._records.first(topic, partition, offset) is not None

    def first(self, topic: str, partition: int, offset: int) -> int:
        """The offset of the first record at or behind `offset`. Raises RetryLater if none comes."""
        record = self._records.first(topic, partition, offset)
        if record is None:
            raise RetryLater(f"{topic} partition {partition}: no record at or behind {offset}")
        return record.offset

    def partitions(self, topic: str) -> int:
        """How many the topic has, 0 if there is no such topic. Raises RetryLater when nobody answers."""
        try:
            found = self._consumer.list_topics(topic, timeout=ATTEMPT_SECONDS).topics[topic]
        except KafkaException as error:
            raise RetryLater(f"Kafka does not answer: {error.args[0].str()}") from error
        return 0 if found.error is not None else len(found.partitions)

    def close(self) -> None:
        self._consumer.close()
