"""Merges partial counts into minutes, and publishes the minutes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from tidegate.contracts.topics import STREAMS
from tidegate.telemetry import WORKER_HEALTH_MINUTES, WORKER_HEALTH_PARTIALS
from tidegate.worker.lifecycle import FreezeDetector
from tidegate.worker.minutes import Minutes
from tidegate.worker.producer import Producer

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0
MOST_BYTES = 64 << 20  # of changes that the changelog has not acknowledged: until then no more are merged
FULL_SECONDS = 0.05  # until that is looked at again


class AcksInOrder:
    """Acks of the records of a partition, each behind all before it: Faust commits past a hole of one."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()

    def add(self, ack: Callable[[], object]) -> Callable[[], None]:
        """What is to be called when the next record is done."""
        one = _Waiting(ack)
        self._waiting.append(one)

        def done() -> None:
            one.done = True
            while self._waiting and self._waiting[0].done:
                self._waiting.popleft().ack()

        return done

    def forget(self) -> None:
        """Ack none of those that wait: they will come again."""
        self._waiting.clear()


@dataclass(slots=True)
class _Waiting:
    ack: Callable[[], object]
    done: bool = False


class Publisher:
    """The minutes of the partitions assigned here; `table` is the data of the Faust table that keeps them.

    `partitions`: how many each raw topic has; `record_bytes`: the largest record that a topic takes.
    """

    def __init__(
        self,
        table: MutableMapping[bytes, bytes],
        producer: Producer,
        freeze_detector: FreezeDetector,
        *,
        partitions: int,
        record_bytes: int,
    ) -> None:
        self._sources = partitions * len(STREAMS)
        self._minutes = Minutes(table, most_bytes=record_bytes // 2)
        self._producer = producer
        self._freeze_detector = freeze_detector
        self._acks: dict[int, AcksInOrder] = {}  # by partition of `tidegate.partials`
        self._assignment = 0  # how many have ended

    def revoked(self) -> None:
        """The partitions are another's from now on, and so is what would be acked of them."""
        for acks in self._acks.values():
            acks.forget()
        self._acks.clear()
        self._assignment += 1
        self._minutes.revoked()

    def recovered(self, partitions: Collection[int]) -> None:
        """The table was read again after an assignment of these partitions of `tidegate.partials`."""
        self._minutes.recovered(partitions)

    async def merge(self, stream: Any) -> None:
        """The agent that merges partial counts into minutes. A record is acked when what it and those before
        it changed stands in the table's changelog; others may follow it meanwhile."""
        async for event in stream.noack().events():
            assignment = self._assignment
            while self._producer.table_bytes > MOST_BYTES:
                await asyncio.sleep(FULL_SECONDS)
            if assignment != self._assignment:
                continue  # revoked while it waited
            self._freeze_detector.check()
            partition = event.message.partition
            try:
                found = self._minutes.merge(partition, event.value or b"[]", time.time_ns() // 1000)
            except Exception:  # partial counts are our own records: a bad one is a bug, and costs only itself
                log.exception("partial counts at %d %d", partition, event.message.offset)
            else:
                for outcome, number in found._asdict().items():
                    WORKER_HEALTH_PARTIALS.labels(outcome).inc(number)
            done = self._acks.setdefault(partition, AcksInOrder()).add(event.ack)
            records = self._minutes.table_records()
            if records:
                self._producer.send_minutes(partition, records, done)
            else:
                done()

    async def publish(self) -> None:
        """Publish every five seconds the minutes that changed, and which are complete; until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            for partition, key, value in self._minutes.publish():
                self._producer.send_health(partition, key, value)
            for partition, value in self._minutes.close(self._sources):
                self._producer.send_health(partition, None, value)
            WORKER_HEALTH_MINUTES.set(len(self._minutes))
