"""Compares the ledger with the tables, partition by partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS, Stream
from tidegate.store.migrate import LEVELS
from tidegate.verify.period import Offsets, straddling

SINCE = date(1970, 1, 1)
UNTIL = date(2299, 12, 31)
UNDER_WAY_SECONDS = 60  # that the newest batch may take, where Kafka does not say how far the sink is
LOOKS, PAUSE_SECONDS = 20, 0.3  # at rollups that differ, while an insert may be under way
WORST = 20  # batches of a partition that are told one by one


class PartitionBalance(NamedTuple):
    """One partition: what the ledger says, and what the tables hold. Counts of lines and rows."""

    stream: Stream
    epoch: str
    partition: int
    frames: int
    lines: int
    accepted: int
    rejected: int
    duplicates: int
    first: int
    last: int
    stored: int
    rejects_stored: int
    erased: int = 0  # rows that an erasure took, by their positions on record
    rejects_erased: int = 0
    expired: int = 0  # rows that went at the end of their fleet's retention
    rejects_expired: int = 0

    @property
    def balanced(self) -> bool:
        return (
            self.lines == self.accepted + self.rejected + self.duplicates
            and self.stored + self.erased + self.expired == self.accepted
            and self.rejects_stored + self.rejects_erased + self.rejects_expired == self.rejected
        )


Committed = Callable[[PartitionBalance], int | None]
"""The enriched offset that the sink has committed of a partition; None where nobody says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not balance, and the SQL that shows it."""

    what: str
    sql: str


def read(
    client: Client, database: str, since: date, until: date, *, committed: Committed = lambda row: None
) -> tuple[list[PartitionBalance], list[Finding], int]:
    """The partitions of the received days `since` to `until` (inclusive), what does not balance, and how many
    gaps an operator has accepted.

    A sink plans a partition's next batch only when the one before is stored. So the newest one may be under
    way, and is left out where it is; all before it must be there, whatever happens meanwhile.
    """
    apart = dict(straddling(client, database, since, until))
    partitions = []
    for row in _partitions(client, database, since, until):
        beyond = apart.get((row.stream, row.epoch, row.partition))
        if beyond is not None or not row.balanced:
            row = _counted(client, database, row, since, until, committed, beyond or Offsets([], []))
        partitions.append(row)
    findings = [finding for row in partitions if not row.balanced for finding in _dig(client, database, row)]
    gaps = client.query(
        f"SELECT stream, epoch, partition, after, next, is_accepted FROM {database}.verify_gaps"
    ).result_rows
    findings += [_gap(database, *gap[:5]) for gap in gaps if not gap[5]]
    findings += _rollups(client, database, since, until)
    return partitions, findings, sum(bool(gap[5]) for gap in gaps)


def _counted(
    client: Client,
    database: str,
    row: PartitionBalance,
    since: date,
    until: date,
    committed: Committed,
    beyond: Offsets,
) -> PartitionBalance:
    """The partition without the batches `beyond` the period, up to the newest batch, and with it if it must
    be there by now.

    It must once the sink has committed the offset behind it: ClickHouse had answered then. What is planned
    behind it meanwhile is no part of it.
    """
    partition = {"stream": row.stream, "epoch": row.epoch, "partition": row.partition}
    where = "stream = {stream:String} AND epoch = {epoch:String} AND partition = {partition:UInt32}"
    newest = client.query(
        "SELECT first, last, enriched_last, dateDiff('second', planned_at, now64(6)) AS age"
        f" FROM {database}.verify_batches WHERE {where} ORDER BY generation DESC, first DESC LIMIT 1",
        parameters=partition,
    ).result_rows
    if not newest:
        return row
    first, last, enriched_last, age = newest[0]
    position = committed(row)
    there = position > enriched_last if position is not None else age > UNDER_WAY_SECONDS
    end = last + 1 if there else first
    days = {"since": since.isoformat(), "until": until.isoformat()}
    period = partition | days | {"end": end} | beyond._asdict()
    [ledger] = client.query(
        "SELECT sum(frames), sum(lines), sum(accepted), sum(rejected), sum(duplicates), min(first), max(last)"
        f" FROM {database}.verify_batches WHERE {where} AND first < {{end:UInt64}} AND (empty(days)"
        " OR (arrayMin(days) >= {since:Date} AND arrayMax(days) <= {until:Date}))",
        parameters=period,
    ).result_rows
    rows, erased, expired = [], [], []
    within = (
        "epoch = {epoch:String} AND partition = {partition:UInt32} AND offset < {end:UInt64}"
        " AND NOT arrayExists((first, last) -> offset BETWEEN first AND last,"
        " {firsts:Array(UInt64)}, {lasts:Array(UInt64)})"
    )
    for table, own in ((row.stream, ""), ("rejects", "stream = {stream:String} AND")):
        [(count,)] = client.query(
            f"SELECT count() FROM {database}.{table} WHERE {own} {within}"
            " AND _partition_value.1 BETWEEN {since:Date} AND {until:Date}",
            parameters=period,
        ).result_rows
        rows.append(count)
        on_record = (
            f"`table` = {{table:String}} AND stream = {{stream:String}} AND {within}"
            " AND received_day BETWEEN {since:Date} AND {until:Date}"
        )
        [(gone, behind)] = client.query(
            f"SELECT (SELECT uniqExact(offset, `index`) FROM {database}.erasures WHERE {on_record}),"
            f" (SELECT sum(rows) FROM {database}.verify_expired WHERE {on_record})",
            parameters=period | {"table": table},
        ).result_rows
        erased.append(gone)
        expired.append(behind)
    found = PartitionBalance(row.stream, row.epoch, row.partition, *ledger, *rows, *erased, *expired)
    return found if found.frames else found._replace(first=end, last=end - 1)


def _partitions(client: Client, database: str, since: date, until: date) -> list[PartitionBalance]:
    rows = client.query(
        f"SELECT {', '.join(PartitionBalance._fields)} FROM {database}.verify_partitions(since = %(since)s,"
        " until = %(until)s) ORDER BY stream, epoch, partition",
        parameters={"since": since.isoformat(), "until": until.isoformat()},
    ).result_rows
    return [PartitionBalance(*row) for row in rows]


def _dig(client: Client, database: str, row: PartitionBalance) -> Iterator[Finding]:
    """Which batches of a partition differ from their rows."""
    partition = f"epoch = '{row.epoch}' AND partition = {row.partition}"
    if row.lines != row.accepted + row.rejected + row.duplicates:
        yield Finding(
            f"{row.stream} partition {row.partition}: lines are not accepted + rejected + duplicates",
            f"SELECT * FROM {database}.verify_batches WHERE stream = '{row.stream}' AND {partition}"
            " AND lines != accepted + rejected + duplicates",
        )
    for table, column, where in (
        (row.stream, "accepted", partition),
        ("rejects", "rejected", f"{partition} AND stream = '{row.stream}'"),
    ):
        batches = client.query(
            f"SELECT first, last, {column}, stored, positions FROM"
            f" (SELECT first, last, {column} FROM {database}.verify_batches"
            f"  WHERE stream = '{row.stream}' AND {partition}) AS ledger"
            " LEFT JOIN (SELECT batch_first AS first, sum(stored) AS stored, sum(positions) AS positions FROM"
            "  (SELECT rows.offset AS offset, rows.stored AS stored, rows.positions AS positions,"
            "          batches.first AS batch_first FROM"
            f"   (SELECT 1 AS one, offset, count() AS stored, uniqExact(index) AS positions FROM"
            f"    (SELECT offset, index FROM {database}.{table} WHERE {where} UNION ALL"
            f"     SELECT DISTINCT offset, index FROM {database}.erasures WHERE `table` = '{table}'"
            f"     AND stream = '{row.stream}' AND {partition} UNION ALL"
            f"     SELECT offset, 4294967296 + arrayJoin(range(rows)) FROM {database}.verify_expired"
            f"     WHERE `table` = '{table}' AND stream = '{row.stream}' AND {partition})"
            "    GROUP BY offset) AS rows"
            f"   ASOF LEFT JOIN (SELECT 1 AS one, first FROM {database}.verify_batches"
            f"    WHERE stream = '{row.stream}' AND {partition} ORDER BY first) AS batches"
            "   ON rows.one = batches.one AND rows.offset >= batches.first)"
            "  GROUP BY first) AS found USING (first)"
            f" WHERE stored != {column} ORDER BY first LIMIT {WORST}"
        ).result_rows
        for first, last, booked, stored, positions in batches:
            doubled = f", {stored - positions} of them doubled" if stored > positions else ""
            yield Finding(
                f"{row.stream} partition {row.partition}, raw offsets {first} to {last}: the ledger has"
                f" {booked} {column}, table {table} has {stored} rows{doubled}",
                f"SELECT offset, count(), uniqExact(index) FROM {database}.{table} WHERE {where}"
                f" AND offset BETWEEN {first} AND {last} GROUP BY offset ORDER BY offset",
            )


def _gap(database: str, stream: str, epoch: str, partition: int, after: int, next: int) -> Finding:
    return Finding(
        f"{stream} partition {partition}: the batch from raw offset {next} does not follow offset {after}",
        f"SELECT * FROM {database}.verify_batches WHERE stream = '{stream}' AND epoch = '{epoch}'"
        f" AND partition = {partition} AND (last = {after} OR first = {next})",
    )


def _rollups(client: Client, database: str, since: date, until: date) -> Iterator[Finding]:
    """Received days on which a rollup has not the events of its base table.

    An insert writes the base first and the rollups behind it, so while events flow a rollup is behind by
    what is under way, by another number at each look. What is wrong is behind at every look.
    """
    query = (
        "SELECT stream, received_day, base, minutes, hours, days"
        f" FROM {database}.verify_rollups(since = %(since)s, until = %(until)s)"
        " WHERE NOT balanced ORDER BY stream, received_day"
    )
    parameters = {"since": since.isoformat(), "until": until.isoformat()}
    found: dict[
        tuple[str, str, str], tuple[int, int]
    ] = {}  # stream, level, day: events there, events of base
    for look in range(LOOKS):
        rows = client.query(query, parameters=parameters).result_rows
        seen = {
            (stream, level, str(day)): (events, base)
            for stream, day, base, *counts in rows
            for level, events in zip(("1m", "1h", "1d"), counts, strict=True)
            if events != base
        }
        still = {key for key in seen if not look or key in found}
        stands = bool(look) and all(found[key] == seen[key] for key in still)
        found = {key: seen[key] for key in still}
        if not found or (stands and look > 2):
            break
        time.sleep(PAUSE_SECONDS)
    leaving = _leaving(client, database) if found else set()
    for (stream, level, day), (events, base) in found.items():
        if (stream, day) in leaving:
            continue
        yield Finding(
            f"{stream}_{level} has {events} events of {day}, {stream} has {base}",
            f"SELECT sum(events) FROM {database}.{stream}_{level} WHERE received_day = '{day}'",
        )


def _leaving(client: Client, database: str) -> set[tuple[str, str]]:
    """Streams and days of which expired rows are still to go: rollup and base differ meanwhile."""
    parts = [
        f"SELECT '{stream}' AS stream, {day} AS day FROM {database}.{table}"
        f" WHERE (fleet, {day}) IN (SELECT fleet, received_day FROM {database}.expiries"
        f" WHERE `table` = '{stream}')"
        for stream in STREAMS
        for table, day in (
            (stream, "toDate(received_at)"),
            *((f"{stream}_{level}", "received_day") for level in LEVELS),
        )
    ]
    rows = client.query(
        f"SELECT DISTINCT stream, toString(day) FROM ({' UNION ALL '.join(parts)})"
    ).result_rows
    return {(str(stream), str(day)) for stream, day in rows}
