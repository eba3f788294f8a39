"""The rows of fleets that are kept shorter than the tables: out, by mutations.

A table's TTL knows no fleets: it drops whole parts, in which the rows of all fleets stand together. So rows
go by a mutation a table, and those that the ledger counts are noted by frame before: `verify` adds them up.
Each step can be done again, by this process or by another.
"""

from __future__ import annotations

from datetime import date, timedelta

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS
from tidegate.settings import Settings, days_of_fleets
from tidegate.store.client import infrastructure, literal
from tidegate.store.migrate import LEVELS, ttl_days
from tidegate.store.templates import places

BOOKED = (*STREAMS, "rejects")
RECEIVED = "toDate(received_at)"
SUMS = {f"{stream}_{level}": stream for stream in STREAMS for level in LEVELS} | {
    "site_minutes": "client_events"
}
"""Tables that views fill, and the table that they fill them from."""


def expire(client: Client, settings: Settings) -> dict[str, int]:
    """Take out what is behind its fleet's retention; how many rows of each table, where there were any.

    Raises RetryLater while ClickHouse is away.
    """
    gone: dict[str, int] = {}
    if not days_of_fleets(settings.fleet_retention_days):
        return gone
    with infrastructure():
        today: date
        [(today,)] = client.query("SELECT toDate(now('UTC'))").result_rows
        for table, (day, days) in ttl_days(settings).items():
            if table in ("expiries", "site_outcomes"):  # on record for the ledger; nothing of a client
                continue
            where = _expired(settings, day, days, today)
            if where and table in SUMS:  # events that came since they were noted keep theirs
                of = f"SELECT fleet, toDate(received_at) FROM {settings.clickhouse_database}.{SUMS[table]}"
                where = f"({where}) AND (fleet, {day}) NOT IN ({of} WHERE {where.replace(day, RECEIVED)})"
            if where and table == "alerts":  # an alert goes whole, or its changes would have a gap
                keys = f"SELECT fleet, id FROM {settings.clickhouse_database}.alerts GROUP BY fleet, id"
                where = f"(fleet, id) IN ({keys} HAVING {where.replace(day, f'max({day})')})"
            if where and (rows := _take(client, settings, table, day, where)):
                gone[table] = rows
    return gone


def _expired(settings: Settings, day: str, days: int, today: date) -> str:
    """SQL: whether a row of a table that keeps `days`, from `day` on, is behind its fleet's retention."""
    parts = []
    for fleet in days_of_fleets(settings.fleet_retention_days):
        kept = settings.kept_days(fleet, days)
        if kept != days:
            last = (today - timedelta(days=kept)).isoformat()
            parts.append(f"(fleet = {literal(fleet)} AND {day} <= toDate({literal(last)}))")
    return " OR ".join(parts)


def _take(client: Client, settings: Settings, table: str, day: str, where: str) -> int:
    database = settings.clickhouse_database
    [(rows, first)] = client.query(
        f"SELECT count(), min({day}) FROM {database}.{table} WHERE {where}"
    ).result_rows
    if not rows:
        return 0
    if table in BOOKED:
        noted = _note(client, settings, table, where)
        where = f"({where}) AND {noted} AND received_day >= toDate({literal(first.isoformat())}))"
    client.command(
        f"ALTER TABLE {database}.{table} DELETE WHERE {where}",
        settings={"mutations_sync": 2, "allow_nondeterministic_mutations": 1},
    )
    return int(rows)


def _note(client: Client, settings: Settings, table: str, where: str) -> str:
    """Put rows on record; SQL that begins a condition for those on record, which a row that has come since is
    not."""
    database = settings.clickhouse_database
    stream = "stream" if table == "rejects" else f"'{table}'"
    frame = f"{stream}, epoch, partition, offset"
    client.command(
        f"INSERT INTO {database}.expiries"
        f" SELECT '{table}', {frame}, fleet, toDate(received_at), count() FROM {database}.{table}"
        f" WHERE ({where}) AND ({frame}, `index`) NOT IN (SELECT stream, epoch, partition, offset, `index`"
        f" FROM {database}.erasures WHERE `table` = '{table}')"
        " GROUP BY ALL",
        settings={"insert_deduplicate": 0},
    )
    cluster = places(settings)["on_cluster"]
    if cluster:  # each replica looks them up by itself when it deletes
        client.command(f"SYSTEM SYNC REPLICA {cluster} {database}.expiries")
    return (
        f"({frame}, fleet, toDate(received_at)) IN (SELECT stream, epoch, partition, offset, fleet,"
        f" received_day FROM {database}.expiries WHERE `table` = '{table}'"
    )
