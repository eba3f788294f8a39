"""The probe's blocking calls, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from tidegate.contracts.topics import TopicPartition
from tidegate.kafka.probe import Probe

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class ProbeThread:
    """A thread of the probe's own, since one at a time may use it. The answers, and RetryLater, are its."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._threads = ThreadPoolExecutor(1, "probe")

    async def end(self, partition: TopicPartition) -> int:
        """The offset behind everything that may be read of a partition."""
        return await self._ask(self._probe.end, *partition)

    async def has_record(self, partition: TopicPartition, offset: int) -> bool:
        """Whether there is a record at or behind `offset`."""
        return await self._ask(self._probe.has_record, *partition, offset)

    async def first(self, partition: TopicPartition, offset: int) -> int:
        """The offset of the first record at or behind `offset`."""
        return await self._ask(self._probe.first, *partition, offset)

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return await self._ask(self._probe.partitions, topic)

    def shutdown(self) -> None:
        """Ask nothing more; what is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, question: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, question, *arguments)
