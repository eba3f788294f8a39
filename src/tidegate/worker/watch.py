"""watch: whether records move, and whether the topics are still the same, seen from beside the flow."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from tidegate.contracts.topics import PARTIALS, RAW_STREAMS
from tidegate.errors import RetryLater, TidegateError
from tidegate.kafka import topics
from tidegate.processing.emitter import Emitter
from tidegate.processing.limit import Limit
from tidegate.telemetry import WORKER_IN_FLIGHT, WORKER_IN_FLIGHT_BYTES, WORKER_LAG
from tidegate.worker.assignment import Assignment
from tidegate.worker.consumer import Consumer
from tidegate.worker.lanes import Lanes, Place
from tidegate.worker.life import Life
from tidegate.worker.probe_thread import ProbeThread

log = logging.getLogger(__name__)

EPOCH_SECONDS = 15.0
GROUP_SECONDS = 60.0  # how much longer than a record a group may take to come together


class Watch:
    """Tells the lag, and ends a process whose records lie there and do not move for `seconds`.

    The end of each topic is asked past Faust, which may be what is stuck. A broker that does not
    answer is nothing that a new start would mend: the clock stands still meanwhile.
    """

    def __init__(
        self,
        lanes: Lanes,
        assignment: Assignment,
        consumer: Consumer,
        emitter: Emitter,
        limit: Limit,
        probe: ProbeThread,
        life: Life,
        *,
        seconds: float,
    ) -> None:
        self._lanes = lanes
        self._assignment = assignment
        self._consumer = consumer
        self._emitter = emitter
        self._limit = limit
        self._probe = probe
        self._life = life
        self._seconds = seconds
        self._stuck: dict[Place, tuple[int, float]] = {}  # position, and since when it has stood there
        self._idle_since = 0.0

    async def run(self) -> None:
        """Look on, for ever."""
        self._idle_since = time.monotonic()
        while True:
            await asyncio.sleep(min(5.0, self._seconds / 4))
            now = time.monotonic()
            self._limit.tell()
            WORKER_IN_FLIGHT.set(sum(lane.in_flight for lane in self._lanes.by_place.values()))
            WORKER_IN_FLIGHT_BYTES.set(self._emitter.in_flight_bytes)
            try:
                await self._look(now)
            except RetryLater as error:
                log.debug("%s", error)
                self._stuck.clear()
                self._idle_since = now
                continue
            self._judge(now)

    async def _look(self, now: float) -> None:
        """See where each partition stands. Raises RetryLater when the broker does not say."""
        for place, lane in self._lanes.by_place.items():
            end = max(await self._probe.end(place), self._consumer.seen_end(place))
            WORKER_LAG.labels(RAW_STREAMS[place[0]], str(place[1])).set(max(0, end - lane.position))
            position, since = self._stuck.get(place, (-1, now))
            if end <= lane.position or lane.position != position:
                since = now
            self._stuck[place] = (lane.position, since)
        if not self._lanes.by_place:  # a live broker counts against a group that never comes together
            await self._probe.partitions(PARTIALS)

    def _judge(self, now: float) -> None:
        """End the process if a partition, or the group, has stood still for too long."""
        held = self._lanes.by_place
        self._stuck = {place: state for place, state in self._stuck.items() if place in held}
        if self._assignment.ready:
            self._idle_since = now
        elif now - self._idle_since > self._seconds + GROUP_SECONDS:
            self._life.stop(f"no assignment for {now - self._idle_since:.0f} s", 1)
        for (topic, partition), (position, since) in self._stuck.items():
            if now - since > self._seconds:
                self._life.stop(
                    f"{topic} partition {partition} stood at {position} for {now - since:.0f} s", 1
                )


async def watch_epoch(bootstrap: str, epoch: str, life: Life) -> None:
    """End the process when the topics begin another life; look for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(EPOCH_SECONDS)
        try:
            found = await loop.run_in_executor(
                None, partial(topics.read_epoch, bootstrap, timeout_seconds=1.0)
            )
        except TidegateError as error:
            log.debug("%s", error)
            continue
        if found != epoch:
            life.stop(f"the topics are new: epoch {epoch} became {found}", 1)
