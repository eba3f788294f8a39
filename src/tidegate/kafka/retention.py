"""How near the oldest record that is not dealt with is to its end: Kafka deletes by age, whoever has read.

Worker and sink each watch what they read, in a thread of its own, and tell it as metrics and, from half of
the retention on, in the log. What is gone before it was read is lost: the sink would stop at the gap.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from prometheus_client import Gauge

from tidegate.contracts.topics import Stream, TopicPartition
from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, client, groupless_consumer, watermarks
from tidegate.kafka.records import Records, age

log = logging.getLogger(__name__)

WARNING_SHARE, ALERT_SHARE = 0.5, 0.8  # of the retention
RARELY, OFTEN = 30.0, 1.0  # seconds between two looks: a hundredth of the retention, within these


class Margin(NamedTuple):
    """The oldest record of a topic that is still to be read."""

    age: float  # seconds since it was written; 0 where everything is read
    kept: float  # seconds that the topic keeps records; infinite where it keeps them for ever

    @property
    def share(self) -> float:
        """From 1 on records may be gone before they are read."""
        return self.age / self.kept if self.kept else 0.0


class Retention:
    """Asks the broker, with a consumer that joins no group. One thread at a time."""

    def __init__(self, kafka: Connection) -> None:
        self._admin = AdminClient(client(kafka))
        self._consumer = groupless_consumer(kafka, "tidegate-retention")
        self._records = Records(kafka)

    def close(self) -> None:
        self._consumer.close()

    def look(self, positions: Mapping[TopicPartition, int]) -> dict[str, Margin]:
        """The margin of each topic; `positions` are the next offsets to read.

        Raises RetryLater while the broker is away.
        """
        ages: dict[str, float] = {}
        try:
            for (topic, partition), position in positions.items():
                ages[topic] = max(ages.get(topic, 0.0), self._age(topic, partition, position))
            return {topic: Margin(age, self._kept(topic)) for topic, age in ages.items()}
        except KafkaException as error:
            raise RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}") from error

    def _age(self, topic: str, partition: int, position: int) -> float:
        _, end = watermarks(self._consumer, topic, partition)
        if position >= end:
            return 0.0
        record = self._records.first(topic, partition, position)
        return 0.0 if record is None else age(record)

    def _kept(self, topic: str) -> float:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        [found] = self._admin.describe_configs([resource], request_timeout=ATTEMPT_SECONDS).values()
        entry = found.result().get("retention.ms")
        text = entry.value if entry is not None and entry.value is not None else "-1"
        return int(text) / 1000 if int(text) >= 0 else math.inf


class RetentionWatch:
    """The thread that looks, tells the metrics, and says in the log where it gets close.

    `positions` is called in that thread: the next offset to read of each partition that is this process's.
    """

    def __init__(
        self,
        kafka: Connection,
        streams: Mapping[str, Stream],
        positions: Callable[[], Mapping[TopicPartition, int]],
        *,
        age: Gauge,
        share: Gauge,
    ) -> None:
        self._kafka = kafka
        self._streams = streams
        self._positions = positions
        self._age, self._share = age, share
        self._told: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        retention = Retention(self._kafka)
        wait = OFTEN
        while not self._stop.wait(wait):
            try:
                margins = retention.look(self._positions())
            except RetryLater as error:
                log.debug("%s", error)
                continue
            for topic, stream in self._streams.items():
                self._tell(topic, stream, margins.get(topic, Margin(0.0, math.inf)))
            shortest = min(
                (margin.kept for margin in margins.values()), default=0.0
            )  # nothing is assigned yet
            wait = min(RARELY, max(OFTEN, shortest / 100))
        retention.close()

    def _tell(self, topic: str, stream: Stream, margin: Margin) -> None:
        self._age.labels(stream).set(margin.age)
        self._share.labels(stream).set(margin.share)
        level = level_of(margin.share)
        if level != self._told.get(topic, logging.INFO):
            log.log(
                level,
                "%s: the oldest record to be read is %s old, %.0f %% of what the topic keeps%s",
                topic,
                f"{margin.age:.0f} s",
                margin.share * 100,
                "" if level == logging.INFO else "; beyond it is lost: catch up, or raise retention.ms now",
            )
        self._told[topic] = level


def level_of(share: float) -> int:
    """How loudly to say it."""
    if share >= ALERT_SHARE:
        return logging.ERROR
    return logging.WARNING if share >= WARNING_SHARE else logging.INFO
