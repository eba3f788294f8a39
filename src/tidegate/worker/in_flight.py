"""Bounds what was sent and is not acknowledged, and lets acknowledgements in."""

from __future__ import annotations

import asyncio

from tidegate.worker.lifecycle import Lifecycle
from tidegate.worker.partition import PartitionState
from tidegate.worker.producer import Producer


class InFlight:
    """At most `frames` records of each partition, and `size` bytes of all."""

    def __init__(self, producer: Producer, lifecycle: Lifecycle, *, frames: int, size: int) -> None:
        self._producer = producer
        self._lifecycle = lifecycle
        self._frames = frames
        self._size = size
        self._change = asyncio.Event()
        lifecycle.at_stop(self.wake)

    def full(self, state: PartitionState) -> bool:
        """Whether a partition's next record has to wait; records that wait to be transformed count, too."""
        return (
            state.in_flight + len(state.waiting) >= self._frames
            or self._producer.in_flight_bytes > self._size
        )

    async def changed(self) -> None:
        """Wait until something was acknowledged, or until there is another reason to look again."""
        self._change.clear()
        await self._change.wait()

    def wake(self) -> None:
        """Let those who wait look again: partitions were revoked, or the process stops."""
        self._change.set()

    def poll(self) -> None:
        """Run the producer's callbacks; advance past acknowledged records; stop on a refused one."""
        acked = self._producer.poll()
        for state in {sent.state for sent in acked}:
            state.advance()
        if acked:
            self._change.set()
        if self._producer.failure is not None:
            self._lifecycle.stop(self._producer.failure, 1)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self._lifecycle.beat()
            self.poll()
            await asyncio.sleep(0.002 if self._producer.waiting else 0.02)
