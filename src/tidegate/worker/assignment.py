"""Partitions are assigned and revoked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tidegate.contracts.topics import HEALTH, PARTIALS, RAW_STREAMS, TopicPartition
from tidegate.telemetry import WORKER_LAG, WORKER_LOST, WORKER_REBALANCES, WORKER_UNDECIDED
from tidegate.worker.alerting import Alerting
from tidegate.worker.commit import Committer, DedupChangelog
from tidegate.worker.group_consumer import GroupConsumer, Offsets
from tidegate.worker.in_flight import InFlight
from tidegate.worker.partition import AssignedPartitions, PartitionState
from tidegate.worker.producer import Producer
from tidegate.worker.publish_minutes import Publisher

log = logging.getLogger(__name__)


class Assignment:
    """Makes the states of each assignment; `ready` while their records are processed.

    `finish_seconds`: for how long revoked partitions are held back until what is in flight is acknowledged;
    `give_up` ends the process at once where the tables' changes are not.
    """

    def __init__(
        self,
        assigned: AssignedPartitions,
        consumer: GroupConsumer,
        in_flight: InFlight,
        committer: Committer,
        publisher: Publisher,
        alerting: Alerting,
        dedup_changelog: DedupChangelog,
        producer: Producer,
        *,
        epoch: str,
        finish_seconds: float,
        give_up: Callable[[str], None],
    ) -> None:
        self.ready = False
        self._assigned = assigned
        self._consumer = consumer
        self._in_flight = in_flight
        self._committer = committer
        self._publisher = publisher
        self._alerting = alerting
        self._assignment: set[TopicPartition] = set()  # the present one
        self._dedup_changelog = dedup_changelog
        self._epoch = epoch
        self._producer = producer
        self._finish_seconds = finish_seconds
        self._give_up = give_up
        self._made = asyncio.Event()  # the states of the present assignment are made

    async def revoked(self) -> None:
        """Wait for what is in flight, then forget the partitions."""
        self.ready = False
        self._made.clear()
        if self._assigned.states:
            await self._committer.finish(self._finish_seconds)
        if not await self._producer.await_tables(self._finish_seconds):
            # What came later than the next owner's would undo it; a new process sends none of it.
            self._give_up(f"{self._producer.table_batches} changes of tables are not acknowledged")
        self._assigned.replace({})
        self._alerting.revoked()
        self._publisher.revoked()
        self._in_flight.wake()

    async def assigned(self, partitions: set[TopicPartition]) -> None:
        """Read each partition's offsets before its first record is let through."""
        WORKER_REBALANCES.inc()
        WORKER_LAG.clear()
        WORKER_UNDECIDED.clear()
        self._made.clear()
        self._assigned.replace({})
        self._assignment = set(partitions)
        found = await self._consumer.offsets(one for one in partitions if one[0] in RAW_STREAMS)
        self._assigned.replace({one: self._state(one, offsets) for one, offsets in found.items()})
        self._made.set()

    async def recovered(self) -> None:
        """The tables are read; Faust lets records flow when this returns."""
        await self._made.wait()  # Faust reads the tables while `assigned` still asks
        self._publisher.recovered(self._of(PARTIALS))
        self._alerting.recovered(self._of(HEALTH))
        self._dedup_changelog.recovered(self._assigned.positions())
        self.ready = True
        log.info("ready: epoch %s, %d raw partitions", self._epoch, len(self._assigned.states))

    def _of(self, topic: str) -> set[int]:
        """The partitions of a topic in the present assignment."""
        return {partition for name, partition in self._assignment if name == topic}

    def _state(self, of: TopicPartition, offsets: Offsets) -> PartitionState:
        topic, partition = of
        position, last, beginning = offsets
        start = max(position or 0, beginning)
        state = PartitionState(
            RAW_STREAMS[topic], start, self._consumer.generation, last=last if start == position else None
        )
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
            state.committed = position  # so that the next commit passes over them: they are lost once
        return state
