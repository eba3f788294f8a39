"""The received days that can be compared, and the batches that reach beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS, Stream
from tidegate.store.migrate import LEVELS, ttls_in_force

EpochPartition = tuple[Stream, str, int]  # stream, epoch, partition


def kept_since(client: Client, database: str) -> date | None:
    """The first received day that every table still has whole by its TTL; None where all keep everything.

    Before it a table may have let rows go that another one, or the ledger, still has.
    """
    in_force = ttls_in_force(client, database)
    tables = [*STREAMS, "rejects", *(f"{stream}_{level}" for stream in STREAMS for level in LEVELS)]
    limits = [days for table in tables if (days := in_force.get(table, 0))]
    if not limits:
        return None
    today: date
    [(today,)] = client.query("SELECT toDate(now(), 'UTC')").result_rows
    # Two days short of it: a day goes while it is being counted, and ClickHouse counts in its own time zone.
    return min(today, today - timedelta(days=min(limits) - 2))


class Offsets(NamedTuple):
    """Raw offsets of batches, both ends inclusive."""

    firsts: list[int]
    lasts: list[int]


def straddling(
    client: Client, database: str, since: date, until: date
) -> Iterator[tuple[EpochPartition, Offsets]]:
    """The batches that have days within `since` to `until` and days beyond.

    The ledger does not say how many of their rows are of which day, so they belong to no period but a
    longer one: neither their lines nor their rows are counted.
    """
    rows = client.query(
        "SELECT stream, epoch, partition, groupArray(first), groupArray(last)"
        f" FROM {database}.verify_batches"
        " WHERE notEmpty(days) AND arrayMin(days) <= {until:Date} AND arrayMax(days) >= {since:Date}"
        " AND (arrayMin(days) < {since:Date} OR arrayMax(days) > {until:Date})"
        " GROUP BY stream, epoch, partition",
        parameters={"since": since.isoformat(), "until": until.isoformat()},
    ).result_rows
    for stream, epoch, partition, firsts, lasts in rows:
        yield (stream, epoch, partition), Offsets(list(firsts), list(lasts))
