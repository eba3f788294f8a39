"""Takes raw records from Faust, each offset once and in order; transforms them and sends what they yield."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from tidegate.contracts.rejects import Fault
from tidegate.contracts.topics import Stream, TopicPartition
from tidegate.errors import RetryLater
from tidegate.kafka.bounded_fetch import refusal_of
from tidegate.kafka.probe_thread import ProbeThread
from tidegate.steps.frame import Record
from tidegate.steps.received import written_at
from tidegate.telemetry import (
    WORKER_CRASHES,
    WORKER_FAILURES,
    WORKER_FRAMES,
    WORKER_LINES,
    WORKER_TRANSFORM_SECONDS,
    WORKER_UNREAD,
    WORKER_WAIT_SECONDS,
)
from tidegate.worker.group_consumer import GroupConsumer
from tidegate.worker.in_flight import InFlight
from tidegate.worker.lifecycle import Lifecycle
from tidegate.worker.partition import Arrival, AssignedPartitions, PartitionState
from tidegate.worker.producer import Producer, count
from tidegate.worker.quarantine import Quarantine
from tidegate.worker.transform import Transforms

if TYPE_CHECKING:
    from tidegate.worker.traces import RecordTraces

log = logging.getLogger(__name__)

TOGETHER_BYTES = 1_000_000  # of records that wait for those right behind them, to be transformed together


class RecordConsumer:
    """The agents of the raw topics."""

    def __init__(
        self,
        assigned: AssignedPartitions,
        in_flight: InFlight,
        transforms: Transforms,
        producer: Producer,
        quarantine: Quarantine,
        consumer: GroupConsumer,
        probe: ProbeThread,
        lifecycle: Lifecycle,
        traces: RecordTraces | None = None,
    ) -> None:
        self._traces = traces
        self._assigned = assigned
        self._in_flight = in_flight
        self._transforms = transforms
        self._producer = producer
        self._quarantine = quarantine
        self._consumer = consumer
        self._probe = probe
        self._lifecycle = lifecycle

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
                self._lifecycle.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    async def process(self, stream: Stream, message: Any) -> None:
        """Accept the record that is next in its partition, when there is room in flight; drop any other."""
        partition = TopicPartition(message.topic, message.partition)
        state = self._assigned.states.get(partition)
        if state is None or self._lifecycle.stopping:
            return
        refusal = refusal_of(message.headers)
        arrival = state.arrive(message.offset, None if refusal is None else refusal.first)
        if arrival is Arrival.REPEAT or arrival is Arrival.EARLY:
            return
        if arrival is Arrival.HOLE and not await self._hole_is_real(state, message):
            return
        if self._in_flight.full(state):
            self._send(stream, state)
            begun = time.perf_counter()
            while self._in_flight.full(state):
                await self._in_flight.changed()
                if self._lifecycle.stopping or not self._assigned.holds(partition, state):
                    return
            WORKER_WAIT_SECONDS.labels(stream).inc(time.perf_counter() - begun)
        record = Record(
            message.partition,
            message.offset,
            state.accept(message.offset),
            message.value or b"",
            () if refusal else message.headers or (),
            written_at(message.timestamp, time.time_ns() // 1000),
            refusal and Fault(refusal.code, "", "", refusal.allowed, refusal.detail),
        )
        if refusal is not None:
            WORKER_UNREAD.labels(stream).inc()
            log.warning(
                "%s partition %d offsets %d to %d refused unread: %s",
                *partition,
                refusal.first,
                record.offset,
                refusal.detail,
            )
        if state.waiting_bytes + len(record.value) > TOGETHER_BYTES:
            self._send(stream, state)
        state.wait(record)
        if state.waiting_bytes > TOGETHER_BYTES:
            self._send(stream, state)
        elif len(state.waiting) == 1:
            # What Faust has at hand comes without a pause; the loop's next turn is behind it.
            asyncio.get_running_loop().call_soon(self._send_soon, stream, state)

    def _send_soon(self, stream: Stream, state: PartitionState) -> None:
        if state not in self._assigned.states.values():
            return  # the partition was revoked while its records waited; its new owner reads them
        try:
            self._send(stream, state)
        except Exception as error:
            log.exception("%s", stream)
            self._lifecycle.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    def _send(self, stream: Stream, state: PartitionState) -> None:
        """Transform the waiting records of a partition, and send their outputs."""
        records = state.take_waiting()
        if not records:
            return
        begun = time.perf_counter()
        begun_ns = time.time_ns()
        for record, outputs in zip(records, self._transforms.of(stream, records), strict=True):
            if self._traces is not None:
                self._traces.transformed(stream, record, outputs, begun_ns)
            sent = state.send(record.offset, outputs=count(outputs), size=outputs.size)
            self._producer.send(stream, record.partition, sent, outputs)
            state.uncommitted.add(record.offset, outputs.batch, record.timestamp)
            self._quarantine.watch(stream, outputs)
            WORKER_LINES.labels(stream, "accepted").inc(outputs.batch.num_rows)
            if outputs.duplicates:
                WORKER_LINES.labels(stream, "duplicate").inc(outputs.duplicates)
            if outputs.rejects:
                WORKER_LINES.labels(stream, "rejected").inc(len(outputs.rejects))
                WORKER_CRASHES.labels(stream).inc(outputs.crashed)
            if outputs.failures:
                WORKER_FAILURES.labels(stream).inc(len(outputs.failures))
        WORKER_FRAMES.labels(stream).inc(len(records))
        WORKER_TRANSFORM_SECONDS.labels(stream).inc(time.perf_counter() - begun)

    async def _hole_is_real(self, state: PartitionState, message: Any) -> bool:
        """Whether the offsets before `message` hold no records (a transaction's markers, compaction).

        If they do, Faust dropped records on the way, as it can behind a rebalance: the partition is read
        again from the first of them.
        """
        partition = TopicPartition(message.topic, message.partition)
        if self._consumer.follows(partition, message.offset, state.last):
            return True
        while not self._lifecycle.stopping and self._assigned.holds(partition, state):
            try:
                first = await self._probe.first(partition, state.expected)
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
            state.sought = first
            await self._consumer.seek(partition, first)
            break
        return False
