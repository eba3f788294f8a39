"""The reader: polls Kafka, hands frames to their partitions, and keeps everything else moving.

One thread runs it all but the waiting: it never blocks on ClickHouse, so that it polls on and hears at
once when a partition is taken from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate.contracts.frames import BadFrame
from tidegate.contracts.topics import ENRICHED_STREAMS, STREAMS, StreamPartition, TopicPartition, enriched
from tidegate.contracts.trace import TRACEPARENT, context_of
from tidegate.errors import Stop, TidegateError
from tidegate.kafka.connection import connection
from tidegate.kafka.groupless import groupless_consumer
from tidegate.kafka.headers import headers_of
from tidegate.kafka.retention import RetentionWatch
from tidegate.settings import Settings
from tidegate.sink.batch_buffer import Limits
from tidegate.sink.frame import read_frame
from tidegate.sink.gaps import Gaps, say
from tidegate.sink.group import REFUSED, consumer, hold, membership
from tidegate.sink.offset_sequence import Order
from tidegate.sink.partition import Partition, Phase, TakeOver
from tidegate.sink.pipeline import Pipeline
from tidegate.sink.takeover import look_up, lost_log
from tidegate.sink.threads import Threads
from tidegate.store.ledger import Ledger
from tidegate.telemetry import (
    SINK_BUFFER_BYTES,
    SINK_FOREIGN,
    SINK_LAG,
    SINK_OLDEST_SECONDS,
    SINK_OLDEST_UNSTORED,
    SINK_REPEATS,
    SINK_RETENTION_SHARE,
    SINK_TAKE_OVERS,
)
from tidegate.tracing import start

log = logging.getLogger(__name__)

READ_RECORDS = 32  # at most at once; a frame may hold a thousand events
TYPICAL_BYTES = 500_000  # of a frame, before one was seen
IDLE_SECONDS, BUSY_SECONDS = 0.05, 0.005  # of one poll; while a batch is on its way the short one
FULL_SECONDS = 1.0  # with a full buffer, before the consumer is told to stop fetching
RETRY_SECONDS = 1.0  # between attempts at a take-over, or at a commit that the broker could not take
BEHIND_SECONDS = 15.0  # a new leader of a partition may tell an end that is behind for a moment
INSERT_SHARE = 0.3  # of one thread: if inserts take more, batches are let grow older
COST_SECONDS = 5.0  # how long the cost of a partition's last insert counts
ALIVE_SECONDS = 60.0  # without one round of the loop
FIRST = TopicPartition(enriched(STREAMS[0]), 0)


class Sink:
    """`run` until `stop`; the rest is called from the status server's thread."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
        self._outcomes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ledger = Ledger(client, settings.clickhouse_database, cluster=bool(settings.clickhouse_cluster))
        self._consumer = consumer(settings, self._on_error)
        self._groupless = groupless_consumer(connection(settings), settings.sink_group)
        self._traces = start("sink", settings)
        batch_traces = None
        if self._traces is not None:
            from tidegate.sink.traces import BatchTraces  # with OpenTelemetry

            batch_traces = BatchTraces(self._traces)
        self._pipeline = Pipeline(
            client,
            settings.clickhouse_database,
            self._ledger,
            fence=self._fence,
            fence_seconds=settings.kafka_session_timeout_ms / 2000,
            threads=settings.sink_insert_threads,
            outcomes=self._outcomes,
            traces=batch_traces,
        )
        self._gaps = Gaps(self._ledger, self._outcomes)
        self._look_ups = Threads("take-over", 1, self._outcomes)
        self._limits = Limits(
            settings.sink_batch_rows, settings.sink_batch_bytes, settings.sink_batch_age_ms / 1000
        )
        self._partitions: dict[TopicPartition, Partition] = {}
        self._stored_to: dict[TopicPartition, int] = {}  # as of the last round that told
        self._retention = RetentionWatch(
            connection(settings),
            ENRICHED_STREAMS,
            lambda: self._stored_to,
            age=SINK_OLDEST_UNSTORED,
            share=SINK_RETENTION_SHARE,
        )
        self._assigned = False
        self._stopping_since: float | None = None
        self._full_since: float | None = None
        self._held = 0  # bytes of frames
        self._largest = TYPICAL_BYTES  # frame so far
        self._sought: set[Partition] = set()  # in this round: what else it read of them is void
        self._no_commit_before = 0.0
        self._tell_at = 0.0
        self._behind: dict[StreamPartition, float] = {}
        self._out_of_range: set[StreamPartition] = set()
        self._away = ""  # what Kafka is away with
        self._look_up_problem = ""
        self._fatal: TidegateError | None = None
        self._round = time.monotonic()

    # --- the loop

    def run(self) -> None:
        """Read until `stop`, then insert what is in hand. Raises Stop when going on could double or lose."""
        self._consumer.subscribe(
            list(ENRICHED_STREAMS),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self._retention.start()
        try:
            while self._fatal is None and not self._drained(time.monotonic()):
                self._read()
                self._take_outcomes()
                self._advance(time.monotonic())
            if self._fatal is not None:
                raise self._fatal
        finally:
            for partition in self._partitions.values():
                partition.revoke()
            self._retention.stop()
            self._consumer.close()
            self._pipeline.stop()
            self._gaps.stop()
            self._look_ups.stop()
            if self._traces is not None:
                self._traces.close()

    def stop(self) -> None:
        """Ask the loop to end: what is in hand is inserted first, within `sink_drain_seconds`."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()

    def leads(self) -> bool:
        """Whether this sink has the partition that one sink alone has."""
        return FIRST in self._partitions

    def _drained(self, now: float) -> bool:
        if self._stopping_since is None:
            return False
        if now - self._stopping_since > self._settings.sink_drain_seconds:
            log.warning("stopped before the last batches were known to be stored; the next sink sends them")
            return True
        return all(
            (partition.idle or partition.cutting_again) and partition.to_commit is None
            for partition in self._partitions.values()
        )

    def _advance(self, now: float) -> None:
        self._round = now
        stopping = self._stopping_since is not None
        partitions = list(self._partitions.values())
        self._set_age(now)
        self._pipeline.advance(partitions, now, anything=stopping)
        for partition in self._gaps.watch(partitions, now):
            self._seek(partition, partition.accept_gap())
        for partition in partitions:
            if partition.starting_over and partition.batch is None:
                partition.phase = Phase.TAKING_OVER
                self._take_over([partition])
        self._hold_back(partitions, now)
        if now >= self._tell_at:
            self._tell_at = now + 1.0
            self._tell(partitions, now)

    def _take_outcomes(self) -> None:
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except Empty:
                return
            outcome()

    # --- reading

    def _read(self) -> None:
        busy = any(partition.batch is not None for partition in self._partitions.values())
        if self._full_since is not None and time.monotonic() - self._full_since < FULL_SECONDS:
            self._wait(IDLE_SECONDS)  # no poll: what the client has fetched would be thrown away by a pause
            return
        room = max(self._settings.sink_buffer_bytes - self._held, 0) // self._largest
        self._sought.clear()
        for message in self._consumer.consume(
            max(1, min(room, READ_RECORDS)), BUSY_SECONDS if busy else IDLE_SECONDS
        ):
            error = message.error()
            if error is not None:
                self._on_message_error(error, message)
            else:
                self._receive(message)

    def _wait(self, seconds: float) -> None:
        try:
            self._outcomes.get(timeout=seconds)()
        except Empty:
            pass

    def _receive(self, message: Message) -> None:
        partition = self._partitions.get(TopicPartition(message.topic() or "", message.partition() or 0))
        if partition is None or partition.phase is not Phase.READING:
            return
        if partition in self._sought or message.offset() < partition.position:
            return  # fetched before a seek
        self._away = ""
        headers = headers_of(message)
        try:
            frame = read_frame(headers, message.value(), offset=message.offset(), arrived=time.monotonic())
            if (frame.head.stream, frame.head.source_partition) != partition.key:
                raise BadFrame(f"it is of {frame.head.stream} partition {frame.head.source_partition}")
            if self._traces is not None:
                frame = frame._replace(trace=context_of(headers, TRACEPARENT))
            order, read_from = partition.take(frame)
        except BadFrame as error:
            SINK_FOREIGN.labels(partition.stream).inc()
            log.warning("%s offset %d is no frame: %s", message.topic(), message.offset(), error)
            partition.position = message.offset() + 1
            return
        except Stop as error:
            self._fatal = error
            return
        self._largest = max(self._largest, frame.size)
        if order is Order.REPEAT:
            SINK_REPEATS.labels(partition.stream).inc()
        if read_from is not None:
            self._seek(partition, read_from)
        if partition.starting_over:
            self._pause([partition])

    def _seek(self, partition: Partition, offset: int) -> None:
        self._sought.add(partition)
        try:
            self._consumer.seek(KafkaPartition(partition.topic, partition.key.partition, offset))
        except KafkaException as error:
            log.warning("%s: cannot read from %d: %s", partition.key, offset, error.args[0].str())
            partition.start_over()

    def _hold_back(self, partitions: list[Partition], now: float) -> None:
        """Bound the memory: read no more where too much is held, and again once it is gone."""
        limit = self._settings.sink_buffer_bytes
        held = self._held = sum(partition.bytes for partition in partitions)
        if held < limit // 2:
            self._full_since = None
        elif held >= limit and self._full_since is None:
            self._full_since = now
        full = self._full_since is not None
        again = any(partition.cutting_again for partition in partitions)
        if full and again:
            self._full_since = now - FULL_SECONDS  # poll on: a batch that is cut again must be complete
        stop_all = full and (again or now - (self._full_since or now) >= FULL_SECONDS)
        share = limit // max(len(partitions), 1)
        pause, resume = [], []
        for partition in partitions:
            stuck = partition.batch is not None and partition.batch.attempts > 1 and partition.bytes > share
            hold = (
                partition.phase is not Phase.READING
                or self._stopping_since is not None
                or stuck
                or (stop_all and partition.cutting_again is None)
            )
            if hold and not partition.paused:
                pause.append(partition)
            elif not hold and partition.paused:
                resume.append(partition)
        self._pause(pause)
        if resume:
            self._consumer.resume([_topic_partition(partition) for partition in resume])
            for partition in resume:
                partition.paused = False

    def _pause(self, partitions: list[Partition]) -> None:
        if partitions:
            self._consumer.pause([_topic_partition(partition) for partition in partitions])
            for partition in partitions:
                partition.paused = True

    def _set_age(self, now: float) -> None:
        """Let batches grow older while inserts take much of the threads, since each has a price of its own;
        and where events come late anyway, so that they come the faster: large blocks cost half as much."""
        low, high = self._settings.sink_batch_age_ms / 1000, self._settings.sink_busy_age_ms / 1000
        costs = self._pipeline.costs
        for partition in [partition for partition, (_, at) in costs.items() if now - at > COST_SECONDS]:
            del costs[partition]
        age = min(max(low, sum(cost for cost, _ in costs.values()) / INSERT_SHARE), max(low, high))
        late = max(age, self._settings.sink_late_age_ms / 1000)
        for partition in self._partitions.values():
            own = late if now < partition.late_until else age
            partition.set_limits(Limits(self._limits.rows, self._limits.bytes, own))

    # --- the group

    def _on_assign(self, consumer: Consumer, assigned: list[KafkaPartition]) -> None:
        hold(consumer, assigned)  # where to read from is known only once the ledger has been asked
        self._drop("assigned anew")
        for found in assigned:
            key = StreamPartition(ENRICHED_STREAMS[found.topic], found.partition)
            self._partitions[TopicPartition(found.topic, found.partition)] = Partition(
                key, found.topic, self._limits
            )
            SINK_TAKE_OVERS.labels(key.stream).inc()
        self._assigned = True
        log.info("assigned %d partitions; asking the ledger where to go on", len(assigned))
        if assigned:
            self._take_over(list(self._partitions.values()))

    def _on_revoke(self, consumer: Consumer, revoked: list[KafkaPartition]) -> None:
        self._commit_stored()
        self._drop("revoked")
        self._assigned = False

    def _on_lost(self, consumer: Consumer, lost: list[KafkaPartition]) -> None:
        self._drop("lost")
        self._assigned = False

    def _drop(self, why: str) -> None:
        for partition in self._partitions.values():
            partition.revoke()
        if self._partitions:
            log.info("%d partitions %s", len(self._partitions), why)
        self._partitions = {}
        self._pipeline.costs.clear()
        self._behind.clear()
        self._full_since = None

    def _commit_stored(self) -> None:
        """Commit behind what is stored, so that the next owner need not send it again."""
        offsets = [
            (partition, partition.to_commit)
            for partition in self._partitions.values()
            if partition.to_commit is not None and partition.batch is None
        ]
        if offsets and self._fence(offsets):
            for partition, _ in offsets:
                partition.to_commit = None

    def _fence(self, offsets: list[tuple[Partition, int]]) -> bool:
        """Commit, and wait for the group's answer. A member that the group gave up gets a refusal, and
        drops everything at once; so does one whose partition was revoked in the meantime.
        """
        now = time.monotonic()
        if now < self._no_commit_before or any(partition.revoked for partition, _ in offsets):
            return False
        wanted = [
            KafkaPartition(partition.topic, partition.key.partition, offset) for partition, offset in offsets
        ]
        try:
            answered = self._consumer.commit(offsets=wanted, asynchronous=False)
            errors = [found.error for found in answered or () if found.error is not None]
        except KafkaException as error:
            errors = [error.args[0]]
        if not errors:
            return True
        if any(error.code() in REFUSED for error in errors):
            log.warning("the group gave this member up (%s): dropping its partitions", errors[0].str())
            self._drop("fenced off")
            self._assigned = False
        else:
            log.warning("Kafka does not take the commit (%s); trying again", errors[0].str())
            self._no_commit_before = now + RETRY_SECONDS / 5
        return False

    def _take_over(self, partitions: list[Partition]) -> None:
        """Ask ledger and broker where to read these on from."""
        keys = [partition.key for partition in partitions]
        member = membership(self._consumer)
        check = {partition.key: set(partition.check_epochs) for partition in partitions}
        out_of_range = self._out_of_range & set(keys)

        def job() -> dict[StreamPartition, TakeOver]:
            return look_up(
                self._groupless,
                self._ledger,
                connection(self._settings),
                keys,
                group=self._settings.sink_group,
                membership=member,
                check_epochs=check,
                out_of_range=out_of_range,
            )

        self._look_ups.submit(job, lambda result: self._taken_over(partitions, result))

    def _taken_over(self, partitions: list[Partition], result: Any) -> None:
        partitions = [partition for partition in partitions if not partition.revoked]
        if not partitions:
            return
        if isinstance(result, Stop):
            self._fatal = result
            return
        if isinstance(result, Exception):
            problem = f"cannot take over: {result}"
            if problem != self._look_up_problem:
                log.warning("%s; trying again", problem)
            self._look_up_problem = problem
            self._look_ups.submit(
                lambda: time.sleep(RETRY_SECONDS),
                lambda _: self._take_over([found for found in partitions if not found.revoked]),
            )
            return
        self._look_up_problem = ""
        for partition in partitions:
            offset = partition.begin(result[partition.key])
            self._out_of_range.discard(partition.key)
            again = partition.cutting_again
            log.info(
                "%s: reading from enriched offset %d%s",
                partition.key,
                offset,
                f", sending {again.token} again" if again else "",
            )
            self._seek(partition, offset)

    # --- trouble with Kafka

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            if not self._away:
                log.warning("no broker can be reached")
            self._away = "no broker can be reached"
        elif error.fatal():
            self._fatal = Stop(f"the Kafka client cannot go on: {error.str()}")
        else:
            log.debug("consumer: %s", error.str())

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        partition = self._partitions.get(TopicPartition(message.topic() or "", message.partition() or 0))
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) and partition:
            log.warning("%s: the broker has no offset %s", partition.key, partition.position)
            self._out_of_range.add(partition.key)
            partition.start_over()
            self._pause([partition])
        else:
            log.warning("Kafka: %s", error.str())

    # --- what is told

    def _tell(self, partitions: list[Partition], now: float) -> None:
        lag = dict.fromkeys(STREAMS, 0)
        stored_to = {}
        for partition in partitions:
            stored = partition.stored_to()
            if stored is None:
                continue
            stored_to[TopicPartition(partition.topic, partition.key.partition)] = stored
            try:
                _, end = self._consumer.get_watermark_offsets(_topic_partition(partition), cached=True)
            except KafkaException:
                continue
            lag[partition.stream] += max(end, stored) - stored
            self._check_end(partition, end, now)
        self._stored_to = stored_to
        for stream, records in lag.items():
            SINK_LAG.labels(stream).set(records)
        SINK_BUFFER_BYTES.set(sum(partition.bytes for partition in partitions))
        oldest = [partition.oldest.arrived for partition in partitions if partition.oldest is not None]
        SINK_OLDEST_SECONDS.set(now - min(oldest) if oldest else 0.0)

    def _check_end(self, partition: Partition, end: int, now: float) -> None:
        """The log of one epoch never gets shorter. (Not every broker refuses an offset behind its end.)"""
        plan = partition.newest_plan
        if plan is None or end < 0 or end > plan.enriched_last:
            self._behind.pop(partition.key, None)
        elif now - self._behind.setdefault(partition.key, now) > BEHIND_SECONDS:
            self._fatal = Stop(lost_log(partition.key, plan, end))

    def not_ready(self) -> list[str]:
        """Reasons why it cannot do its work, for /readyz."""
        partitions = list(self._partitions.values())
        reasons = [self._away, self._look_up_problem, self._pipeline.plan_problem]
        if self._stopping_since is not None:
            reasons.append("stopping")
        if not self._assigned:
            reasons.append("not in the consumer group yet")
        for partition in partitions:
            if partition.phase is Phase.TAKING_OVER:
                reasons.append(f"{partition.key}: taking over")
            if partition.gap_found is not None:
                reasons.append(say(partition.key, *partition.gap_found))
            reasons.append(partition.problem)
            if partition.batch is not None:
                reasons.append(partition.batch.problem)
        return list(dict.fromkeys(reason for reason in reasons if reason))

    def not_alive(self) -> list[str]:
        silent = time.monotonic() - self._round
        return [f"no round of the loop for {silent:.0f} s"] if silent > ALIVE_SECONDS else []


def _topic_partition(partition: Partition) -> KafkaPartition:
    return KafkaPartition(partition.topic, partition.key.partition)
