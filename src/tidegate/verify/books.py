"""The books beside the tables: what the ledger says of each partition, and what ClickHouse holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import Stream

SINCE = date(1970, 1, 1)
UNTIL = date(2299, 12, 31)
WORST = 20  # batches of a partition that are told one by one


class Books(NamedTuple):
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

    @property
    def balanced(self) -> bool:
        return (
            self.lines == self.accepted + self.rejected + self.duplicates
            and self.stored == self.accepted
            and self.rejects_stored == self.rejected
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not balance, and the SQL that shows it."""

    what: str
    sql: str


def read(client: Client, database: str, since: date, until: date) -> tuple[list[Books], list[Finding], int]:
    """The books of the received days `since` to `until` (inclusive), what does not balance, and how many
    gaps an operator has accepted.

    A sink that is at work has batches planned and not yet inserted: what differs is read again until it
    stands still.
    """
    books = _settled(client, database, since, until)
    findings = [finding for row in books if not row.balanced for finding in _dig(client, database, row)]
    gaps = client.query(
        f"SELECT stream, epoch, partition, after, next, is_accepted FROM {database}.verify_gaps"
    ).result_rows
    findings += [_gap(database, *gap[:5]) for gap in gaps if not gap[5]]
    findings += _rollups(client, database, since, until)
    return books, findings, sum(bool(gap[5]) for gap in gaps)


def _settled(client: Client, database: str, since: date, until: date, *, patience: int = 10) -> list[Books]:
    """The books of every partition; those that differ are asked again, as an insert may be under way."""
    found = _books(client, database, since, until)
    for _ in range(patience):
        if all(row.balanced for row in found):
            break
        time.sleep(1.0)
        again = _books(client, database, since, until)
        still = {row[:3]: row for row in again}
        moved = any(still.get(row[:3]) != row for row in found if not row.balanced)
        found = again
        if not moved:
            break
    return found


def _books(client: Client, database: str, since: date, until: date) -> list[Books]:
    rows = client.query(
        f"SELECT {', '.join(Books._fields)} FROM {database}.verify_partitions(since = %(since)s,"
        " until = %(until)s) ORDER BY stream, epoch, partition",
        parameters={"since": since.isoformat(), "until": until.isoformat()},
    ).result_rows
    return [Books(*row) for row in rows]


def _dig(client: Client, database: str, row: Books) -> Iterator[Finding]:
    """Which batches of a partition differ from their rows."""
    place = f"epoch = '{row.epoch}' AND partition = {row.partition}"
    if row.lines != row.accepted + row.rejected + row.duplicates:
        yield Finding(
            f"{row.stream} partition {row.partition}: lines are not accepted + rejected + duplicates",
            f"SELECT * FROM {database}.verify_batches WHERE stream = '{row.stream}' AND {place}"
            " AND lines != accepted + rejected + duplicates",
        )
    for table, column, where in (
        (row.stream, "accepted", place),
        ("rejects", "rejected", f"{place} AND stream = '{row.stream}'"),
    ):
        batches = client.query(
            f"SELECT first, last, {column}, stored, positions FROM"
            f" (SELECT first, last, {column} FROM {database}.verify_batches"
            f"  WHERE stream = '{row.stream}' AND {place}) AS ledger"
            " LEFT JOIN (SELECT batch_first AS first, sum(stored) AS stored, sum(positions) AS positions FROM"
            "  (SELECT rows.offset AS offset, rows.stored AS stored, rows.positions AS positions,"
            "          batches.first AS batch_first FROM"
            f"   (SELECT 1 AS one, offset, count() AS stored, uniqExact(index) AS positions"
            f"    FROM {database}.{table} WHERE {where} GROUP BY offset) AS rows"
            f"   ASOF LEFT JOIN (SELECT 1 AS one, first FROM {database}.verify_batches"
            f"    WHERE stream = '{row.stream}' AND {place} ORDER BY first) AS batches"
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
    """Received days on which a rollup has not the events of its base table."""
    query = (
        "SELECT stream, received_day, base, minutes, hours, days"
        f" FROM {database}.verify_rollups(since = %(since)s, until = %(until)s)"
        " WHERE NOT balanced ORDER BY stream, received_day"
    )
    parameters = {"since": since.isoformat(), "until": until.isoformat()}
    rows = client.query(query, parameters=parameters).result_rows
    for _ in range(5):  # an insert writes base and rollups one after another
        if not rows:
            return
        time.sleep(1.0)
        again = client.query(query, parameters=parameters).result_rows
        if again == rows:
            break
        rows = again
    for stream, day, *counts in rows:
        for level, events in zip(("1m", "1h", "1d"), counts[1:], strict=True):
            if events != counts[0]:
                yield Finding(
                    f"{stream}_{level} has {events} events of {day}, {stream} has {counts[0]}",
                    f"SELECT sum(events) FROM {database}.{stream}_{level} WHERE received_day = '{day}'",
                )
