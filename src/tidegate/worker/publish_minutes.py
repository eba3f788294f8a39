"""Merges partial counts into minutes, and publishes the minutes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, MutableMapping
from typing import Any

from tidegate.contracts.topics import STREAMS
from tidegate.telemetry import WORKER_HEALTH_MINUTES, WORKER_HEALTH_PARTIALS
from tidegate.worker.lifecycle import FreezeDetector
from tidegate.worker.minutes import Minutes
from tidegate.worker.producer import Producer

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0


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

    def recovered(self, partitions: Collection[int]) -> None:
        """The table was read again after an assignment of these partitions of `tidegate.partials`."""
        self._minutes.recovered(partitions)

    async def merge(self, stream: Any) -> None:
        """The agent that merges partial counts into minutes. A record is acked when what it changed stands in
        the table's changelog, and others may follow it meanwhile."""
        async for event in stream.noack().events():
            self._freeze_detector.check()
            partition = event.message.partition
            try:
                found = self._minutes.merge(partition, event.value or b"[]", time.time_ns() // 1000)
            except Exception:  # partial counts are our own records: a bad one is a bug, and costs only itself
                log.exception("partial counts at %d %d", partition, event.message.offset)
            else:
                for outcome, number in found._asdict().items():
                    WORKER_HEALTH_PARTIALS.labels(outcome).inc(number)
            records = self._minutes.table_records()
            if records:
                self._producer.send_minutes(partition, records, event.ack)
            else:
                event.ack()

    async def publish(self) -> None:
        """Publish every five seconds the minutes that changed, and which are complete; until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            for partition, key, value in self._minutes.publish():
                self._producer.send_health(partition, key, value)
            for partition, value in self._minutes.close(self._sources):
                self._producer.send_health(partition, None, value)
            WORKER_HEALTH_MINUTES.set(len(self._minutes))
