"""One replay at a time: the member of a consumer group that has the control topic's only partition.

Members are told apart by when they began, and the assignor sorts them by name: who came first keeps the
partition, who comes second is told so. What a member does counts from its last accepted commit; a member that
froze longer than its session is refused there, before it sends anything.
"""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tidegate.contracts.topics import CONTROL
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.connection import connection
from tidegate.settings import Settings

log = logging.getLogger(__name__)

GROUP = "tidegate-replay"
JOIN_SECONDS = 120.0
REFUSED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
"""A commit so answered came from a member that the group has given up, or that has to join it anew."""


class ReplayLock:
    """`with ReplayLock(settings):` waits for it. Raises Stop where another replay has it, RetryLater
    while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._session = settings.kafka_session_timeout_ms / 1000
        self._mine: bool | None = None  # unknown while the group is forming
        self._proven = 0.0  # monotonic; when the broker last took a commit
        self._consumer = Consumer(
            {
                **connection(settings).librdkafka(),
                "group.id": GROUP,
                "client.id": f"replay-{time.time_ns() // 1_000_000:015d}-{os.getpid()}",
                "session.timeout.ms": settings.kafka_session_timeout_ms,
                "heartbeat.interval.ms": max(settings.kafka_session_timeout_ms // 4, 100),
                "partition.assignment.strategy": "range",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "allow.auto.create.topics": False,
                "logger": logging.getLogger("tidegate.librdkafka"),
            }
        )

    def __enter__(self) -> Self:
        self._consumer.subscribe(
            [CONTROL], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        try:
            while not self._prove():
                pass
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    @property
    def send_seconds(self) -> float:
        """How long behind `hold` a record may still be on its way: shorter than the session by far."""
        return self._session / 2

    def hold(self) -> None:
        """Make sure that we had the lock all the time. Call it before anything is sent, and every few
        seconds. Raises RetryLater where it is ours again: what was chosen before may have been sent by
        another; Stop where it is another's.
        """
        self._poll(0.0)
        if self._mine and time.monotonic() - self._proven < self._session / 8:
            return
        if not self._mine or not self._prove():
            while not self._prove():
                pass
            raise RetryLater("the replay's lock changed hands", after_seconds=0.0)

    def _prove(self) -> bool:
        """Whether the broker takes a commit of ours; False: the group is forming anew."""
        deadline = time.monotonic() + JOIN_SECONDS
        while self._mine is None:
            if time.monotonic() > deadline:
                raise RetryLater("the broker does not let this replay begin")
            self._poll(0.1)
        if not self._mine:
            raise Stop(
                "another `tidegate replay` is running: wait for its end. (One that was killed keeps its"
                f" turn for {self._session:g} s.)"
            )
        asked = time.monotonic()
        try:
            self._consumer.commit(offsets=[TopicPartition(CONTROL, 0, 0)], asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in REFUSED:
                raise RetryLater(f"the broker does not answer: {error.args[0].str()}") from error
            self._mine = None
            return False
        self._proven = asked
        return True

    def _poll(self, seconds: float) -> None:
        message = self._consumer.poll(seconds)
        error = None if message is None else message.error()
        if error is not None and error.fatal():
            raise Stop(f"this replay is out of its group: {error.str()}")

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign(partitions)
        if partitions:
            consumer.pause(partitions)
        self._mine = bool(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._mine = None
