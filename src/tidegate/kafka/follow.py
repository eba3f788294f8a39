"""Following the control topic: a thread that hands on each signed record, from the first to the newest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from tidegate.contracts.control import Signed
from tidegate.contracts.topics import CONTROL
from tidegate.kafka.connection import Connection
from tidegate.kafka.control import ControlLog
from tidegate.kafka.groupless import groupless_consumer
from tidegate.service import wait

log = logging.getLogger(__name__)

JOIN_SECONDS = 5.0


class ControlFollower:
    """Calls `take(log, record)` in a thread of its own, between enter and exit.

    Records that no role signed are passed over; `tells`: and counted and told. `log` is None until the key
    file is there.
    """

    def __init__(
        self,
        kafka: Connection,
        group: str,
        take: Callable[[ControlLog, Signed], None],
        *,
        tells: bool = False,
    ) -> None:
        self.log: ControlLog | None = None
        self._kafka = kafka
        self._group = group
        self._take = take
        self._tells = tells
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=group, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)

    def _follow(self) -> None:
        made = partial(ControlLog, self._kafka, tells=self._tells)
        found = wait.until_there(made, log, stopping=self._stopping.is_set)
        if found is None:
            return
        self.log = found
        consumer = groupless_consumer(self._kafka, self._group)
        try:
            consumer.assign([TopicPartition(CONTROL, 0, OFFSET_BEGINNING)])
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is None or message.error() is not None:
                    continue
                record = found.take(message)
                if record is not None:
                    self._take(found, record)
        except KafkaException as error:
            log.error("the control topic is not followed any more: %s", error.args[0].str())
        finally:
            consumer.close()
