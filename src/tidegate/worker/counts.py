"""counts: partial counts merged into minutes, and the minutes published."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import MutableMapping
from typing import Any

from tidegate.processing.emitter import Emitter
from tidegate.processing.health import Minutes
from tidegate.processing.pulse import Pulse
from tidegate.telemetry import WORKER_HEALTH_MINUTES, WORKER_HEALTH_PARTIALS

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 5.0


class Counts:
    """The minutes of the partitions at hand; `table` is the Faust table that keeps them."""

    def __init__(self, table: MutableMapping[bytes, bytes], emitter: Emitter, pulse: Pulse) -> None:
        self._table = table
        self._minutes = Minutes(table)
        self._emitter = emitter
        self._pulse = pulse

    def recovered(self) -> None:
        """The table was read again after an assignment."""
        self._minutes.recovered()

    async def merge(self, stream: Any) -> None:
        """The agent that merges partial counts into minutes; Faust acks each record behind it."""
        async for event in stream.events():
            self._pulse.check()
            try:
                found = self._minutes.merge(
                    event.message.partition, event.value or b"[]", time.time_ns() // 1000
                )
            except Exception:  # partial counts are our own records: a bad one is a bug, and costs only itself
                log.exception("partial counts at %d %d", event.message.partition, event.message.offset)
                continue
            for outcome, number in found._asdict().items():
                WORKER_HEALTH_PARTIALS.labels(outcome).inc(number)

    async def publish(self) -> None:
        """Publish the minutes that changed, every five seconds, for ever."""
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            for partition, key, value in self._minutes.publish():
                self._emitter.send_health(partition, key, value)
            WORKER_HEALTH_MINUTES.set(len(self._table))
