"""The gateway's connection to Kafka: one producer, and a watch that knows when it is of use.

States. `ready`: topics and epoch are known and the broker answers. `stalled`: connected, but the broker
has not answered for a while: nothing new is taken, what is under way may still be acked. `away`: no
connection, no topics or no epoch: what was under way has an unknown outcome. Recovery is by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from tidegate import telemetry
from tidegate.contracts.topics import STREAMS, Stream, raw
from tidegate.errors import RetryLater, Stop
from tidegate.kafka import topics
from tidegate.kafka.connection import Connection

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.1  # between two looks at the broker
CONNECT_SECONDS = 5.0
RAW_TOPICS = {stream: raw(stream) for stream in STREAMS}


class State(StrEnum):
    AWAY = "away"
    STALLED = "stalled"
    READY = "ready"


class NotSent(RetryLater):
    """The record never left the gateway."""


class Broker:
    """Produces records with acks of all replicas, idempotently where the broker can.

    `on_change(state)` is called after each change of state.
    """

    def __init__(
        self,
        kafka: Connection,
        *,
        ack_timeout_ms: int,
        answer_ms: int,
        max_record_bytes: int,
        least_partitions: Callable[[int], int] = int,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        """`answer_ms` is the broker's longest silence before it counts as stalled. `least_partitions` gives
        the number to insist on where so many were found; `require` is called in a thread before anything is
        written, and raises where the topics cannot be written to."""
        self._kafka = kafka
        self._least_partitions = least_partitions
        self._require = require
        self._ack_timeout_ms = ack_timeout_ms
        self._answer_seconds = answer_ms / 1000
        self._max_record_bytes = max_record_bytes
        self._producer: Any = None
        self._watcher: asyncio.Task[None] | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        self._answered = float("-inf")
        self.state = State.AWAY
        self.reason = "not connected yet"
        self.epoch = ""
        self.partitions: dict[Stream, int] = {}
        self.idempotent = False
        self.on_change: Callable[[State], None] = lambda state: None

    def start(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if self._producer is not None:
            self._abandon()
        await asyncio.gather(*self._farewells, return_exceptions=True)

    async def produce(
        self, stream: Stream, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        """Append one record and return its offset. Raises NotSent, or KafkaError: outcome unknown."""
        producer = self._producer
        if producer is None or producer.client.cluster.partitions_for_topic(RAW_TOPICS[stream]) is None:
            raise NotSent(self.reason)
        future = await producer.send(
            RAW_TOPICS[stream], value, partition=partition, headers=list(headers) or None
        )
        record = await future
        self._answered = time.monotonic()
        if self.state is State.STALLED and producer is self._producer:
            self._change(State.READY, "")
        offset: int = record.offset
        return offset

    async def reread_epoch(self) -> str:
        """The epoch as it stands in the control topic now. Raises RetryLater."""
        self.epoch = await asyncio.to_thread(topics.read_epoch, self._kafka, timeout_seconds=2.0)
        return self.epoch

    async def _watch(self) -> None:
        while True:
            try:
                if self._producer is None:
                    await self._connect()
                else:
                    await self._look()
            except (KafkaError, RetryLater, Stop, OSError, TimeoutError) as error:
                self._lose(str(error) or type(error).__name__)
            except Exception:
                logger.exception("the watch over the broker failed")
                self._lose("internal error")
            await asyncio.sleep(WATCH_SECONDS)

    async def _connect(self) -> None:
        try:
            self._producer = await self._start_producer(idempotent=True)
            self.idempotent = True
        except (KafkaConnectionError, TimeoutError):
            raise
        except KafkaError as error:
            # Connected, but the broker gives no producer id.
            self._producer = await self._start_producer(idempotent=False)
            self.idempotent = False
            logger.info("no idempotent producer on this broker (%r)", error)
        # All topics, not ours by name: naming a missing topic would create it.
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._producer.client.force_metadata_update()
        await self._look()

    async def _start_producer(self, *, idempotent: bool) -> Any:
        producer = AIOKafkaProducer(
            **self._kafka.aiokafka(),
            client_id="tidegate-gateway",
            acks="all",
            enable_idempotence=idempotent,
            compression_type="zstd",
            max_batch_size=self._max_record_bytes,
            max_request_size=self._max_record_bytes,
            request_timeout_ms=self._ack_timeout_ms,
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await producer.start()
        except BaseException:
            await self._farewell(producer)
            raise
        return producer

    async def _look(self) -> None:
        """One question to the broker: are the raw topics there, and does it answer in time?"""
        producer = self._producer
        sender = producer._sender.sender_task
        if sender is None or sender.done():
            raise RetryLater("the producer stopped")
        try:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes with the answer.
            async with asyncio.timeout(self._answer_seconds):
                counts = await self._partition_counts(producer.client)
        except TimeoutError:
            # Under load an ack may come while the question waits its turn.
            if self.state is State.READY and time.monotonic() - self._answered > self._answer_seconds:
                self._change(State.STALLED, f"no answer for {self._answer_seconds:g} s")
            return
        missing = [topic for topic in RAW_TOPICS.values() if not counts.get(topic)]
        if missing:
            raise RetryLater(f"no topic {', '.join(missing)}: run `tidegate topics`")
        self._check_counts(counts)
        cluster = producer.client.cluster
        if any(len(cluster.partitions_for_topic(topic) or ()) != count for topic, count in counts.items()):
            async with asyncio.timeout(CONNECT_SECONDS):
                await producer.client.force_metadata_update()
        self.partitions = {stream: counts[topic] for stream, topic in RAW_TOPICS.items()}
        if self.state is State.AWAY:
            await asyncio.to_thread(self._require)
            await self.reread_epoch()
        if self.state is not State.READY:
            self._change(State.READY, "")

    def _check_counts(self, counts: dict[str, int]) -> None:
        """Raise RetryLater for topics that the worker would not take from; nothing is written to them."""
        listed = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
        fewest = min(counts.values())
        least = self._least_partitions(fewest)
        if fewest < least:
            raise RetryLater(
                f"kafka_partitions is {least}, but {listed}: set it to what is there, or add"
                " partitions to all the tidegate topics alike"
            )
        if len(set(counts.values())) > 1:
            raise RetryLater(f"the raw topics must all have the same number of partitions: {listed}")

    async def _partition_counts(self, client: Any) -> dict[str, int]:
        request = MetadataRequest(list(RAW_TOPICS.values()), allow_auto_topic_creation=False)
        failure: KafkaError = KafkaConnectionError("no broker known")
        for node in [broker.nodeId for broker in client.cluster.brokers()]:
            try:
                answer = await client.send(node, request)
            except KafkaError as error:
                failure = error
                continue
            return {topic[1]: len(topic[-1]) for topic in answer.topics if topic[0] == 0}
        raise failure

    def _lose(self, reason: str) -> None:
        if self._producer is not None:
            self._abandon()
        if self.state is not State.AWAY or self.reason != reason:
            self._change(State.AWAY, reason)

    def _change(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        telemetry.GATEWAY_BROKER_READY.set(state is State.READY)
        if state is State.READY:
            logger.info("broker ready, epoch %s, idempotent %s", self.epoch, self.idempotent)
        else:
            logger.warning("broker %s: %s", state, reason)
        self.on_change(state)

    def _abandon(self) -> None:
        """Let go of the producer without waiting for what it still holds: its outcome is unknown now.

        A producer that lived on would send it when the broker is back, long after the sender was told
        to try again.
        """
        task = asyncio.create_task(self._farewell(self._producer))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        self._producer = None

    @staticmethod
    async def _farewell(producer: Any) -> None:
        producer._closed = True
        for close in (producer.client.close, producer._sender.close):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await close()
