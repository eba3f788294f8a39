"""The worker's process: waits for what it needs, wires its parts, serves its status, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from tidegate import lookups
from tidegate.alerts.control import Orders
from tidegate.contracts import native
from tidegate.contracts.topics import HEALTH, PARTIALS, RAW_STREAMS, STREAMS, raw
from tidegate.fleets import Fleets
from tidegate.kafka import topics
from tidegate.kafka.connection import connection
from tidegate.kafka.probe import Probe
from tidegate.kafka.probe_thread import ProbeThread
from tidegate.kafka.retention import RetentionWatch
from tidegate.pseudonyms import Stored
from tidegate.service import wait
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings
from tidegate.steps.version import stored_pseudonyms
from tidegate.telemetry import WORKER_OLDEST_UNREAD, WORKER_RETENTION_SHARE
from tidegate.tracing import start
from tidegate.worker.alerting import Alerting
from tidegate.worker.assignment import Assignment
from tidegate.worker.commit import Committer, DedupChangelog
from tidegate.worker.consume import RecordConsumer
from tidegate.worker.crash_journal import CrashJournal
from tidegate.worker.dedup_window import DedupTable
from tidegate.worker.faust_app import FaustApp
from tidegate.worker.in_flight import InFlight
from tidegate.worker.lifecycle import FreezeDetector, Lifecycle, end_within
from tidegate.worker.partition import AssignedPartitions
from tidegate.worker.producer import KEYS, MINUTES, UNITS, Producer
from tidegate.worker.publish_minutes import Publisher
from tidegate.worker.quarantine import Quarantine
from tidegate.worker.transform import Transforms
from tidegate.worker.watchdog import Watchdog, watch_epoch

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
END_SECONDS = 5.0  # for what is left in the process once all its work is done


def run(settings: Settings) -> int:
    """Work until SIGTERM (exit status 0) or until only a new process can go on (exit status 1)."""
    _quiet_libraries()
    log.info("%s", native.choose(settings.decoder).line)
    partitions = wait.require(partial(topics.require_topics, settings), log)
    epoch = wait.require(partial(topics.read_epoch, connection(settings)), log)
    tables = wait.require(partial(lookups.load, settings.lookups_dir), log)
    fleets = wait.require(partial(Fleets, settings.tokens_path), log)
    pseudonyms = wait.require(partial(stored_pseudonyms, settings), log)
    probe = Probe(connection(settings))
    try:
        return asyncio.run(_main(settings, epoch, tables, fleets, probe, partitions, pseudonyms))
    finally:
        probe.close()


async def _main(
    settings: Settings,
    epoch: str,
    tables: lookups.Lookups,
    fleets: Fleets,
    probe: Probe,
    partitions: int,
    pseudonyms: Stored | None,
) -> int:
    worker = Worker(settings, epoch, tables, fleets, probe, partitions, pseudonyms)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop, f"signal {signal.Signals(number).name}", 0)
    with StatusServer("worker", settings, not_ready=worker.not_ready, not_alive=worker.not_alive):
        return await worker.work()


class Worker:
    """One process's share of the partitions."""

    def __init__(
        self,
        settings: Settings,
        epoch: str,
        tables: lookups.Lookups,
        fleets: Fleets,
        probe: Probe,
        partitions: int,
        pseudonyms: Stored | None,
    ) -> None:
        session = settings.kafka_session_timeout_ms / 1000
        self._lifecycle = Lifecycle()
        self._assigned = AssignedPartitions()
        self._producer = Producer(connection(settings))
        self._quarantine = Quarantine(settings, self._producer.send_pause)
        self._retention = RetentionWatch(
            connection(settings),
            RAW_STREAMS,
            self._assigned.positions,
            age=WORKER_OLDEST_UNREAD,
            share=WORKER_RETENTION_SHARE,
        )
        self._freeze_detector = FreezeDetector(session, _die)
        self._probe = ProbeThread(probe)
        self._app = FaustApp(settings, partitions)
        consumer = self._app.consumer
        health = self._app.table("health")
        assert health.changelog_topic_name == MINUTES
        self._publisher = Publisher(
            health.data.data,
            self._producer,
            self._freeze_detector,
            partitions=partitions,
            record_bytes=settings.kafka_max_record_bytes,
        )
        seen = self._app.table("keys")
        assert seen.changelog_topic_name == KEYS
        keys = DedupTable(
            seen.data.data,
            epoch,
            window_seconds=settings.idempotency_window_hours * 3600,
            limit=settings.worker_keys_bytes,
        )
        name = settings.worker_listen.replace(":", "-")  # no two workers of a machine have the same
        transforms = Transforms(
            settings,
            epoch,
            tables,
            fleets=fleets,
            paused=self._quarantine.pauses,
            keys=keys,
            journal=CrashJournal(Path(settings.data_dir) / "worker" / f"journal-{name}", epoch),
            pseudonyms=pseudonyms,
        )
        self._orders = Orders(connection(settings))
        units = self._app.table("units")
        assert units.changelog_topic_name == UNITS
        self._alerting = Alerting(
            settings,
            tables,
            units.data.data,
            self._producer,
            self._freeze_detector,
            self._orders,
            lambda: transforms.catalogue,
        )
        self._in_flight = InFlight(
            self._producer,
            self._lifecycle,
            frames=settings.worker_window_frames,
            size=settings.worker_window_bytes,
        )
        self._traces = start("worker", settings)
        record_traces = None
        if self._traces is not None:
            from tidegate.worker.traces import RecordTraces  # with OpenTelemetry

            record_traces = RecordTraces(self._traces)
        record_consumer = RecordConsumer(
            self._assigned,
            self._in_flight,
            transforms,
            self._producer,
            self._quarantine,
            consumer,
            self._probe,
            self._lifecycle,
            record_traces,
        )
        dedup_changelog = DedupChangelog(keys, self._producer)
        self._committer = Committer(
            self._assigned,
            self._in_flight,
            self._producer,
            dedup_changelog,
            consumer,
            transforms,
            partitions=partitions,
            record_bytes=settings.kafka_max_record_bytes,
        )
        self._assignment = Assignment(
            self._assigned,
            consumer,
            self._in_flight,
            self._committer,
            self._publisher,
            self._alerting,
            dedup_changelog,
            self._producer,
            epoch=epoch,
            finish_seconds=session / 3,
            give_up=_give_up,
        )
        self._watchdog = Watchdog(
            self._assigned,
            self._assignment,
            consumer,
            self._producer,
            self._quarantine,
            self._probe,
            self._lifecycle,
            seconds=settings.worker_watchdog_seconds,
        )
        self._watch_epoch = partial(watch_epoch, connection(settings), epoch, self._lifecycle)
        for stream in STREAMS:
            # Positions of the raw topics are committed here, so Faust's own acks are off.
            self._app.agent(
                f"tidegate.{stream}", raw(stream), partial(record_consumer.take, stream), acks=False
            )
        self._app.agent("tidegate.health", PARTIALS, self._publisher.merge, acks=True)
        self._app.agent("tidegate.alerts", HEALTH, self._alerting.take, acks=True)
        self._app.on_rebalance(
            revoked=self._assignment.revoked,
            assigned=self._assignment.assigned,
            recovered=self._assignment.recovered,
        )

    def stop(self, reason: str, status: int) -> None:
        """Begin to stop; the first reason counts."""
        self._lifecycle.stop(reason, status)

    def not_ready(self) -> list[str]:
        """Why the worker cannot do its work; empty when it can."""
        if self._lifecycle.stopping:
            return ["stopping"]
        reasons = []
        if not self._assignment.ready:
            reasons.append("waiting for partitions to be assigned and the table to be read")
        if (away := self._producer.away_seconds) > 0:
            reasons.append(f"no broker for {away:.0f} s")
        return reasons

    def not_alive(self) -> list[str]:
        """Why only a new process can help."""
        return self._lifecycle.not_alive()

    async def work(self) -> int:
        """Run until stopped; returns the exit status."""
        self._freeze_detector.start()
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "app": self._run_app,
            "poll": self._in_flight.run,
            "commit": self._committer.run,
            "publish": self._publisher.publish,
            "alerts": self._alerting.run,
            "watch": self._watchdog.run,
            "epoch": self._watch_epoch,
        }
        tasks = [
            asyncio.create_task(self._lifecycle.guard(name, loop()), name=name)
            for name, loop in loops.items()
        ]
        self._retention.start()
        with self._quarantine.pauses, self._orders:
            await self._lifecycle.stopped()
        self._retention.stop()
        await self._committer.finish(STOP_SECONDS)
        for task in tasks:
            if task.get_name() != "poll":
                task.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._app.stop()
        except TimeoutError:
            log.warning("Faust did not stop in %.0f s", STOP_SECONDS)
        except Exception as error:
            log.warning("Faust did not stop cleanly: %s", error)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._probe.shutdown()
        self._freeze_detector.stop()
        if self._traces is not None:
            self._traces.close()
        log.info("stopped")
        end_within(END_SECONDS, self._lifecycle.status)
        return self._lifecycle.status

    async def _run_app(self) -> None:
        reason = await self._app.run()
        self._lifecycle.stop(f"Faust stopped: {reason!r}", 1)


def _die(seconds: float) -> None:
    """End at once, as by kill -9: another process may own the partitions and have written since.

    What this process would still write to a changelog comes later than that, and would undo it.
    """
    _give_up(f"this process stood still for {seconds:.1f} s, longer than its session")


def _give_up(reason: str) -> None:
    log.error("%s: a new one goes on", reason)
    os._exit(1)


def _quiet_libraries() -> None:
    """Faust, mode and aiokafka tell their every step; what matters to an operator is said here."""
    for name, level in {
        "faust": logging.ERROR,
        "mode": logging.ERROR,
        "aiokafka": logging.ERROR,
        "kafka": logging.ERROR,
        "tidegate.librdkafka": logging.CRITICAL,
    }.items():
        logging.getLogger(name).setLevel(level)
