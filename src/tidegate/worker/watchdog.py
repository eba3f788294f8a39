"""Ends a process whose records do not move, or whose topics were made anew."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from tidegate.contracts.topics import PARTIALS, RAW_STREAMS, TopicPartition
from tidegate.errors import RetryLater, TidegateError
from tidegate.kafka import topics
from tidegate.kafka.connection import Connection
from tidegate.kafka.probe_thread import ProbeThread
from tidegate.telemetry import WORKER_IN_FLIGHT, WORKER_IN_FLIGHT_BYTES, WORKER_LAG, WORKER_UNDECIDED
from tidegate.worker.assignment import Assignment
from tidegate.worker.group_consumer import GroupConsumer
from tidegate.worker.lifecycle import Lifecycle
from tidegate.worker.partition import AssignedPartitions
from tidegate.worker.producer import Producer
from tidegate.worker.quarantine import Quarantine

log = logging.getLogger(__name__)

EPOCH_SECONDS = 15.0
READ_AGAIN = 0.25  # of the seconds after which a process is ended: then a partition's record is read again
GROUP_SECONDS = 60.0  # how much longer than a record a group may take to come together


class Watchdog:
    """Tells the lag, and ends a process whose records wait and do not move for `seconds`.

    The end of each topic is asked past Faust, which may be what is stuck. What stands behind the last record
    is no lag: markers of transactions, records of aborted and of open ones. The position goes past markers
    and aborted records, so that others who compare it with the end see no lag either. A broker that does not
    answer is nothing that a new start would mend: the clock stands still meanwhile. Records that Faust drops
    show as a hole before the next one; where none follows, they are read again once before the process ends.
    """

    def __init__(
        self,
        assigned: AssignedPartitions,
        assignment: Assignment,
        consumer: GroupConsumer,
        producer: Producer,
        quarantine: Quarantine,
        probe: ProbeThread,
        lifecycle: Lifecycle,
        *,
        seconds: float,
    ) -> None:
        self._assigned = assigned
        self._assignment = assignment
        self._consumer = consumer
        self._producer = producer
        self._quarantine = quarantine
        self._probe = probe
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._stuck: dict[
            TopicPartition, tuple[int, float]
        ] = {}  # position, and since when it has stood there
        self._empty: dict[TopicPartition, tuple[int, int]] = {}  # position and end, no record between them
        self._read_again: dict[TopicPartition, int] = {}  # position from which that was tried
        self._idle_since = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        self._idle_since = time.monotonic()
        while True:
            await asyncio.sleep(min(5.0, self._seconds / 4))
            now = time.monotonic()
            self._quarantine.tell()
            WORKER_IN_FLIGHT.set(sum(state.in_flight for state in self._assigned.states.values()))
            WORKER_IN_FLIGHT_BYTES.set(self._producer.in_flight_bytes)
            try:
                await self._look(now)
                await self._seek_dropped(now)
            except RetryLater as error:
                log.debug("%s", error)
                self._stuck.clear()
                self._idle_since = now
                continue
            self._decide(now)

    async def _look(self, now: float) -> None:
        """Note how far each partition is. Raises RetryLater when the broker does not say."""
        for partition, state in self._assigned.states.items():
            asked = time.time_ns() // 1000
            end = max(await self._probe.end(partition), self._consumer.seen_end(partition))
            position, since = self._stuck.get(partition, (-1, now))
            lag = max(0, end - state.position)
            if lag and state.position == position and not await self._has_record(partition, position, end):
                lag = 0
                # Still there, and the consumer itself was sent nothing up to `end`.
                if state.position == position and self._consumer.position(partition) >= end:
                    state.pass_over(end)
            labels = (RAW_STREAMS[partition.topic], str(partition.partition))
            WORKER_LAG.labels(*labels).set(lag)
            WORKER_UNDECIDED.labels(*labels).set(self._consumer.undecided(partition))
            if not lag:
                state.read_to = max(state.read_to, asked)
            if not lag or state.position != position:
                since = now
            self._stuck[partition] = (state.position, since)
        if not self._assigned.states:  # a live broker counts against a group that never comes together
            await self._probe.partitions(PARTIALS)

    async def _seek_dropped(self, now: float) -> None:
        """Read on from the first record of each partition that has stood still with nothing in work.

        Raises RetryLater when the broker does not say which that is.
        """
        for partition, (position, since) in self._stuck.items():
            state = self._assigned.states.get(partition)
            if (
                now - since < self._seconds * READ_AGAIN
                or state is None
                or not state.drained
                or state.position != position
                or self._read_again.get(partition) == position
            ):
                continue
            first = await self._probe.first(partition, state.expected)
            if not (self._assigned.holds(partition, state) and state.drained and state.position == position):
                continue
            log.warning(
                "%s partition %d: the record at %d did not come, the consumer stands at %d; reading again",
                *partition,
                first,
                self._consumer.position(partition),
            )
            self._read_again[partition] = position
            state.sought = first
            await self._consumer.seek(partition, first)

    async def _has_record(self, partition: TopicPartition, position: int, end: int) -> bool:
        """Whether a record stands from `position` up to `end`; asked once of the same two."""
        if self._empty.get(partition) == (position, end):
            return False
        if await self._probe.has_record(partition, position):
            return True
        self._empty[partition] = (position, end)
        return False

    def _decide(self, now: float) -> None:
        """End the process if a partition, or the group, has stood still for too long."""
        held = self._assigned.states
        self._stuck = {partition: seen for partition, seen in self._stuck.items() if partition in held}
        if self._assignment.ready:
            self._idle_since = now
        elif now - self._idle_since > self._seconds + GROUP_SECONDS:
            self._lifecycle.stop(f"no assignment for {now - self._idle_since:.0f} s", 1)
        for (topic, partition), (position, since) in self._stuck.items():
            if now - since > self._seconds:
                self._lifecycle.stop(
                    f"{topic} partition {partition} stood at {position} for {now - since:.0f} s", 1
                )


async def watch_epoch(kafka: Connection, epoch: str, lifecycle: Lifecycle) -> None:
    """End the process when the topics were made anew; look until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(EPOCH_SECONDS)
        try:
            found = await loop.run_in_executor(None, partial(topics.read_epoch, kafka, timeout_seconds=1.0))
        except TidegateError as error:
            log.debug("%s", error)
            continue
        if found != epoch:
            lifecycle.stop(f"the topics are new: epoch {epoch} became {found}", 1)
