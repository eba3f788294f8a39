"""commits: the positions of the lanes, committed behind everything that came of the records before them."""

from __future__ import annotations

import asyncio
import logging
import time

from tidegate.contracts.topics import RAW_STREAMS
from tidegate.processing.emitter import Emitter
from tidegate.processing.health import records
from tidegate.processing.tally import Block
from tidegate.worker.consumer import Consumer
from tidegate.worker.in_flight import InFlight
from tidegate.worker.lanes import Lanes
from tidegate.worker.marks import KeyMarks
from tidegate.worker.transforms import Transforms

log = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0


class Commits:
    """`partitions`: how many `tidegate.partials` has."""

    def __init__(
        self,
        lanes: Lanes,
        in_flight: InFlight,
        emitter: Emitter,
        marks: KeyMarks,
        consumer: Consumer,
        transforms: Transforms,
        *,
        partitions: int,
    ) -> None:
        self._lanes = lanes
        self._in_flight = in_flight
        self._emitter = emitter
        self._marks = marks
        self._consumer = consumer
        self._transforms = transforms
        self._partitions = partitions
        self._committing = asyncio.Lock()

    async def run(self) -> None:
        """Commit every two seconds, for ever."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self.commit()

    async def finish(self, seconds: float) -> None:
        """Let what is in flight land, and commit it. Gives up after `seconds`: it will be sent again."""
        lanes = list(self._lanes.by_place.values())
        deadline = time.monotonic() + seconds
        while not all(lane.landed for lane in lanes) and time.monotonic() < deadline:
            self._in_flight.land()
            await asyncio.sleep(0.005)
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                await self.commit()
        except TimeoutError:
            log.info("the last commit was not taken in time")

    async def commit(self) -> None:
        """Send the counts of what landed, then commit it. What fails is made up for by the next commit."""
        async with self._committing:
            moved = {
                place: (lane, lane.position)
                for place, lane in self._lanes.by_place.items()
                if lane.position > lane.committed
            }
            if not moved:
                return
            blocks = [
                Block(
                    RAW_STREAMS[topic],
                    partition,
                    lane.committed,
                    lane.generation,
                    lane.tally.before(position),
                )
                for (topic, partition), (lane, position) in moved.items()
            ]
            for lane, _ in moved.values():
                if lane.tally.stream == "client_events" and lane.tally.newest is not None:
                    self._transforms.learn(lane.tally.newest)
            there = asyncio.Event()
            self._emitter.send_partials(records(blocks, self._partitions), there.set)
            await there.wait()
            await self._marks.mark({place: position for place, (_, position) in moved.items()})
            ours = {
                place: position for place, (lane, position) in moved.items() if self._lanes.holds(place, lane)
            }
            try:
                await self._consumer.commit(ours)
            except Exception as error:
                log.info("commit not taken: %s", error or type(error).__name__)
                return
            for lane, position in moved.values():
                lane.committed = position
                lane.tally.settle()
