"""The sink's ledger in ClickHouse: `sink_batches` (plans), `sink_gaps`, `epochs` and `sink_groups`.

ClickHouse is the truth about what is stored; Kafka's committed offset is a fence and a metric.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver.client import Client

from tidegate.contracts.ledger import BatchPlan, Gap
from tidegate.contracts.topics import StreamPartition
from tidegate.errors import RetryLater, Stop
from tidegate.store.client import infrastructure

GAP_COLUMNS = (
    "epoch",
    "stream",
    "partition",
    "after",
    "next",
    "found_at",
    "accepted",
    "accepted_by",
    "reason",
    "at",
)


class Ledger:
    """Reads and writes the ledger. Every method raises RetryLater while ClickHouse is away."""

    def __init__(self, client: Client, database: str, *, cluster: bool = False) -> None:
        self._client = client
        self._database = database
        self._types: dict[str, Sequence[ClickHouseType]] = {}  # of the columns written, as the server says
        # On a cluster a plan must be seen by whoever takes over, whichever replica it asks.
        self._write: dict[str, Any] = {"async_insert": 0, "insert_deduplicate": 1}
        self._read: dict[str, Any] = {}
        if cluster:
            self._write["insert_quorum"] = "auto"
            self._write["insert_quorum_parallel"] = 0
            self._read["select_sequential_consistency"] = 1

    def newest(self, partitions: Iterable[StreamPartition]) -> dict[StreamPartition, dict[str, BatchPlan]]:
        """The newest plan of each epoch, for each partition that has any.

        Newest is the highest generation, then the highest offset: a plan that a member wrote after it
        had lost the partition has a lower generation than whoever took over.
        """
        wanted = [(partition.stream, partition.partition) for partition in partitions]
        rows = self._select(
            f"SELECT {', '.join(BatchPlan._fields)} FROM {self._database}.sink_batches"
            " WHERE (stream, partition) IN {partitions:Array(Tuple(String, UInt32))}"
            " ORDER BY generation DESC, last DESC LIMIT 1 BY epoch, stream, partition",
            partitions=wanted,
        )
        found: dict[StreamPartition, dict[str, BatchPlan]] = {}
        for row in rows:
            plan = BatchPlan(*row)
            plan = plan._replace(planned_at=_utc(plan.planned_at))
            found.setdefault(StreamPartition(plan.stream, plan.partition), {})[plan.epoch] = plan
        return found

    def write(self, plans: Sequence[BatchPlan]) -> None:
        """Write plans, all or none. Sent again with the same plans, it writes nothing twice."""
        text = "\n".join(f"{plan.token}@{plan.generation}" for plan in plans)
        self._insert(
            "sink_batches", BatchPlan._fields, [list(plan) for plan in plans], "plan:" + _digest(text)
        )

    def is_stored(self, plan: BatchPlan) -> bool:
        """Whether every row of the plan is in its table. (Views may still lack them.)"""
        events = self._count(plan.stream, plan, "AND toDate(received_at) IN {days:Array(Date)}")
        rejects = self._count("rejects", plan, "AND stream = {stream:String}")
        return events == plan.accepted and rejects == plan.rejected

    def plans_since(self, plan: BatchPlan) -> int:
        """Batches of the stream planned since, in all partitions: inserts that its token lies behind."""
        [(count,)] = self._select(
            f"SELECT count() FROM {self._database}.sink_batches"
            " WHERE stream = {stream:String} AND planned_at > fromUnixTimestamp64Micro({since:Int64})",
            stream=plan.stream,
            since=_microseconds(plan.planned_at),
        )
        return int(count)

    def epochs(self) -> dict[str, datetime]:
        """Every epoch that was seen, and when it was last begun or gone back to."""
        rows = self._select(f"SELECT epoch, max(first_seen) FROM {self._database}.epochs GROUP BY epoch")
        return {str(epoch): _utc(seen) for epoch, seen in rows}

    def note_epoch(self, epoch: str) -> None:
        """Keep when an epoch was first seen."""
        if epoch not in self.epochs():
            self._write_epoch(epoch, "")

    def accept_epoch(self, epoch: str) -> None:
        """Go back to an epoch: from now on it is the newest."""
        self._write_epoch(epoch, f"@{datetime.now(UTC).isoformat()}")

    def _write_epoch(self, epoch: str, which: str) -> None:
        # never before the ones that are there, whatever the clock here says
        at = max([datetime.now(UTC), *(seen + timedelta(seconds=1) for seen in self.epochs().values())])
        self._insert("epochs", ("epoch", "first_seen"), [[epoch, at]], "epoch:" + _digest(epoch + which))

    def claim(self, epoch: str, group: str) -> None:
        """Make sure that `group` is the one that fills the tables in this epoch: the first that asks is.

        Raises Stop for any other. A token lets only the first row in, should two ask at once.
        """
        owner = self._owner(epoch)
        if owner is None:
            self._write_owner(epoch, group, "")
            owner = self._owner(epoch)
        if owner != group:
            raise Stop(
                f"consumer group {owner} fills the tables of {self._database} in epoch {epoch}; sinks of"
                f" group {group} beside it would store everything twice. Set sink_group to {owner}, or stop"
                f" its sinks for good and run: tidegate sink accept-group {group}"
            )

    def accept_group(self, epoch: str, group: str) -> None:
        """From now on `group` fills the tables."""
        self._write_owner(epoch, group, f"@{datetime.now(UTC).isoformat()}")

    def _owner(self, epoch: str) -> str | None:
        rows = self._select(
            f"SELECT sink_group FROM {self._database}.sink_groups WHERE epoch = {{epoch:String}}"
            " ORDER BY at DESC LIMIT 1",
            epoch=epoch,
        )
        return str(rows[0][0]) if rows else None

    def _write_owner(self, epoch: str, group: str, which: str) -> None:
        row = [epoch, group, datetime.now(UTC)]
        columns = ("epoch", "sink_group", "at")
        self._insert("sink_groups", columns, [row], "group:" + _digest(epoch + which))

    def note_gap(
        self, epoch: str, partition: StreamPartition, gap: Gap, found_at: datetime, reason: str
    ) -> None:
        """Put on record that a partition stopped, or that what was missing came after all."""
        self._write_gap(epoch, partition, gap, found_at, 0, "", reason)

    def accept_gap(
        self, epoch: str, partition: StreamPartition, gap: Gap, found_at: datetime, *, by: str, reason: str
    ) -> None:
        self._write_gap(epoch, partition, gap, found_at, 1, by, reason)

    def _write_gap(
        self,
        epoch: str,
        partition: StreamPartition,
        gap: Gap,
        found_at: datetime,
        accepted: int,
        by: str,
        reason: str,
    ) -> None:
        key = (epoch, partition.stream, partition.partition, gap.after, gap.next)
        row = [*key, found_at, accepted, by, reason, datetime.now(UTC)]
        self._insert("sink_gaps", GAP_COLUMNS, [row], "gap:" + _digest(repr(row)))

    def is_accepted(self, epoch: str, partition: StreamPartition, gap: Gap) -> bool:
        """Whether an operator let the sink go on behind this very gap."""
        rows = self._select(
            f"SELECT max(accepted) FROM {self._database}.sink_gaps"
            " WHERE epoch = {epoch:String} AND stream = {stream:String} AND partition = {partition:UInt32}"
            " AND after = {after:Int64} AND next = {next:UInt64}",
            epoch=epoch,
            stream=partition.stream,
            partition=partition.partition,
            after=gap.after,
            next=gap.next,
        )
        return bool(rows[0][0])

    def gaps(self, partition: StreamPartition) -> list[tuple[str, Gap, datetime, bool]]:
        """The gaps on record: epoch, gap, when it was found, whether it is accepted; oldest first."""
        rows = self._select(
            "SELECT epoch, after, next, min(found_at) AS found, max(accepted)"
            f" FROM {self._database}.sink_gaps"
            " WHERE stream = {stream:String} AND partition = {partition:UInt32}"
            " GROUP BY epoch, after, next ORDER BY found",
            stream=partition.stream,
            partition=partition.partition,
        )
        return [
            (str(epoch), Gap(after, next_, after), _utc(found), bool(accepted))
            for epoch, after, next_, found, accepted in rows
        ]

    def _count(self, table: str, plan: BatchPlan, also: str) -> int:
        """Rows of the plan, and those that were erased since or have expired."""
        of_plan = (
            "epoch = {epoch:String} AND partition = {partition:UInt32}"
            " AND offset BETWEEN {first:UInt64} AND {last:UInt64}"
        )
        [(count,)] = self._select(
            f"SELECT (SELECT count() FROM {self._database}.{table} WHERE {of_plan} {also})"
            f" + (SELECT uniqExact(offset, `index`) FROM {self._database}.erasures WHERE `table` = '{table}'"
            f" AND stream = {{stream:String}} AND {of_plan})"
            f" + (SELECT sum(rows) FROM {self._database}.verify_expired WHERE `table` = '{table}'"
            f" AND stream = {{stream:String}} AND {of_plan})",
            epoch=plan.epoch,
            stream=plan.stream,
            partition=plan.partition,
            first=plan.first,
            last=plan.last,
            days=plan.days,
        )
        return int(count)

    def _select(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with infrastructure():
            result = self._client.query(query, parameters=parameters, settings=self._read)
        return cast("list[tuple[Any, ...]]", list(result.result_rows))

    def _insert(self, table: str, columns: Sequence[str], rows: list[list[Any]], token: str) -> None:
        with infrastructure():
            context = self._client.create_insert_context(
                f"{self._database}.{table}",
                list(columns),
                column_types=self._types.get(table),
                settings={**self._write, "insert_deduplication_token": token},
            )
            self._types[table] = context.column_types
            summary = self._client.insert(data=rows, context=context)
        if "written_rows" not in summary.summary:
            raise RetryLater(f"ClickHouse answered the insert into {table} without a summary")


def _utc(time: datetime) -> datetime:
    """The driver answers times of UTC columns without a zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _microseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
