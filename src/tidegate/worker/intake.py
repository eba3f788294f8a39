"""intake: raw records as Faust brings them, each offset once and in order, into the lane of its partition."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from tidegate.contracts.topics import Stream
from tidegate.errors import RetryLater
from tidegate.processing.lane import Arrival, Lane
from tidegate.processing.transform import Record
from tidegate.telemetry import WORKER_WAIT_SECONDS
from tidegate.worker.consumer import Consumer
from tidegate.worker.dispatch import Dispatch
from tidegate.worker.in_flight import InFlight
from tidegate.worker.lanes import Lanes
from tidegate.worker.life import Life
from tidegate.worker.probe_thread import ProbeThread

log = logging.getLogger(__name__)

SMALL_BYTES = 32_768  # records up to this wait for those right behind them, to be transformed together


class Intake:
    """The agents of the streams."""

    def __init__(
        self,
        lanes: Lanes,
        in_flight: InFlight,
        dispatch: Dispatch,
        consumer: Consumer,
        probe: ProbeThread,
        life: Life,
    ) -> None:
        self._lanes = lanes
        self._in_flight = in_flight
        self._dispatch = dispatch
        self._consumer = consumer
        self._probe = probe
        self._life = life

    async def take(self, stream: Stream, records: Any) -> None:
        """The agent of a stream. Nothing raised by a record leaves it."""
        async for event in records.events():
            try:
                await self.process(stream, event.message)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                message = event.message
                log.exception("%s %d %d", message.topic, message.partition, message.offset)
                self._life.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    async def process(self, stream: Stream, message: Any) -> None:
        """Take a record into its lane, when there is room in flight; drop one that is not the next there."""
        place = (message.topic, message.partition)
        lane = self._lanes.by_place.get(place)
        if lane is None or self._life.stopping:
            return
        arrival = lane.arrive(message.offset)
        if arrival is Arrival.REPEAT or arrival is Arrival.EARLY:
            return
        if arrival is Arrival.HOLE and not await self._hole_is_real(lane, message):
            return
        if self._in_flight.full(lane):
            self._dispatch.send(stream, lane)
            begun = time.perf_counter()
            while self._in_flight.full(lane):
                await self._in_flight.changed()
                if self._life.stopping or not self._lanes.holds(place, lane):
                    return
            WORKER_WAIT_SECONDS.labels(stream).inc(time.perf_counter() - begun)
        timestamp = round(message.timestamp * 1_000_000) if message.timestamp and message.timestamp > 0 else 0
        record = Record(
            message.partition,
            message.offset,
            lane.accept(message.offset),
            message.value or b"",
            message.headers or (),
            timestamp or time.time_ns() // 1000,
        )
        lane.waiting.append(record)
        if len(record.value) > SMALL_BYTES:
            self._dispatch.send(stream, lane)
        elif len(lane.waiting) == 1:
            # What Faust has at hand comes without a pause; the loop's next turn is behind it.
            asyncio.get_running_loop().call_soon(self._send_soon, stream, lane)

    def _send_soon(self, stream: Stream, lane: Lane) -> None:
        if lane not in self._lanes.by_place.values():
            return  # it went while its records waited; who has it now gets them
        try:
            self._dispatch.send(stream, lane)
        except Exception as error:
            log.exception("%s", stream)
            self._life.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    async def _hole_is_real(self, lane: Lane, message: Any) -> bool:
        """Whether the offsets before `message` hold no records (a transaction's markers, compaction).

        If they do, Faust dropped records on the way, as it can behind a rebalance: the partition is read
        again from the first of them.
        """
        place = (message.topic, message.partition)
        while not self._life.stopping and self._lanes.holds(place, lane):
            try:
                first = await self._probe.first(place, lane.expected)
            except RetryLater as error:
                log.warning("%s", error)
                await asyncio.sleep(error.after_seconds)
                continue
            if first >= message.offset:
                return True
            log.warning(
                "%s partition %d: offset %d came where %d should have; reading again from there",
                message.topic,
                message.partition,
                message.offset,
                first,
            )
            lane.sought = first
            await self._consumer.seek(place, first)
            break
        return False
