"""Follows the control topic: a thread that hands on each signed record, from the first to the newest."""

from __future__ import annotations

import logging
from abc import abstractmethod
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from tidegate.contracts.control import Signed
from tidegate.contracts.topics import CONTROL
from tidegate.kafka.connection import Connection
from tidegate.kafka.control import ControlLog
from tidegate.kafka.groupless import groupless_consumer
from tidegate.service import wait
from tidegate.service.background import Background

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0


class ControlFollower(Background):
    """Takes each record in a thread of its own, between enter and exit.

    Records that no role signed are passed over; `tells`: and counted and told. `log` is None until the key
    file is there.
    """

    def __init__(self, kafka: Connection, group: str, *, tells: bool = False) -> None:
        super().__init__(group, stop_seconds=STOP_SECONDS)
        self.log: ControlLog | None = None
        self._kafka = kafka
        self._group = group
        self._tells = tells

    @abstractmethod
    def _take(self, log: ControlLog, record: Signed) -> None:
        """Called with each record, in the thread."""

    def _run(self) -> None:
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
