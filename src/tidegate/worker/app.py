"""app: Faust, and how it is set up. Nothing else imports it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from tidegate.contracts.topics import RAW_STREAMS
from tidegate.settings import Settings
from tidegate.worker.consumer import Consumer
from tidegate.worker.lanes import Place

GROUP = "tidegate-worker"  # consumer group, and the prefix of Faust's own topics

FETCH_WAIT_MS = 100  # that the broker may hold an answer back while there is nothing to send

_BYTES: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
_RAW_BYTES = _BYTES | {"key_serializer": "raw", "value_serializer": "raw", "allow_empty": True}


class App:
    """The Faust app: topics and tables of bytes, the tables in memory."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._partitions = partitions
        self._app = _app(settings, partitions)
        self._app.transport.Consumer = _PromptConsumer
        self.consumer = Consumer(self._app)

    def table(self, name: str) -> Any:
        """A Faust table of bytes by bytes, partitioned as the topics are."""
        return self._app.Table(name, partitions=self._partitions, **_BYTES)

    def agent(self, name: str, topic: str, take: Callable[[Any], Awaitable[None]], *, acks: bool) -> None:
        """Have `take` run over the stream of a topic; `acks`: whether Faust is to commit its offsets."""
        channel = self._app.topic(topic, acks=acks, **_RAW_BYTES)
        self._app.agent(channel, name=name, concurrency=1)(take)

    def on_rebalance(
        self,
        *,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[set[Place]], Awaitable[None]],
        recovered: Callable[[], Awaitable[None]],
    ) -> None:
        """Have these called when partitions go, when they come, and when the tables are read.

        Faust lets records flow when `recovered` returns; it reads the tables while `assigned` may still run.
        """

        async def on_revoked(app: Any, places: set[Any], **_: Any) -> None:
            await revoked()

        async def on_assigned(app: Any, places: set[Any], **_: Any) -> None:
            await assigned(places)

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
    """How far Faust thinks it has read. Of raw topics it remembers nothing, or it would drop what is read
    again on purpose; a lane knows its own position."""

    def __setitem__(self, place: Any, offset: int | None) -> None:
        if place[0] not in RAW_STREAMS:
            super().__setitem__(place, offset)

    def update(self, offsets: Any) -> None:  # type: ignore[override]
        for place, offset in offsets.items():
            self[place] = offset


_log = logging.getLogger("faust.consumer")  # a subclass would log under this module's name, and is Faust's


class _PromptThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust lets the broker hold a fetch back for 1.5 s, which is no setting. The embedded broker looks only
    twice in that time whether something came: records lay there for up to 0.7 s."""

    logger = _log

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class _PromptConsumer(driver.Consumer):  # type: ignore[misc]
    logger = _log

    def _new_consumer_thread(self) -> Any:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)


def _app(settings: Settings, partitions: int) -> Any:
    """The Faust app, with everything off that is not used."""
    session = settings.kafka_session_timeout_ms / 1000
    folder = Path(settings.data_dir) / "worker"
    folder.mkdir(parents=True, exist_ok=True)
    return faust.App(
        GROUP,
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka_bootstrap.split(",")),
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
        producer_compression_type="zstd",
        # One record a batch: asked for a topic's end, the embedded broker leaves out all but the first
        # record of the last batch, and Faust would read its table up to there only.
        producer_max_batch_size=1,
        producer_linger=0,
        producer_request_timeout=30.0,
        reply_create_topic=False,
        autodiscover=False,
    )
