"""Batches on their way: build, plan, fence, insert. One at a time for each partition.

What waits (ClickHouse, Arrow) runs in threads; what decides runs in the reader's thread, and so does the
fence, between two polls: there a partition cannot be revoked half-way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.client import Client

from tidegate.contracts.ledger import BatchPlan
from tidegate.errors import RetryLater, Stop
from tidegate.sink.blocks import build
from tidegate.sink.partition import Batch, Partition, Step
from tidegate.sink.threads import Threads
from tidegate.store.insert import insert
from tidegate.store.ledger import Ledger
from tidegate.telemetry import (
    SINK_BATCHES,
    SINK_INSERT_SECONDS,
    SINK_REJECTS,
    SINK_RETRIES,
    SINK_ROWS,
)

if TYPE_CHECKING:
    from tidegate.sink.traces import BatchTraces

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds before ClickHouse is asked again
LATE_SECONDS = 5.0  # how old a batch's newest event is when it counts as late, and for how long it does
Fence = Callable[[list[tuple[Partition, int]]], bool]  # commits enriched offsets; whether that held


class Pipeline:
    """Takes batches through build, plan, fence and insert. `advance` is called from the reader's thread; what
    threads find comes back as functions in `outcomes`, which that thread calls."""

    def __init__(
        self,
        client: Client,
        database: str,
        ledger: Ledger,
        *,
        fence: Fence,
        fence_seconds: float,
        threads: int,
        outcomes: SimpleQueue[Callable[[], None]],
        traces: BatchTraces | None = None,
    ) -> None:
        self._traces = traces
        self._client = client
        self._database = database
        self._ledger = ledger
        self._fence = fence
        self._fence_seconds = fence_seconds
        self._slots = threads + 1
        self._inserts = Threads("insert", threads, outcomes)
        self._ledger_thread = Threads("plan", 1, outcomes)
        self._planning: list[tuple[Partition, Batch, BatchPlan]] = []
        self._plan_not_before = 0.0
        self._plan_attempts = 0
        self._plan_busy = False
        self.plan_problem = ""
        self.costs: dict[Partition, tuple[float, float]] = {}  # thread seconds of the last batch, and when

    def stop(self) -> None:
        self._inserts.stop()
        self._ledger_thread.stop()

    def advance(self, partitions: Iterable[Partition], now: float, *, anything: bool = False) -> None:
        """Take every batch one step further that can go; cut new ones while there are threads for them."""
        partitions = sorted(partitions, key=_age)
        for partition in partitions:
            if partition.batch is not None:
                self._step(partition, partition.batch, now)
        at_work = sum(
            partition.batch is not None and partition.batch.not_before <= now for partition in partitions
        )
        for partition in partitions:
            if at_work >= self._slots:
                break
            if partition.batch is None and partition.next_batch(now, anything=anything) is not None:
                at_work += 1
                batch = partition.batch
                assert batch is not None
                self._step(partition, batch, now)
        self._write_plans(partitions, now)
        self._commit(partitions, now)

    # --- one step of one batch

    def _step(self, partition: Partition, batch: Batch, now: float) -> None:
        if batch.busy or now < batch.not_before:
            return
        if batch.step is Step.CUT:
            batch.busy = True
            self._inserts.submit(
                lambda: _timed(lambda: build(batch.frames)),
                lambda result: self._built(partition, batch, result),
            )
        elif batch.step is Step.FENCED:
            batch.busy = True
            self._inserts.submit(
                lambda: _timed(lambda: self._send(partition, batch)),
                lambda result: self._sent(partition, batch, result),
            )

    def _built(self, partition: Partition, batch: Batch, result: Any) -> None:
        batch.busy = False
        if isinstance(result, Exception):
            self._failed(partition, batch, result)
            return
        seconds, blocks = result
        self.costs[partition] = (seconds, time.monotonic())
        if batch.plan is not None and batch.plan.days != blocks.days:
            days = f"{batch.plan.days} then, {blocks.days} now"
            self._failed(partition, batch, Stop(f"batch {batch.plan.token} has other days: {days}"))
            return
        late = bool(blocks.newest) and time.time() - blocks.newest / 1e6 > LATE_SECONDS
        partition.late_until = time.monotonic() + LATE_SECONDS if late else 0.0
        batch.built(blocks)
        batch.step = Step.BUILT

    def _send(self, partition: Partition, batch: Batch) -> bool:
        """Insert what is left of the batch; False when the fence is too long ago to rely on."""
        assert batch.plan is not None and batch.blocks is not None
        for block in batch.blocks.blocks[batch.sent :]:
            if partition.revoked or time.monotonic() - batch.fenced_at > self._fence_seconds:
                return False
            insert(self._client, self._database, block, batch.plan.token + block.token_suffix)
            batch.sent += 1
        return True

    def _sent(self, partition: Partition, batch: Batch, result: Any) -> None:
        batch.busy = False
        if partition.revoked:
            return
        if isinstance(result, Exception):
            self._failed(partition, batch, result)
            return
        seconds, all_sent = result
        if not all_sent:
            batch.step = Step.PLANNED
            return
        plan = batch.plan
        assert plan is not None
        SINK_ROWS.labels(plan.stream).inc(plan.accepted)
        SINK_REJECTS.labels(plan.stream).inc(plan.rejected)
        SINK_BATCHES.labels(plan.stream).inc()
        SINK_INSERT_SECONDS.observe(seconds)
        if self._traces is not None:
            self._traces.stored(batch, plan)
        self.costs[partition] = (self.costs.get(partition, (0.0, 0.0))[0] + seconds, time.monotonic())
        partition.finish()

    def _failed(self, partition: Partition, batch: Batch, error: Exception) -> None:
        batch.attempts += 1
        SINK_RETRIES.inc()
        batch.not_before = time.monotonic() + _wait(batch.attempts)
        problem = f"{partition.key}: {_say(error)}"
        if batch.problem != problem:
            log.warning("%s; trying again until it works", problem)
        batch.problem = problem

    # --- plans: all that are ready in one insert

    def _write_plans(self, partitions: Iterable[Partition], now: float) -> None:
        if self._plan_busy or now < self._plan_not_before:
            return
        if not self._planning:
            for partition in partitions:
                batch = partition.batch
                if batch is not None and batch.step is Step.BUILT and not batch.busy:
                    batch.busy = True
                    batch.plan = partition.plan(batch)
                    self._planning.append((partition, batch, batch.plan))
        if not self._planning:
            return
        if all(partition.revoked for partition, _, _ in self._planning):
            self._planning = []
            return
        # Once sent, the same plans are sent until it is known that they are written: their outcome is
        # unknown till then, and another set of rows would be written beside them.
        plans = [plan for _, _, plan in self._planning]
        self._plan_busy = True
        self._ledger_thread.submit(lambda: self._ledger.write(plans), self._planned)

    def _planned(self, result: Any) -> None:
        self._plan_busy = False
        if isinstance(result, Exception):
            self._plan_attempts += 1
            SINK_RETRIES.inc()
            self._plan_not_before = time.monotonic() + _wait(self._plan_attempts)
            problem = f"the ledger: {_say(result)}"
            if self.plan_problem != problem:
                log.warning("%s; trying again until it works", problem)
            self.plan_problem = problem
            return
        self._plan_attempts, self.plan_problem = 0, ""
        planned, self._planning = self._planning, []
        for _, batch, _ in planned:
            batch.busy = False
            batch.step = Step.PLANNED

    # --- fences: all that are ready in one commit

    def _commit(self, partitions: Iterable[Partition], now: float) -> None:
        offsets: list[tuple[Partition, int]] = []
        fenced: list[Batch] = []
        for partition in partitions:
            batch = partition.batch
            if batch is None:
                if partition.to_commit is not None:
                    offsets.append((partition, partition.to_commit))
            elif batch.step is Step.PLANNED and not batch.busy and now >= batch.not_before:
                assert batch.plan is not None
                offsets.append((partition, batch.plan.enriched_first))
                fenced.append(batch)
        if not offsets or not self._fence(offsets):
            return
        for partition, _ in offsets:
            partition.to_commit = None
        for batch in fenced:
            batch.fenced_at = now
            batch.step = Step.FENCED
        for partition, _ in offsets:
            if partition.batch is not None:
                self._step(partition, partition.batch, now)


def _age(partition: Partition) -> float:
    return partition.oldest.arrived if partition.oldest is not None else float("inf")


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.monotonic()
    result = job()
    return time.monotonic() - begun, result


def _wait(attempts: int) -> float:
    return float(min(FIRST_WAIT * 2 ** min(attempts - 1, 10), LONGEST_WAIT))


def _say(error: Exception) -> str:
    if isinstance(error, RetryLater):
        return str(error)
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0][:500] if first else ''}"
