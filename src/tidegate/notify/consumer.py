"""Consumes `tidegate.alerts`: its records, and which partitions are this process's."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tidegate.contracts.alerts import Alert, read
from tidegate.contracts.topics import ALERTS
from tidegate.kafka.group import alerts_options
from tidegate.settings import Settings
from tidegate.telemetry import NOTIFY_FOREIGN

log = logging.getLogger(__name__)

MOST = 200  # records at a time
TOLD_SECONDS = 15.0  # an error of the client is told for so long


class Record(NamedTuple):
    partition: int
    offset: int
    time: float  # epoch seconds at which it was written; 0: not known
    alert: Alert | None  # None: it tells none


class AlertConsumer:
    """Used by one thread at a time. `assigned` and `revoked` change while it polls."""

    def __init__(self, settings: Settings) -> None:
        self.assigned: frozenset[int] = frozenset()
        self.count = 1  # partitions of the topic
        self._problem, self._told_at = "", float("-inf")
        self._revoked: set[int] = set()
        self._paused = False
        self._consumer = Consumer(
            alerts_options(settings, settings.notify_group, "tidegate-notify", self._told)
        )
        self._consumer.subscribe(
            [ALERTS], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, seconds: float, *, pause: bool = False) -> list[Record]:
        """The next records, after at most `seconds`; none while `pause`, which keeps the partitions."""
        self._hold(pause)
        messages = self._consumer.consume(MOST, seconds)
        return [_record(message) for message in messages if message.error() is None]

    @property
    def problem(self) -> str:
        """What the client has lately said of the broker; empty where all is well."""
        return self._problem if time.monotonic() - self._told_at < TOLD_SECONDS else ""

    def revoked(self) -> set[int]:
        """The partitions that were taken away since the last call, and are not back."""
        revoked, self._revoked = self._revoked - self.assigned, set()
        return revoked

    def commit(self, offsets: Iterable[tuple[int, int]]) -> bool:
        """Commit the offsets to go on from, by partition; False where the group does not take it: what is not
        committed comes again."""
        wanted = [
            TopicPartition(ALERTS, partition, offset)
            for partition, offset in offsets
            if partition in self.assigned
        ]
        if not wanted:
            return True
        try:
            self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            log.info("%s: not committed: %s", ALERTS, error.args[0].str())
            return False
        return True

    def close(self) -> None:
        self._consumer.close()

    def _hold(self, pause: bool) -> None:
        if pause == self._paused:
            return
        partitions = [TopicPartition(ALERTS, number) for number in self.assigned]
        (self._consumer.pause if pause else self._consumer.resume)(partitions)
        self._paused = pause

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned = frozenset(found.partition for found in partitions)
        self._paused = False
        try:
            topic = consumer.list_topics(ALERTS, timeout=5.0).topics[ALERTS]
            self.count = max(1, len(topic.partitions))
        except (KafkaException, KeyError):
            self.count = max(self.count, 1, *(number + 1 for number in self.assigned))
        self._told_at = float("-inf")
        log.info("reading partitions %s", sorted(self.assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {found.partition for found in partitions}
        self._revoked |= gone
        self.assigned -= gone

    def _told(self, error: KafkaError) -> None:
        self._problem, self._told_at = f"Kafka: {error.str()}", time.monotonic()
        log.debug("consumer of alerts: %s", error.str())


def _record(message: Message) -> Record:
    partition, offset = message.partition() or 0, message.offset() or 0
    kind, milliseconds = message.timestamp()
    alert: Alert | None = None
    try:
        alert = read(message.value())
    except ValueError as error:
        NOTIFY_FOREIGN.inc()
        log.warning("%s partition %d offset %d is no alert: %s", ALERTS, partition, offset, error)
    return Record(partition, offset, milliseconds / 1000 if kind else 0.0, alert)
