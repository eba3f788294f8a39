"""assignment: partitions come and go."""

from __future__ import annotations

import asyncio
import logging

from tidegate.contracts.topics import RAW_STREAMS
from tidegate.processing.lane import Lane
from tidegate.telemetry import WORKER_LAG, WORKER_LOST, WORKER_REBALANCES
from tidegate.worker.commits import Commits
from tidegate.worker.consumer import Consumer, Standing
from tidegate.worker.counts import Counts
from tidegate.worker.in_flight import InFlight
from tidegate.worker.lanes import Lanes, Place
from tidegate.worker.marks import KeyMarks

log = logging.getLogger(__name__)


class Assignment:
    """Makes the lanes of each assignment; `ready` while records flow through them.

    `finish_seconds`: for how long partitions that go are held back, for what is in flight to land.
    """

    def __init__(
        self,
        lanes: Lanes,
        consumer: Consumer,
        in_flight: InFlight,
        commits: Commits,
        counts: Counts,
        marks: KeyMarks,
        *,
        epoch: str,
        finish_seconds: float,
    ) -> None:
        self.ready = False
        self._lanes = lanes
        self._consumer = consumer
        self._in_flight = in_flight
        self._commits = commits
        self._counts = counts
        self._marks = marks
        self._epoch = epoch
        self._finish_seconds = finish_seconds
        self._placed = asyncio.Event()  # the lanes of the present assignment are there

    async def revoked(self) -> None:
        """Partitions go: give what is in flight the chance to land, then forget them."""
        self.ready = False
        self._placed.clear()
        if self._lanes.by_place:
            await self._commits.finish(self._finish_seconds)
        self._lanes.replace({})
        self._in_flight.wake()

    async def assigned(self, places: set[Place]) -> None:
        """Partitions come: learn where each one stands before its first record is let through."""
        WORKER_REBALANCES.inc()
        WORKER_LAG.clear()
        self._placed.clear()
        self._lanes.replace({})
        standings = await self._consumer.standings(place for place in places if place[0] in RAW_STREAMS)
        self._lanes.replace({place: self._lane(place, standing) for place, standing in standings.items()})
        self._placed.set()

    async def recovered(self) -> None:
        """The tables are read; Faust lets records flow when this returns."""
        await self._placed.wait()  # Faust reads the tables while `assigned` still asks
        self._counts.recovered()
        self._marks.recovered(self._lanes.positions())
        self.ready = True
        log.info("ready: epoch %s, %d raw partitions", self._epoch, len(self._lanes.by_place))

    def _lane(self, place: Place, standing: Standing) -> Lane:
        topic, partition = place
        position, beginning = standing
        lane = Lane(RAW_STREAMS[topic], max(position or 0, beginning), self._consumer.generation)
        if position is not None and position < beginning:
            WORKER_LOST.labels(RAW_STREAMS[topic]).inc(beginning - position)
            log.error(
                "%s partition %d: records %d to %d are gone from the topic and were never read:"
                " its retention is too short",
                topic,
                partition,
                position,
                beginning - 1,
            )
            lane.committed = position  # so that the next commit passes over them: they are lost once
        return lane
