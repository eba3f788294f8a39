"""The Faust app and its settings. No other module imports Faust."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from tidegate.contracts.topics import RAW_STREAMS, TopicPartition
from tidegate.kafka.bounded_fetch import bound
from tidegate.kafka.connection import Connection, connection
from tidegate.settings import Settings
from tidegate.worker.group_consumer import GroupConsumer
from tidegate.worker.skipped_offsets import SkippedOffsets

GROUP = "tidegate-worker"  # consumer group, and the prefix of Faust's own topics

FETCH_WAIT_MS = 100  # that the broker may hold an answer back while there is nothing to send

LARGE_RECORD = 262_144  # bytes from which on a record counts as large
LARGE_BYTES = 134_217_728  # of large records in memory; no more are fetched while they are
FULL_SECONDS = 0.05  # until that is looked at again

_BYTES: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
_RAW_BYTES = _BYTES | {"key_serializer": "raw", "value_serializer": "raw", "allow_empty": True}


class FaustApp:
    """The Faust app: topics and tables of bytes, the tables in memory. Faust itself writes no record."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._partitions = partitions
        bound(settings.kafka_max_record_bytes)
        self._app = _app(settings, partitions)
        self._app.transport.Consumer = _RawConsumer
        self.consumer = GroupConsumer(self._app)

    def table(self, name: str) -> Any:
        """A Faust table of bytes by bytes, partitioned as the topics are. Faust reads it from its changelog
        at an assignment; changes are written past it, by the worker's producer: records share batches."""
        return self._app.Table(name, partitions=self._partitions, **_BYTES)

    def agent(self, name: str, topic: str, take: Callable[[Any], Awaitable[None]], *, acks: bool) -> None:
        """Have `take` run over the stream of a topic; `acks`: whether Faust is to commit its offsets."""
        channel = self._app.topic(topic, acks=acks, **_RAW_BYTES)
        self._app.agent(channel, name=name, concurrency=1)(take)

    def on_rebalance(
        self,
        *,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[set[TopicPartition]], Awaitable[None]],
        recovered: Callable[[], Awaitable[None]],
    ) -> None:
        """Have these called when partitions are revoked, when they are assigned, when the tables are read.

        Faust lets records flow when `recovered` returns; it reads the tables while `assigned` may still run.
        """

        async def on_revoked(app: Any, partitions: set[Any], **_: Any) -> None:
            await revoked()

        async def on_assigned(app: Any, partitions: set[Any], **_: Any) -> None:
            await assigned(partitions)

        async def on_recovered(app: Any, **_: Any) -> None:
            await recovered()

        self._app.on_partitions_revoked.connect(on_revoked)
        self._app.on_partitions_assigned.connect(on_assigned)
        self._app.on_rebalance_complete.connect(on_recovered)

    async def run(self) -> Any:
        """Run until it stops by itself or is stopped; returns what it crashed of, None for nothing."""
        self._app.consumer._read_offset = _ReadOffsets(lambda: None)
        await self._app.start()
        await self._app.wait_until_stopped()
        return getattr(self._app, "crash_reason", None)

    async def stop(self) -> None:
        await self._app.stop()


class _ReadOffsets(defaultdict[Any, int | None]):
    """How far Faust believes it has read. Raw topics are left out, or it would drop what a seek reads again;
    `PartitionState` checks their offsets."""

    def __setitem__(self, partition: Any, offset: int | None) -> None:
        if partition[0] not in RAW_STREAMS:
            super().__setitem__(partition, offset)

    def update(self, offsets: Any) -> None:  # type: ignore[override]
        for partition, offset in offsets.items():
            self[partition] = offset


_log = logging.getLogger("faust.consumer")  # a subclass would log under this module's name, and is Faust's


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """With settings of aiokafka that are none of Faust's, and a note of the offsets that its fetches skipped.

    Faust lets the broker hold a fetch back for 1.5 s. The embedded broker looks only twice in that time
    whether something came: records lay there for up to 0.7 s. And Faust reads what is committed only as part
    of its own transactions.
    """

    logger = _log

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.skipped = SkippedOffsets()

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(self, consumer: Any, active_partitions: Any, **more: Any) -> Any:
        if self.consumer.large.bytes > LARGE_BYTES and active_partitions:
            active_partitions = {tp for tp in active_partitions if tp[0] not in RAW_STREAMS}
            if not active_partitions:  # which aiokafka would take for all
                await asyncio.sleep(FULL_SECONDS)
                return {}
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None

        def positions() -> dict[TopicPartition, int]:
            """The next offset to read of each partition that has one."""
            if assignment is None or not assignment.active:
                return {}
            states = {tp: assignment.state_value(tp) for tp in assignment.tps}
            return {tp: state.position for tp, state in states.items() if state.has_valid_position}

        self.skipped.begin(positions())
        found = await super()._fetch_records(consumer, active_partitions, **more)
        self.skipped.end(found, positions())
        return found


class _LargeRecords:
    """Bytes of the large records that wait for the worker. Faust bounds their number alone, and drops some
    on the way, so each counts for as long as it lives."""

    def __init__(self) -> None:
        self.bytes = 0

    def add(self, message: Any) -> None:
        size = len(message.value or b"") + len(message.key or b"")
        if size > LARGE_RECORD:
            self.bytes += size
            weakref.finalize(message, self._forget, size)

    def _forget(self, size: int) -> None:
        self.bytes -= size


class _RawConsumer(driver.Consumer):  # type: ignore[misc]
    logger = _log

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.large = _LargeRecords()

    def _to_message(self, tp: Any, record: Any) -> Any:
        message = super()._to_message(tp, record)
        self.large.add(message)
        return message

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


def credentials(kafka: Connection) -> Any:
    """What Faust calls credentials: who it is, and how the connection is made; None for neither."""
    tls = kafka.ssl_context() if kafka.tls else None
    if kafka.oauth is not None:
        return faust.OAuthCredentials(oauth_cb=kafka.oauth.tokens(), ssl_context=tls)
    if kafka.mechanism:
        return faust.SASLCredentials(
            username=kafka.username, password=kafka.password, ssl_context=tls, mechanism=kafka.mechanism
        )
    return faust.SSLCredentials(tls) if tls is not None else None


def _app(settings: Settings, partitions: int) -> Any:
    """The Faust app, with everything off that is not used."""
    kafka = connection(settings)
    session = settings.kafka_session_timeout_ms / 1000
    folder = Path(settings.data_dir) / "worker"
    folder.mkdir(parents=True, exist_ok=True)
    return faust.App(
        GROUP,
        broker=";".join(f"kafka://{server.strip()}" for server in kafka.bootstrap.split(",")),
        broker_credentials=credentials(kafka),
        datadir=str(folder),
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=settings.kafka_replication,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        cython_optimizations=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=1024 * 1024,  # compressed; a larger record comes all the same
        broker_max_poll_records=100,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 3,
        broker_request_timeout=max(30.0, session + 5),
        broker_rebalance_timeout=max(30.0, session),
        broker_commit_interval=1.0,
        stream_buffer_maxsize=settings.worker_buffer_frames,
        stream_recovery_delay=0.0,
        # It compares with the topic's end as the broker tells it, which the embedded one tells too low.
        recovery_consistency_check=False,
        stream_wait_empty=False,
        # Faust's warnings about slow processing; the watchdog here judges by what the broker says.
        stream_processing_timeout=86_400.0,
        broker_commit_livelock_soft_timeout=86_400.0,
        reply_create_topic=False,
        autodiscover=False,
    )
