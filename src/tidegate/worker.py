"""The worker: raw frames in, enriched frames, failures, rejects and minute counts out. It alone knows Faust.

One agent a stream takes the raw records, and one merges the partial counts. Faust gives the records,
the assignment and the table; positions are kept here. Faust's own acks are switched off for the raw
topics: a record is done when the broker has acknowledged everything that came of it, and Faust would
commit past holes and past records that it dropped in a rebalance. So every offset is checked when it
arrives (`processing.lane`), and what is committed is what the lane says.

Whatever cannot be put right from inside ends the process: the supervisor starts it again, and it goes on
behind its last commit. What was sent twice that way is dropped by the sink.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import faust
import pyarrow as pa
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tidegate import lookups, topics
from tidegate.contracts.topics import PARTIALS, STREAMS, Stream, raw
from tidegate.errors import RetryLater, TidegateError
from tidegate.http_status import StatusServer
from tidegate.processing.emitter import KEYS, Emitter, count
from tidegate.processing.fleets import Fleets
from tidegate.processing.health import Minutes, records
from tidegate.processing.keys import Keys, Window
from tidegate.processing.lane import Arrival, Lane
from tidegate.processing.limit import Limit
from tidegate.processing.marker import Marker, Place
from tidegate.processing.probe import Probe
from tidegate.processing.pulse import Pulse
from tidegate.processing.tally import Block
from tidegate.processing.transform import ATTEMPTS, Outputs, Record, Transform
from tidegate.retention import RetentionWatch
from tidegate.settings import Settings
from tidegate.steps.learn import unlisted
from tidegate.telemetry import (
    WORKER_CRASHES,
    WORKER_FAILURES,
    WORKER_FRAMES,
    WORKER_HEALTH_MINUTES,
    WORKER_HEALTH_PARTIALS,
    WORKER_IN_FLIGHT,
    WORKER_IN_FLIGHT_BYTES,
    WORKER_KEYS,
    WORKER_KEYS_COVERED,
    WORKER_LAG,
    WORKER_LINES,
    WORKER_LOST,
    WORKER_OLDEST_UNREAD,
    WORKER_REBALANCES,
    WORKER_RETENTION_SHARE,
    WORKER_SETTLED_TIMES,
    WORKER_TRANSFORM_SECONDS,
    WORKER_UNLISTED,
    WORKER_WAIT_SECONDS,
)

log = logging.getLogger(__name__)

GROUP = "tidegate-worker"  # consumer group, and the prefix of Faust's own topics
COMMIT_SECONDS = 2.0
PUBLISH_SECONDS = 5.0
EPOCH_SECONDS = 15.0
STOP_SECONDS = 10.0
SMALL_BYTES = 32_768  # records up to this wait for those right behind them, to be transformed together
CAREFUL_RECORDS = 4096  # behind a death, before records are transformed together again
SILENT_SECONDS = 60.0  # the longest that one record can honestly take

T = TypeVar("T")


def run(settings: Settings) -> int:
    """Work until SIGTERM (exit status 0) or until only a new process can go on (exit status 1)."""
    _quiet_libraries()
    partitions = _retrying(partial(topics.require_topics, settings))
    epoch = _retrying(partial(topics.read_epoch, settings.kafka_bootstrap))
    tables = _retrying(partial(lookups.load, settings.lookups_dir))
    fleets = _retrying(partial(Fleets, settings.tokens_path))
    probe = Probe(settings.kafka_bootstrap)
    try:
        return asyncio.run(_main(settings, epoch, tables, fleets, probe, partitions))
    finally:
        probe.close()


async def _main(
    settings: Settings, epoch: str, tables: lookups.Lookups, fleets: Fleets, probe: Probe, partitions: int
) -> int:
    worker = Worker(settings, epoch, tables, fleets, probe, partitions)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop, f"signal {signal.Signals(number).name}", 0)
    with StatusServer(
        settings.worker_listen, "worker_listen", not_ready=worker.not_ready, not_alive=worker.not_alive
    ):
        return await worker.work()


def _retrying(action: Callable[[], T]) -> T:
    """Wait for infrastructure: what the worker needs before it can begin."""
    told = ""
    while True:
        try:
            return action()
        except RetryLater as error:
            if str(error) != told:
                log.warning("waiting: %s", error)
                told = str(error)
            time.sleep(error.after_seconds)


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
    ) -> None:
        self._settings = settings
        self._epoch = epoch
        self._fleets = fleets
        self._probe = probe
        self._transforms = {
            stream: Transform(
                stream,
                tables,
                epoch=epoch,
                transform_version=f"{settings.transform_version}.{tables.digest[:8]}",
                geohash_precision=settings.worker_geohash_precision,
                clock_skew_seconds=settings.worker_clock_skew_seconds,
                max_record_bytes=settings.kafka_max_record_bytes,
                keep_days=getattr(settings, f"ttl_{stream}_days"),
                keep_rejects_days=settings.ttl_rejects_days,
            )
            for stream in STREAMS
        }
        self._emitter = Emitter(settings.kafka_bootstrap)
        self._limit = Limit(settings, self._emitter.send_pause)
        for transform in self._transforms.values():
            transform.paused = self._limit.pauses
        name = settings.worker_listen.replace(":", "-")  # no two workers of a machine have the same
        self._marker = Marker(Path(settings.data_dir) / "worker" / f"marker-{name}", epoch)
        self._retention = RetentionWatch(
            settings.kafka_bootstrap,
            _RAW_STREAMS,
            lambda: {place: lane.position for place, lane in list(self._lanes.items())},
            age=WORKER_OLDEST_UNREAD,
            share=WORKER_RETENTION_SHARE,
        )
        self._pulse = Pulse(settings.kafka_session_timeout_ms / 1000, _die)
        self._threads = ThreadPoolExecutor(1, "probe")  # the probe is used by one thread at a time
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._partitions = partitions
        self._committing = asyncio.Lock()
        self._room = asyncio.Event()
        self._placed = asyncio.Event()  # the lanes of the present assignment are there
        self._stopped = asyncio.Event()
        self._status = 0
        self._stopping = False
        self._careful = CAREFUL_RECORDS
        self._ready = False
        self._beat = time.monotonic()
        self.app = _app(settings, partitions)
        self._table = self.app.Table(
            "health",
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
        )
        self._minutes = Minutes(self._table)
        seen = self.app.Table("keys", partitions=partitions, key_type=bytes, value_type=bytes)
        assert seen.changelog_topic_name == KEYS
        # Faust reads the table; what changes is written by the emitter, as one more output of a frame.
        self._keys = Keys(
            seen.data.data,
            epoch,
            window_seconds=settings.idempotency_window_hours * 3600,
            limit=settings.worker_keys_bytes,
        )
        for stream in STREAMS:
            topic = self.app.topic(raw(stream), acks=False, **_RAW_BYTES)
            self.app.agent(topic, name=f"tidegate.{stream}", concurrency=1)(partial(self._take, stream))
        topic = self.app.topic(PARTIALS, **_RAW_BYTES)
        self.app.agent(topic, name="tidegate.health", concurrency=1)(self._merge)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_rebalance_complete.connect(self._recovered)

    # --- life

    def stop(self, reason: str, status: int) -> None:
        """Begin to stop; the first reason counts."""
        if self._stopping:
            return
        self._stopping = True
        self._status = status
        (log.info if status == 0 else log.error)("stopping: %s", reason)
        self._room.set()
        self._stopped.set()

    def not_ready(self) -> list[str]:
        """Why the worker cannot do its work; empty when it can."""
        if self._stopping:
            return ["stopping"]
        reasons = [] if self._ready else ["waiting for partitions to be assigned and the table to be read"]
        if (away := self._emitter.away_seconds) > 0:
            reasons.append(f"no broker for {away:.0f} s")
        return reasons

    def not_alive(self) -> list[str]:
        """Why only a new process can help; the watchdog ends this one where it still can."""
        silent = time.monotonic() - self._beat
        return [f"the event loop stands still for {silent:.0f} s"] if silent > SILENT_SECONDS else []

    async def work(self) -> int:
        """Run until stopped; returns the exit status."""
        self._pulse.start()
        tasks = [
            asyncio.create_task(self._guard(name, loop()), name=name)
            for name, loop in {
                "app": self._run_app,
                "pump": self._pump,
                "commit": self._commit_regularly,
                "publish": self._publish_regularly,
                "watch": self._watch,
                "epoch": self._watch_epoch,
            }.items()
        ]
        self._retention.start()
        with self._limit.pauses:
            await self._stopped.wait()
        self._retention.stop()
        await self._finish(STOP_SECONDS)
        for task in tasks:
            if task.get_name() != "pump":
                task.cancel()
        try:
            await asyncio.wait_for(self.app.stop(), STOP_SECONDS)
        except TimeoutError:
            log.warning("Faust did not stop in %.0f s", STOP_SECONDS)
        except Exception as error:
            log.warning("Faust did not stop cleanly: %s", error)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pulse.stop()
        log.info("stopped")
        return self._status

    async def _guard(self, name: str, task: Any) -> None:
        """A background task that ends or fails takes the process with it."""
        try:
            await task
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self._stopping:
                log.exception("the %s task failed", name)
            self.stop(f"the {name} task failed: {error}", 1)

    async def _run_app(self) -> None:
        self.app.consumer._read_offset = _ReadOffsets(lambda: None)
        await self.app.start()
        await self.app.wait_until_stopped()
        reason = getattr(self.app, "crash_reason", None)
        self.stop(f"Faust stopped: {reason!r}", 1)

    async def _finish(self, seconds: float) -> None:
        """Let what is in flight land, and commit it. Gives up after `seconds`: it will be sent again."""
        lanes = list(self._lanes.values())
        deadline = time.monotonic() + seconds
        while not all(lane.landed for lane in lanes) and time.monotonic() < deadline:
            self._advance()
            await asyncio.sleep(0.005)
        try:
            await asyncio.wait_for(self._commit(), max(1.0, deadline - time.monotonic()))
        except TimeoutError:
            log.info("the last commit was not taken in time")

    # --- records

    async def _take(self, stream: Stream, records: Any) -> None:
        """The agent of a stream. Nothing raised by a record leaves it."""
        async for event in records.events():
            try:
                await self._process(stream, event.message)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                message = event.message
                log.exception("%s %d %d", message.topic, message.partition, message.offset)
                self.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    async def _process(self, stream: Stream, message: Any) -> None:
        place = (message.topic, message.partition)
        lane = self._lanes.get(place)
        if lane is None or self._stopping:
            return
        arrival = lane.arrive(message.offset)
        if arrival is Arrival.REPEAT or arrival is Arrival.EARLY:
            return
        if arrival is Arrival.HOLE and not await self._hole_is_real(lane, message):
            return
        if lane.in_flight + len(lane.waiting) >= self._settings.worker_window_frames or self._crowded:
            self._transform_waiting(stream, lane)
            begun = time.perf_counter()
            while lane.in_flight >= self._settings.worker_window_frames or self._crowded:
                self._room.clear()
                await self._room.wait()
                if self._stopping or self._lanes.get(place) is not lane:
                    return
            WORKER_WAIT_SECONDS.labels(stream).inc(time.perf_counter() - begun)
        timestamp = round(message.timestamp * 1_000_000) if message.timestamp and message.timestamp > 0 else 0
        record = Record(
            message.partition,
            message.offset,
            lane.accept(message.offset),
            message.value or b"",
            message.headers or (),
            timestamp or time.time_ns() // 1000,
        )
        lane.waiting.append(record)
        if len(record.value) > SMALL_BYTES:
            self._transform_waiting(stream, lane)
        elif len(lane.waiting) == 1:
            # What Faust has at hand comes without a pause; the loop's next turn is behind it.
            asyncio.get_running_loop().call_soon(self._transform_soon, stream, lane)

    def _transform_soon(self, stream: Stream, lane: Lane) -> None:
        if lane not in self._lanes.values():  # it went while its records waited; who has it now gets them
            return
        try:
            self._transform_waiting(stream, lane)
        except Exception as error:
            log.exception("%s", stream)
            self.stop(f"{stream}: {type(error).__name__}: {error}", 1)

    def _transform_waiting(self, stream: Stream, lane: Lane) -> None:
        """Transform the records that wait in a lane, and send what comes of them."""
        records, lane.waiting = lane.waiting, []
        if not records:
            return
        begun = time.perf_counter()
        for record, outputs in zip(records, self._transform(stream, records), strict=True):
            frame = lane.take(record.offset, outputs=count(outputs), size=outputs.size)
            self._emitter.send(stream, record.partition, frame, outputs)
            lane.tally.add(record.offset, outputs.batch)
            self._limit.watch(stream, outputs)
            WORKER_LINES.labels(stream, "accepted").inc(outputs.batch.num_rows)
            if outputs.duplicates:
                WORKER_LINES.labels(stream, "duplicate").inc(outputs.duplicates)
            if outputs.rejects:
                WORKER_LINES.labels(stream, "rejected").inc(len(outputs.rejects))
                WORKER_CRASHES.labels(stream).inc(outputs.crashed)
            if outputs.failures:
                WORKER_FAILURES.labels(stream).inc(len(outputs.failures))
        WORKER_FRAMES.labels(stream).inc(len(records))
        transform = self._transforms[stream]
        if transform.settled:
            WORKER_SETTLED_TIMES.labels(stream).inc(transform.settled)
            transform.settled = 0
        WORKER_TRANSFORM_SECONDS.labels(stream).inc(time.perf_counter() - begun)

    def _transform(self, stream: Stream, records: list[Record]) -> list[Outputs]:
        """Together, but where a process died not long ago: then each by itself, to know what it dies of."""
        window = self._keys.window(stream, records[0].partition)
        window.advance(min(records[-1].timestamp, time.time_ns() // 1000))
        if self._marker.suspect is not None and self._careful > 0:
            self._careful -= len(records)
            return [self._transform_suspected(stream, record, window) for record in records]
        self._marker.at(Place(stream, records[0].partition, records[0].offset))
        outputs = self._transforms[stream].many(records, self._fleets, window)
        self._marker.clear()
        return outputs

    def _transform_suspected(self, stream: Stream, record: Record, window: Window) -> Outputs:
        place = Place(stream, record.partition, record.offset)
        transform = self._transforms[stream]
        self._marker.at(place)
        suspect = self._marker.of(place)
        if suspect is None:
            outputs = transform(record, self._fleets, window)
        elif suspect.deaths < ATTEMPTS:
            log.error("a process died at %s partition %d offset %d; trying again", *place)
            outputs = transform(record, self._fleets, window)
        else:
            log.error("%d processes died at %s partition %d offset %d", suspect.deaths, *place)
            outputs = transform.apart(
                record,
                self._fleets,
                window,
                guilty=frozenset(suspect.lines),
                at_line=partial(self._marker.at, place),
            )
        self._marker.clear()
        return outputs

    @property
    def _crowded(self) -> bool:
        return self._emitter.in_flight_bytes > self._settings.worker_window_bytes

    async def _hole_is_real(self, lane: Lane, message: Any) -> bool:
        """Whether the offsets before `message` hold no records (a transaction's markers, compaction).

        If they do, Faust dropped records on the way, as it can behind a rebalance: the partition is read
        again from the first of them.
        """
        loop = asyncio.get_running_loop()
        ask = partial(self._probe.first, message.topic, message.partition, lane.expected)
        while not self._stopping and self._lanes.get((message.topic, message.partition)) is lane:
            try:
                first = await loop.run_in_executor(self._threads, ask)
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
            lane.sought = first
            await self._seek(TopicPartition(message.topic, message.partition), first)
            break
        return False

    async def _seek(self, place: TopicPartition, offset: int) -> None:
        async def seek(consumer: Any) -> None:
            consumer.seek(place, offset)

        try:
            await self._in_consumer(seek)
        except IllegalStateError as error:  # not ours any more: who has it now reads from the committed one
            log.info("%s", error)

    # --- acks and commits

    async def _pump(self) -> None:
        """Let the producer's callbacks run, and make room for more."""
        while True:
            self._beat = time.monotonic()
            self._advance()
            await asyncio.sleep(0.002 if self._emitter.waiting else 0.02)

    def _advance(self) -> None:
        landed = self._emitter.poll()
        for lane in {frame.lane for frame in landed}:
            lane.advance()
        if landed:
            self._room.set()
        if self._emitter.failure is not None:
            self.stop(self._emitter.failure, 1)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        """Send the counts of what landed, then commit it. What fails is made up for by the next commit."""
        async with self._committing:
            moved = {
                place: (lane, lane.position)
                for place, lane in self._lanes.items()
                if lane.position > lane.committed
            }
            if not moved:
                return
            blocks = [
                Block(
                    _RAW_STREAMS[topic],
                    partition,
                    lane.committed,
                    lane.generation,
                    lane.tally.before(position),
                )
                for (topic, partition), (lane, position) in moved.items()
            ]
            for lane, _ in moved.values():
                if lane.tally.stream == "client_events" and lane.tally.newest is not None:
                    self._learn(lane.tally.newest)
            there = asyncio.Event()
            self._emitter.send_partials(records(blocks, self._partitions), there.set)
            await there.wait()
            await self._mark_keys(
                {
                    (_RAW_STREAMS[topic], partition): position
                    for (topic, partition), (_, position) in moved.items()
                }
            )
            offsets = {
                TopicPartition(*place): OffsetAndMetadata(position, "")
                for place, (lane, position) in moved.items()
                if self._lanes.get(place) is lane
            }
            try:
                await self._in_consumer(lambda consumer: consumer.commit(offsets))
            except Exception as error:
                log.info("commit not taken: %s", error or type(error).__name__)
                return
            for lane, position in moved.values():
                lane.committed = position
                lane.tally.settle()

    async def _mark_keys(self, positions: dict[tuple[Stream, int], int]) -> None:
        """Let go of old keys, and set a mark behind the keys of what is about to be committed.

        Asked for a topic's end, the embedded broker leaves out all but the first record of the last batch,
        and Faust would read the table up to there only. With the mark the last batch is one behind all the
        keys that count.
        """
        self._emitter.send_keys(self._keys.forget())
        marks = self._keys.marks(positions)
        if marks:
            there = asyncio.Event()
            self._emitter.send_keys(marks, there.set)
            await there.wait()
        self._tell_keys()

    def _tell_keys(self) -> None:
        held = self._keys.held()
        WORKER_KEYS.set(held.keys)
        WORKER_KEYS_COVERED.set(held.covered_seconds)

    def _learn(self, rows: pa.RecordBatch) -> None:
        """Count the failures that the catalogue does not list, and keep their texts for such without one."""
        transform = self._transforms["client_events"]
        catalogue = transform.lookups.failures
        found = unlisted(rows, catalogue)
        if found:
            WORKER_UNLISTED.inc(found.total())
            taught = catalogue.with_learned(found)
            if taught.learned != catalogue.learned:
                transform.lookups = dataclasses.replace(transform.lookups, failures=taught)

    async def _in_consumer(self, action: Callable[[Any], Any], seconds: float | None = None) -> Any:
        """Run `action` with aiokafka's consumer in the thread that owns it.

        Commits get no limit of time: one given up might still come through, and blocks of counts rely on
        knowing where a commit stands.
        """
        thread = self.app.consumer._thread

        async def call() -> Any:
            return await action(thread._ensure_consumer())

        return await asyncio.wait_for(thread.call_thread(call), seconds)

    # --- assignment

    async def _revoked(self, app: Any, revoked: set[Any], **_: Any) -> None:
        """Partitions go: give what is in flight the chance to land, then forget them."""
        self._ready = False
        self._placed.clear()
        if self._lanes:
            await self._finish(self._settings.kafka_session_timeout_ms / 1000 / 3)
        self._lanes = {}
        self._room.set()

    async def _assigned(self, app: Any, assigned: set[Any], **_: Any) -> None:
        """Partitions come: learn where each one stands before its first record is let through."""
        WORKER_REBALANCES.inc()
        WORKER_LAG.clear()
        self._placed.clear()
        ours = [TopicPartition(*tp) for tp in assigned if tp[0] in _RAW_STREAMS]
        self._lanes = {}

        async def ask(consumer: Any) -> Any:
            committed = await asyncio.gather(*(consumer.committed(tp) for tp in ours))
            return committed, await consumer.beginning_offsets(ours) if ours else {}

        committed, beginnings = await self._in_consumer(ask, 30.0)
        lanes = {}
        for tp, position in zip(ours, committed, strict=True):
            beginning = beginnings[tp]
            if position is not None and position < beginning:
                WORKER_LOST.labels(_RAW_STREAMS[tp.topic]).inc(beginning - position)
                log.error(
                    "%s partition %d: records %d to %d are gone from the topic and were never read:"
                    " its retention is too short",
                    tp.topic,
                    tp.partition,
                    position,
                    beginning - 1,
                )
            lanes[(tp.topic, tp.partition)] = Lane(
                _RAW_STREAMS[tp.topic], max(position or 0, beginning), self.app.consumer_generation_id
            )
        self._lanes = lanes
        self._placed.set()

    async def _recovered(self, app: Any, **_: Any) -> None:
        """The table is read; Faust lets records flow when this returns."""
        await self._placed.wait()  # Faust reads the table while `_assigned` still asks
        self._minutes.recovered()
        self._keys.recovered(
            {
                (_RAW_STREAMS[topic], partition): lane.position
                for (topic, partition), lane in self._lanes.items()
            }
        )
        self._tell_keys()
        self._ready = True
        log.info("ready: epoch %s, %d raw partitions", self._epoch, len(self._lanes))

    # --- health

    async def _merge(self, stream: Any) -> None:
        """The agent that merges partial counts into minutes; Faust acks each record behind it."""
        async for event in stream.events():
            self._pulse.check()
            try:
                found = self._minutes.merge(
                    event.message.partition, event.value or b"[]", time.time_ns() // 1000
                )
            except Exception:  # partial counts are our own records: a bad one is a bug, and costs only itself
                log.exception("partial counts at %d %d", event.message.partition, event.message.offset)
                continue
            for outcome, number in found._asdict().items():
                WORKER_HEALTH_PARTIALS.labels(outcome).inc(number)

    async def _publish_regularly(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            for partition, key, value in self._minutes.publish():
                self._emitter.send_health(partition, key, value)
            WORKER_HEALTH_MINUTES.set(len(self._table))

    # --- watching

    async def _watch(self) -> None:
        """Tell the lag, and end a process whose records lie there and do not move.

        The end of each topic is asked past Faust, which may be what is stuck. A broker that does not
        answer is nothing that a new start would mend: the clock stands still meanwhile.
        """
        loop = asyncio.get_running_loop()
        limit = self._settings.worker_watchdog_seconds
        stuck: dict[tuple[str, int], tuple[int, float]] = {}
        idle_since = time.monotonic()
        while True:
            await asyncio.sleep(min(5.0, limit / 4))
            now = time.monotonic()
            self._limit.tell()
            WORKER_IN_FLIGHT.set(sum(lane.in_flight for lane in self._lanes.values()))
            WORKER_IN_FLIGHT_BYTES.set(self._emitter.in_flight_bytes)
            try:
                for place, lane in list(self._lanes.items()):
                    end = await loop.run_in_executor(self._threads, self._probe.end, *place)
                    end = max(end, self._seen_end(place))
                    WORKER_LAG.labels(_RAW_STREAMS[place[0]], str(place[1])).set(max(0, end - lane.position))
                    position, since = stuck.get(place, (-1, now))
                    if end <= lane.position or lane.position != position:
                        since = now
                    stuck[place] = (lane.position, since)
                if not self._lanes:  # a live broker counts against a group that never comes together
                    await loop.run_in_executor(self._threads, self._probe.partitions, PARTIALS)
            except RetryLater as error:
                log.debug("%s", error)
                stuck.clear()
                idle_since = now
                continue
            stuck = {place: state for place, state in stuck.items() if place in self._lanes}
            if self._ready:
                idle_since = now
            elif now - idle_since > limit + 60:
                self.stop(f"no assignment for {now - idle_since:.0f} s", 1)
            for (topic, partition), (position, since) in stuck.items():
                if now - since > limit:
                    self.stop(f"{topic} partition {partition} stood at {position} for {now - since:.0f} s", 1)

    def _seen_end(self, place: tuple[str, int]) -> int:
        """The end of a raw partition as the last fetch told it."""
        try:
            return self.app.consumer.highwater(TopicPartition(*place)) or 0
        except Exception:  # not assigned at this moment
            return 0

    async def _watch_epoch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EPOCH_SECONDS)
            try:
                found = await loop.run_in_executor(
                    None, partial(topics.read_epoch, self._settings.kafka_bootstrap, timeout_seconds=1.0)
                )
            except TidegateError as error:
                log.debug("%s", error)
                continue
            if found != self._epoch:
                self.stop(f"the topics are new: epoch {self._epoch} became {found}", 1)


def _die(seconds: float) -> None:
    """End at once, as by kill -9: the partitions may be another's, who has written to the tables since.

    What this process would still write to a changelog stands behind that and would take it back.
    """
    log.error("this process stood still for %.1f s, longer than its session: a new one goes on", seconds)
    os._exit(1)


class _ReadOffsets(defaultdict[Any, int | None]):
    """How far Faust thinks it has read. Of raw topics it remembers nothing, or it would drop what is read
    again on purpose; a lane knows its own position."""

    def __setitem__(self, place: Any, offset: int | None) -> None:
        if place[0] not in _RAW_STREAMS:
            super().__setitem__(place, offset)

    def update(self, offsets: Any) -> None:  # type: ignore[override]
        for place, offset in offsets.items():
            self[place] = offset


_RAW_STREAMS: dict[str, Stream] = {raw(stream): stream for stream in STREAMS}
_RAW_BYTES: dict[str, Any] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
    "allow_empty": True,
}


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
