"""Where a backup ends in each partition, while events stream in.

The ledger is asked once for the newest batch of each partition; what it planned before is stored. From then
on rows are taken by their offset: rows of an offset never change, so it does not matter when they are read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import STREAMS, Stream, StreamPartition
from tidegate.errors import RetryLater
from tidegate.store.client import infrastructure, literal
from tidegate.store.ledger import Ledger
from tidegate.verify.period import kept_since

RECENT = timedelta(hours=1)  # a partition of an older epoch in which a sink may still be at work
STORED_SECONDS = 30.0  # that the newest batch gets to be stored
POLL_SECONDS = 0.2


class Cut(NamedTuple):
    """Which rows belong to a backup: all of ended epochs, and of live ones those up to their newest batch."""

    epoch: str  # the newest; empty for none
    epochs: tuple[str, ...]  # all that were seen
    live: tuple[str, ...]  # of these, the ones in which a sink may go on meanwhile
    newest: tuple[BatchPlan, ...]  # of every partition of a live epoch: the last batch within the cut
    since: date | None  # before it base tables have begun to let rows go; None: they keep everything

    def rows(self, stream: Stream, *, offset: str = "offset") -> str:
        """The condition of rows within the cut, on epoch, partition and `offset`."""
        return self._condition(offset, [(plan, plan.last + 1) for plan in self._of(stream)])

    def rows_before_newest(self, stream: Stream) -> str:
        """The same without those of the newest batches."""
        return self._condition("offset", [(plan, plan.first) for plan in self._of(stream)])

    def _of(self, stream: Stream) -> list[BatchPlan]:
        return [plan for plan in self.newest if plan.stream == stream]

    def _condition(self, offset: str, ends: list[tuple[BatchPlan, int]]) -> str:
        known = f"epoch IN ({', '.join(map(literal, self.epochs)) or literal('')})"
        branches = []
        for epoch in self.live:
            mine = {plan.partition: end for plan, end in ends if plan.epoch == epoch}
            numbers = ", ".join(map(str, mine)) or "0"
            limits = ", ".join(f"toUInt64({end})" for end in mine.values()) or "toUInt64(0)"
            end = f"transform(partition, [{numbers}]::Array(UInt32), [{limits}], toUInt64(0))"
            branches.append(f"epoch = {literal(epoch)}, {offset} < {end}")
        return f"{known} AND multiIf({', '.join([*branches, '1'])})" if branches else known


def find(client: Client, database: str, ledger: Ledger) -> Cut:
    """Raises RetryLater while ClickHouse is away."""
    with infrastructure():
        seen = ledger.epochs()
        newest_epoch = max(seen, key=lambda name: seen[name]) if seen else ""
        plans = _newest(client, database)
        epochs = tuple(sorted({plan.epoch for plan in plans} | set(seen)))
        last = max((plan.planned_at for plan in plans), default=None)
        live = {plan.epoch for plan in plans if last is not None and plan.planned_at > last - RECENT}
        live |= {newest_epoch} if newest_epoch else set()
        newest = tuple(plan for plan in plans if plan.epoch in live)
        return Cut(newest_epoch, epochs, tuple(sorted(live)), newest, kept_since(client, database))


def await_stored(ledger: Ledger, plans: Iterable[BatchPlan]) -> list[BatchPlan]:
    """Wait until the batches are stored; those that are not in the end: no sink is at work on them."""
    waiting = [plan for plan in plans if plan.inserts]
    deadline = time.monotonic() + STORED_SECONDS
    while True:
        waiting = [plan for plan in waiting if not ledger.is_stored(plan)]
        if not waiting or time.monotonic() >= deadline:
            return waiting
        time.sleep(POLL_SECONDS)


def check_unchanged(client: Client, database: str, cut: Cut) -> None:
    """Raise RetryLater where a batch of the cut was planned otherwise meanwhile, by a sink that took over."""
    wanted = {(plan.epoch, plan.stream, plan.partition): (plan.first, plan.last) for plan in cut.newest}
    with infrastructure():
        rows = client.query(
            f"SELECT epoch, stream, partition, first, last FROM {database}.verify_batches WHERE "
            + " OR ".join(
                f"(stream = {literal(stream)} AND {cut.rows(stream, offset='first')})" for stream in STREAMS
            )
            + " ORDER BY first DESC LIMIT 1 BY epoch, stream, partition"
        ).result_rows
    found = {(epoch, stream, partition): (first, last) for epoch, stream, partition, first, last in rows}
    for (epoch, stream, partition), edges in wanted.items():
        if found.get((epoch, stream, partition)) != edges:
            raise RetryLater(
                f"{StreamPartition(stream, partition)}: another sink took over while the backup was written:"
                " begin again"
            )


def _newest(client: Client, database: str) -> list[BatchPlan]:
    rows = client.query(
        f"SELECT {', '.join(BatchPlan._fields)} FROM {database}.verify_batches"
        " ORDER BY generation DESC, first DESC LIMIT 1 BY epoch, stream, partition"
    ).result_rows
    return [BatchPlan(*row) for row in rows]
