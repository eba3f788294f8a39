"""in_flight: what was sent and is not acknowledged: how much it may be, and how it lands."""

from __future__ import annotations

import asyncio

from tidegate.processing.emitter import Emitter
from tidegate.processing.lane import Lane
from tidegate.worker.life import Life


class InFlight:
    """Bounded by `frames` in each lane, and by `size` bytes in all."""

    def __init__(self, emitter: Emitter, life: Life, *, frames: int, size: int) -> None:
        self._emitter = emitter
        self._life = life
        self._frames = frames
        self._size = size
        self._change = asyncio.Event()
        life.at_stop(self.wake)

    def full(self, lane: Lane) -> bool:
        """Whether a lane's next record has to wait; those of it that wait to be transformed count, too."""
        return (
            lane.in_flight + len(lane.waiting) >= self._frames or self._emitter.in_flight_bytes > self._size
        )

    async def changed(self) -> None:
        """Wait until something landed, or until there is another reason to look again."""
        self._change.clear()
        await self._change.wait()

    def wake(self) -> None:
        """Have those who wait look again: lanes went, or the process stops."""
        self._change.set()

    def land(self) -> None:
        """Let the producer's callbacks run: lanes move past what landed; a refused record is the end."""
        landed = self._emitter.poll()
        for lane in {frame.lane for frame in landed}:
            lane.advance()
        if landed:
            self._change.set()
        if self._emitter.failure is not None:
            self._life.stop(self._emitter.failure, 1)

    async def pump(self) -> None:
        """Let things land, for ever."""
        while True:
            self._life.beat()
            self.land()
            await asyncio.sleep(0.002 if self._emitter.waiting else 0.02)
