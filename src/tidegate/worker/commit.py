"""Commits positions, after the counts and the dedup marks of the records before them are acknowledged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from tidegate.contracts.counts import MINUTE, CountBlock
from tidegate.contracts.topics import RAW_STREAMS, StreamPartition, TopicPartition
from tidegate.telemetry import WORKER_KEYS, WORKER_KEYS_COVERED
from tidegate.worker.dedup_window import DedupTable
from tidegate.worker.group_consumer import GroupConsumer, Position
from tidegate.worker.in_flight import InFlight
from tidegate.worker.minutes import split_by_site
from tidegate.worker.partition import AssignedPartitions
from tidegate.worker.producer import Producer
from tidegate.worker.transform import Transforms

log = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0


class Committer:
    """`partitions`: how many `tidegate.partials` has; `record_bytes`: the largest that a record may be."""

    def __init__(
        self,
        assigned: AssignedPartitions,
        in_flight: InFlight,
        producer: Producer,
        dedup_changelog: DedupChangelog,
        consumer: GroupConsumer,
        transforms: Transforms,
        *,
        partitions: int,
        record_bytes: int,
    ) -> None:
        self._assigned = assigned
        self._in_flight = in_flight
        self._producer = producer
        self._dedup_changelog = dedup_changelog
        self._consumer = consumer
        self._transforms = transforms
        self._partitions = partitions
        self._most_bytes = record_bytes // 2
        self._committing = asyncio.Lock()

    async def run(self) -> None:
        """Commit every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self.commit()

    async def finish(self, seconds: float) -> None:
        """Wait for what is in flight, and commit it. Gives up after `seconds`: it will be sent again."""
        states = list(self._assigned.states.values())
        deadline = time.monotonic() + seconds
        while not all(state.drained for state in states) and time.monotonic() < deadline:
            self._in_flight.poll()
            await asyncio.sleep(0.005)
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                await self.commit()
        except TimeoutError:
            log.info("the last commit was not taken in time")

    async def commit(self) -> None:
        """Send the counts of acknowledged records, then commit their positions. After a failure the next
        call does both again."""
        async with self._committing:
            states = {
                partition: (state, Position(state.position, state.before))
                for partition, state in self._assigned.states.items()
                if state.position > state.committed or state.read_to // MINUTE > state.told_to
            }
            if not states:
                return
            for state, position in states.values():
                state.read_to = max(state.read_to, state.uncommitted.read_to(position.offset))
                state.told_to = state.read_to // MINUTE
            # One without counts says how far its partition is read, so that minutes can be closed.
            blocks = [
                CountBlock(
                    RAW_STREAMS[topic],
                    partition,
                    state.committed,
                    state.generation,
                    state.uncommitted.up_to(position.offset),
                    state.read_to,
                )
                for (topic, partition), (state, position) in states.items()
            ]
            moved = {
                partition: (state, position)
                for partition, (state, position) in states.items()
                if position.offset > state.committed
            }
            for state, _ in moved.values():
                if state.uncommitted.stream == "client_events" and state.uncommitted.newest is not None:
                    self._transforms.learn(state.uncommitted.newest)
            acked = asyncio.Event()
            records = split_by_site(blocks, self._partitions, most_bytes=self._most_bytes)
            self._producer.send_partials(records, acked.set)
            await acked.wait()
            if not moved:
                return
            await self._dedup_changelog.mark(
                {partition: position.offset for partition, (_, position) in moved.items()}
            )
            ours = {
                partition: position
                for partition, (state, position) in moved.items()
                if self._assigned.holds(partition, state)
            }
            try:
                await self._consumer.commit(ours)
            except Exception as error:
                log.info("commit not taken: %s", error or type(error).__name__)
                return
            for state, position in moved.values():
                state.committed = position.offset
                state.uncommitted.clear()


class DedupChangelog:
    """Writes the deletions of old claims, and the marks. (Claims are sent with their frames.)"""

    def __init__(self, keys: DedupTable, producer: Producer) -> None:
        self._keys = keys
        self._producer = producer

    def recovered(self, positions: Mapping[TopicPartition, int]) -> None:
        """The table was read again after an assignment; `positions` are those of our raw partitions."""
        self._keys.recovered(_by_stream(positions))
        self._tell()

    async def mark(self, positions: Mapping[TopicPartition, int]) -> None:
        """Let go of old keys, and set a mark behind the keys of what is about to be committed.

        Asked for a topic's end, the embedded broker leaves out all but the first record of the last batch,
        and Faust would read the table up to there only. With the mark the last batch is one behind all the
        keys that count.
        """
        self._producer.send_keys(self._keys.forget())
        marks = self._keys.marks(_by_stream(positions))
        if marks:
            acked = asyncio.Event()
            self._producer.send_keys(marks, acked.set)
            await acked.wait()
        self._tell()

    def _tell(self) -> None:
        held = self._keys.held()
        WORKER_KEYS.set(held.keys)
        WORKER_KEYS_COVERED.set(held.covered_seconds)


def _by_stream(positions: Mapping[TopicPartition, int]) -> dict[StreamPartition, int]:
    return {
        StreamPartition(RAW_STREAMS[topic], partition): position
        for (topic, partition), position in positions.items()
    }
