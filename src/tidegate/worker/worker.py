"""worker: the parts of one process, put together, started and stopped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from tidegate.contracts.topics import PARTIALS, RAW_STREAMS, STREAMS, raw
from tidegate.kafka.probe import Probe
from tidegate.kafka.retention import RetentionWatch
from tidegate.lookups import Lookups
from tidegate.processing.emitter import KEYS, Emitter
from tidegate.processing.fleets import Fleets
from tidegate.processing.keys import Keys
from tidegate.processing.limit import Limit
from tidegate.processing.marker import Marker
from tidegate.processing.pulse import Pulse
from tidegate.settings import Settings
from tidegate.telemetry import WORKER_OLDEST_UNREAD, WORKER_RETENTION_SHARE
from tidegate.worker.app import App
from tidegate.worker.assignment import Assignment
from tidegate.worker.commits import Commits
from tidegate.worker.counts import Counts
from tidegate.worker.dispatch import Dispatch
from tidegate.worker.in_flight import InFlight
from tidegate.worker.intake import Intake
from tidegate.worker.lanes import Lanes
from tidegate.worker.life import Life
from tidegate.worker.marks import KeyMarks
from tidegate.worker.probe_thread import ProbeThread
from tidegate.worker.transforms import Transforms
from tidegate.worker.watch import Watch, watch_epoch

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0


class Worker:
    """One process's share of the partitions."""

    def __init__(
        self,
        settings: Settings,
        epoch: str,
        tables: Lookups,
        fleets: Fleets,
        probe: Probe,
        partitions: int,
    ) -> None:
        session = settings.kafka_session_timeout_ms / 1000
        self._life = Life()
        self._lanes = Lanes()
        self._emitter = Emitter(settings.kafka_bootstrap)
        self._limit = Limit(settings, self._emitter.send_pause)
        self._retention = RetentionWatch(
            settings.kafka_bootstrap,
            RAW_STREAMS,
            self._lanes.positions,
            age=WORKER_OLDEST_UNREAD,
            share=WORKER_RETENTION_SHARE,
        )
        self._pulse = Pulse(session, _die)
        self._probe = ProbeThread(probe)
        self._app = App(settings, partitions)
        consumer = self._app.consumer
        self._counts = Counts(self._app.table("health"), self._emitter, self._pulse)
        seen = self._app.table("keys")
        assert seen.changelog_topic_name == KEYS
        keys = Keys(
            seen.data.data,  # Faust reads the table; what changes is written by the emitter, past it
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
            paused=self._limit.pauses,
            keys=keys,
            marker=Marker(Path(settings.data_dir) / "worker" / f"marker-{name}", epoch),
        )
        self._in_flight = InFlight(
            self._emitter,
            self._life,
            frames=settings.worker_window_frames,
            size=settings.worker_window_bytes,
        )
        intake = Intake(
            self._lanes,
            self._in_flight,
            Dispatch(transforms, self._emitter, self._limit),
            consumer,
            self._probe,
            self._life,
        )
        marks = KeyMarks(keys, self._emitter)
        self._commits = Commits(
            self._lanes, self._in_flight, self._emitter, marks, consumer, transforms, partitions=partitions
        )
        self._assignment = Assignment(
            self._lanes,
            consumer,
            self._in_flight,
            self._commits,
            self._counts,
            marks,
            epoch=epoch,
            finish_seconds=session / 3,
        )
        self._watch = Watch(
            self._lanes,
            self._assignment,
            consumer,
            self._emitter,
            self._limit,
            self._probe,
            self._life,
            seconds=settings.worker_watchdog_seconds,
        )
        self._watch_epoch = partial(watch_epoch, settings.kafka_bootstrap, epoch, self._life)
        for stream in STREAMS:
            # Positions of the raw topics are committed here, so Faust's own acks are off.
            self._app.agent(f"tidegate.{stream}", raw(stream), partial(intake.take, stream), acks=False)
        self._app.agent("tidegate.health", PARTIALS, self._counts.merge, acks=True)
        self._app.on_rebalance(
            revoked=self._assignment.revoked,
            assigned=self._assignment.assigned,
            recovered=self._assignment.recovered,
        )

    def stop(self, reason: str, status: int) -> None:
        """Begin to stop; the first reason counts."""
        self._life.stop(reason, status)

    def not_ready(self) -> list[str]:
        """Why the worker cannot do its work; empty when it can."""
        if self._life.stopping:
            return ["stopping"]
        reasons = []
        if not self._assignment.ready:
            reasons.append("waiting for partitions to be assigned and the table to be read")
        if (away := self._emitter.away_seconds) > 0:
            reasons.append(f"no broker for {away:.0f} s")
        return reasons

    def not_alive(self) -> list[str]:
        """Why only a new process can help."""
        return self._life.not_alive()

    async def work(self) -> int:
        """Run until stopped; returns the exit status."""
        self._pulse.start()
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "app": self._run_app,
            "pump": self._in_flight.pump,
            "commit": self._commits.run,
            "publish": self._counts.publish,
            "watch": self._watch.run,
            "epoch": self._watch_epoch,
        }
        tasks = [
            asyncio.create_task(self._life.guard(name, loop()), name=name) for name, loop in loops.items()
        ]
        self._retention.start()
        with self._limit.pauses:
            await self._life.stopped()
        self._retention.stop()
        await self._commits.finish(STOP_SECONDS)
        for task in tasks:
            if task.get_name() != "pump":
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
        self._pulse.stop()
        log.info("stopped")
        return self._life.status

    async def _run_app(self) -> None:
        reason = await self._app.run()
        self._life.stop(f"Faust stopped: {reason!r}", 1)


def _die(seconds: float) -> None:
    """End at once, as by kill -9: the partitions may be another's, who has written to the tables since.

    What this process would still write to a changelog stands behind that and would take it back.
    """
    log.error("this process stood still for %.1f s, longer than its session: a new one goes on", seconds)
    os._exit(1)
