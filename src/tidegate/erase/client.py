"""Erasing a client: positions on record first, then the sums, then the rows, then the days anew.

Each step can be done again, so an erasure that was broken off is finished by the next one: it finds the rows
that are on record and still there, and goes on under the id that they have.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS
from tidegate.erase import mentions, refreshes
from tidegate.erase.rollups import Day, Rollups
from tidegate.errors import RetryLater
from tidegate.settings import Settings
from tidegate.store import audit
from tidegate.store.client import infrastructure, literal
from tidegate.store.templates import places

TABLES = (*STREAMS, "rejects")
BESIDE = ("alerts", "webhook_deliveries")  # no book counts their rows
COPY = "site_events"  # of client_events; what is noted its view copies no more
COPYING = ("site_events_mv", "site_levels_mv")  # views that may have read her events
ROUNDS = 3  # of looking for rows that came meanwhile
POSITION = "stream, epoch, partition, offset, `index`"


class Erased(NamedTuple):
    erasure: str
    rows: dict[str, int]  # by table
    rebuilt: list[Day]  # days whose rollups were made anew
    left: list[Day]  # days that cannot be: states of clients and latencies are as they were


class Eraser:
    """Of one client of one fleet. Raises RetryLater while ClickHouse is away: run it again."""

    def __init__(self, client: Client, settings: Settings, fleet: str, mac: str) -> None:
        """`mac` is canonical."""
        self._client = client
        self._settings = settings
        self._database = settings.clickhouse_database
        self._cluster = places(settings)["on_cluster"]
        self._fleet = fleet
        self._rollups = Rollups(client, settings, fleet)
        self._names = mentions.names(settings, fleet, mac)
        self._parameters = {"fleet": fleet, "pattern": mentions.pattern(mac, self._names)}

    def find(self) -> dict[str, int]:
        """How many rows of each table mention the client; nothing is changed."""
        return {table: self._count(table) for table in (*TABLES, *BESIDE)}

    def erase(self, say: Callable[[str], None]) -> Erased:
        """Erase the client everywhere, and finish what an erasure before left undone; `say` gets progress.
        Raises RetryLater where its events still come."""
        rows = dict.fromkeys((*TABLES, *BESIDE), 0)
        erasure = audit.new_id()
        for table in TABLES:
            for unfinished in self._unfinished(table):
                say(f"{table}: going on with erasure {unfinished}, which was broken off")
                rows[table] += self._take(table, unfinished)
        for number in range(ROUNDS):
            found = [table for table in TABLES if self._count(table)]
            part = f"{erasure}-{number}"  # what it takes off the rollups has a token of its own
            for table in found:
                self._note(table, part)
                rows[table] += self._take(table, part)
            if not found:
                break
        for table in BESIDE:
            rows[table] = self._count(table)
            if rows[table]:
                self._delete(table, mentions.condition(self._client, self._database, table))
        rebuilt, left = finish(self._rollups, self._client, self._database, self._fleet)
        audit.note(
            self._client,
            self._database,
            "erasure",
            id=erasure,
            fleet=self._fleet,
            subject=self._names[0],
            details={
                "rows": rows,
                "rebuilt": [f"{day.stream} {day.day}" for day in rebuilt],
                "left": [f"{day.stream} {day.day}" for day in left],
            },
        )
        if any(self._count(table) for table in TABLES):
            raise RetryLater("rows of the client still come: stop its events, and erase again")
        return Erased(erasure, rows, rebuilt, left)

    # --- steps

    def _note(self, table: str, erasure: str) -> None:
        """Put the positions of the client's rows on record."""
        stream = "stream" if table == "rejects" else f"'{table}'"
        where = mentions.condition(self._client, self._database, table)
        with infrastructure():
            self._client.command(
                f"INSERT INTO {self._database}.erasures"
                f" SELECT '{table}', {stream}, epoch, partition, offset, `index`, toDate(received_at),"
                f" {{fleet:String}}, '{erasure}', now64(6) FROM {self._database}.{table} WHERE {where}",
                parameters=self._parameters,
                settings={"insert_deduplicate": 0},
            )
            if self._cluster:  # each replica looks the positions up by itself when it deletes
                self._client.command(f"SYSTEM SYNC REPLICA {self._cluster} {self._database}.erasures")

    def _take(self, table: str, erasure: str) -> int:
        """Take the rows on record out of their table and their sums off the rollups; how many there were."""
        stream = "stream" if table == "rejects" else f"'{table}'"
        noted = (
            f"({stream}, epoch, partition, offset, `index`) IN (SELECT {POSITION}"
            f" FROM {self._database}.erasures WHERE `table` = '{table}' AND erasure = '{erasure}')"
        )
        with infrastructure():
            days: list[tuple[date, int]] = self._client.query(  # type: ignore[assignment]
                f"SELECT toDate(received_at) AS day, count() FROM {self._database}.{table} WHERE {noted}"
                " GROUP BY day ORDER BY day"
            ).result_rows
        for stream_ in STREAMS:
            for day, _ in days:
                if table == stream_ and not self._rollups.may_rebuild(Day(stream_, day)):
                    rows = f"{noted} AND toDate(received_at) = toDate('{day}')"
                    self._rollups.take_off(Day(stream_, day), rows, f"erasure:{erasure}:{day}")
        if days and table == "client_events":
            refreshes.await_ended(self._client, self._settings, COPYING)  # they may not know what is noted
            self._delete(COPY, noted)
        if days:
            self._delete(table, noted)
        return sum(rows for _, rows in days)

    def _unfinished(self, table: str) -> list[str]:
        """Erasures of the fleet with rows on record that are still there."""
        stream = "stream" if table == "rejects" else f"'{table}'"
        with infrastructure():
            rows = self._client.query(
                f"SELECT DISTINCT erasure FROM {self._database}.erasures WHERE `table` = {{table:String}}"
                f" AND fleet = {{fleet:String}} AND ({POSITION}) IN"
                f" (SELECT {stream}, epoch, partition, offset, `index` FROM {self._database}.{table}"
                f" WHERE fleet IN ({{fleet:String}}, ''))",
                parameters={"table": table, "fleet": self._fleet},
            ).result_rows
        return [str(row[0]) for row in rows]

    def _count(self, table: str) -> int:
        where = mentions.condition(self._client, self._database, table)
        with infrastructure():
            [(rows,)] = self._client.query(
                f"SELECT count() FROM {self._database}.{table} WHERE {where}", parameters=self._parameters
            ).result_rows
        return int(rows)

    def _delete(self, table: str, where: str) -> None:
        for name, text in self._parameters.items():  # a mutation takes no parameters
            where = where.replace(f"{{{name}:String}}", literal(text))
        with infrastructure():
            self._client.command(
                f"ALTER TABLE {self._database}.{table} DELETE WHERE {where}",
                settings={"mutations_sync": 2, "allow_nondeterministic_mutations": 1},
            )


def finish(rollups: Rollups, client: Client, database: str, fleet: str) -> tuple[list[Day], list[Day]]:
    """Make the rollups anew of days with erased rows where that can be; those days, and the others."""
    rebuilt: list[Day] = []
    left: list[Day] = []
    for day in rollups.pending():
        whole = rollups.may_rebuild(day)
        if whole:
            rollups.rebuild(day)
        elif rollups.is_whole(day):
            rollups.recount_hours(day)
        (rebuilt if whole else left).append(day)
        with infrastructure():
            client.command(
                f"INSERT INTO {database}.erasure_days SELECT {{fleet:String}}, {{stream:String}},"
                f" {{day:Date}}, {int(whole)}, now64(6)",
                parameters={"fleet": fleet, "stream": day.stream, "day": day.day.isoformat()},
                settings={"insert_deduplicate": 0},
            )
    return rebuilt, left
