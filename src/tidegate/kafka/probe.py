"""probe: what the broker itself says of a partition, past Faust and its buffers. Blocking calls."""

from __future__ import annotations

from confluent_kafka import KafkaException, TopicPartition

from tidegate.errors import RetryLater
from tidegate.kafka.onlooker import ATTEMPT_SECONDS, first_record, onlooker


class Probe:
    """A consumer without a group of its own that assigns itself what it looks at. One thread at a time."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = onlooker(bootstrap, "tidegate-worker-probe")

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will have. Raises RetryLater when the broker does not say."""
        try:
            place = TopicPartition(topic, partition)
            _, end = self._consumer.get_watermark_offsets(place, timeout=ATTEMPT_SECONDS)
        except KafkaException as error:
            raise RetryLater(f"{topic} partition {partition}: {error.args[0].str()}") from error
        return int(end)

    def first(self, topic: str, partition: int, offset: int) -> int:
        """The offset of the first record at or behind `offset`. Raises RetryLater if none comes."""
        record = first_record(self._consumer, topic, partition, offset)
        if record is None:
            raise RetryLater(f"{topic} partition {partition}: no record at or behind {offset}")
        return int(record.offset() or 0)

    def partitions(self, topic: str) -> int:
        """How many the topic has, 0 if there is no such topic. Raises RetryLater when nobody answers."""
        try:
            found = self._consumer.list_topics(topic, timeout=ATTEMPT_SECONDS).topics[topic]
        except KafkaException as error:
            raise RetryLater(f"Kafka does not answer: {error.args[0].str()}") from error
        return 0 if found.error is not None else len(found.partitions)

    def close(self) -> None:
        self._consumer.close()
