"""Rollups of a fleet's received days of which rows were erased.

Sums can be taken off while the sink adds to them; states of distinct clients and of quantiles cannot. So a
day that is still received gets rows with the erased events' sums, negative, and a day that is over is made
anew from what is left. Both through `<stream>_1m`, whose views carry it on to the hours and days. The hours
of sites, which no insert feeds, are counted anew of any day whose events are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import STREAMS, Stream
from tidegate.erase import refreshes
from tidegate.errors import RetryLater
from tidegate.settings import Settings
from tidegate.store import site_levels
from tidegate.store.client import infrastructure, literal
from tidegate.store.insert import PINNED
from tidegate.store.migrate import LEVELS, ttls_in_force
from tidegate.store.templates import migrations

ATTEMPTS = 3  # at a day into which events still came
OVER_MINUTES, QUIET_MINUTES = 60, 10  # behind its end, and since the last batch with rows of it
_VIEW = re.compile(r"\s*CREATE\s+MATERIALIZED\s+VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?\w+\.(\w+)")
_NEGATIVE = {"UInt64": "bitNot({0}) + 1", "Int64": "-{0}", "Float64": "-{0}"}
"""What has the sum as its type has it, and takes `{0}` off: unsigned sums are modulo 2^64."""


HOURS = {
    "stage_hours": "sumIf(reached, stage = 'connect')",
    "radio_hours": "sum(attempts)",
    "contrast_hours": "sumIf(attempts, stage = 'connect' AND dimension = 'ssid')",
}
"""Tables of hours that are counted out of the events, and what of them are the successes and failures."""

ADDED_UP = ("site_hours", "site_states")
"""Tables of hours that are over, made of rollups."""

OUTCOMES = "site_outcomes"
"""Counts by day, made of rollups too: its view counts again what is there, and lets nothing go."""


REFRESHED = tuple(f"{name}_mv" for name in (*HOURS, *ADDED_UP, OUTCOMES, "site_events", "site_levels"))

OfDay = Callable[[str], str]
"""The condition on a fleet's rows of a day, of the SQL of their day. A fleet is any text: nothing is put into
text that has it."""


class Day(NamedTuple):
    stream: Stream
    day: date


class Rollups:
    """Of one fleet. Raises RetryLater while ClickHouse is away; each method can be called again."""

    def __init__(self, client: Client, settings: Settings, fleet: str) -> None:
        self._client = client
        self._settings = settings
        self._database = settings.clickhouse_database
        self._fleet = fleet
        self._mine = f"fleet = {literal(fleet)}"
        statements = [each for migration in migrations() for each in migration.statements(settings)]
        self._views = {match[1]: each for each in statements if (match := _VIEW.match(each))}

    def pending(self) -> list[Day]:
        """Days with erased rows whose rollups were not made anew since."""
        with infrastructure():
            rows = self._client.query(
                "SELECT erased.stream, erased.received_day FROM"
                f" (SELECT `table` AS stream, received_day, max(at) AS at FROM {self._database}.erasures"
                "  WHERE fleet = {fleet:String} AND `table` IN {streams:Array(String)}"
                "  GROUP BY stream, received_day) AS erased"
                " LEFT JOIN (SELECT stream, received_day, max(at) AS at"
                f"  FROM {self._database}.erasure_days WHERE fleet = {{fleet:String}} AND rebuilt"
                "  GROUP BY stream, received_day) AS done USING (stream, received_day)"
                " WHERE erased.at > done.at ORDER BY erased.stream, erased.received_day"
                " SETTINGS join_use_nulls = 0",
                parameters={"fleet": self._fleet, "streams": list(STREAMS)},
            ).result_rows
        return [Day(stream, day) for stream, day in rows]

    def may_rebuild(self, day: Day) -> bool:
        """Whether nothing is received of it any more, the sink has not stored any of it lately, and all its
        events are there: none has begun to go by TTL."""
        lately = (
            f"SELECT max(has(days, {{day:Date}})) FROM {self._database}.sink_batches"
            f" WHERE stream = {{stream:String}} AND planned_at > now64(6) - INTERVAL {QUIET_MINUTES} MINUTE"
        )
        with infrastructure():
            [(may,)] = self._client.query(
                "SELECT now('UTC') >= toDateTime({day:Date}, 'UTC') + INTERVAL 1 DAY"
                f" + INTERVAL {OVER_MINUTES} MINUTE AND NOT ({lately})",
                parameters={"day": day.day.isoformat(), "stream": day.stream},
            ).result_rows
        return bool(may) and self.is_whole(day)

    def is_whole(self, day: Day) -> bool:
        """Whether none of its events has begun to go by TTL, or by the fleet's retention."""
        return self._keeps(day.stream, day.day)

    def _keeps(self, table: str, day: date) -> bool:
        """Whether none of a table's rows of a day has begun to go. Minutes go before the events do."""
        with infrastructure():
            in_force = ttls_in_force(self._client, self._database).get(table, 0)
            kept = self._settings.kept_days(self._fleet, in_force)
            [(whole,)] = self._client.query(
                "SELECT {kept:UInt32} = 0 OR {day:Date} >= toDate(now('UTC')) - {kept:UInt32} + 2",
                parameters={"day": day.isoformat(), "kept": kept},
            ).result_rows
        return bool(whole)

    def take_off(self, day: Day, rows: str, token: str) -> None:
        """Take the sums of the events that the condition `rows` names off the rollups, once under `token`."""
        for target in self._fed(day.stream):
            columns = {}
            for name, type_ in self._types(target).items():
                sum_of = re.fullmatch(r"SimpleAggregateFunction\(sum, (\w+)\)", type_)
                if sum_of:
                    columns[name] = _NEGATIVE[sum_of[1]].format(f"`{name}`")
                elif "AggregateFunction" not in type_:
                    columns[name] = f"`{name}`"
            selected = ", ".join(f"{sql} AS `{name}`" for name, sql in columns.items())
            with infrastructure():
                # By way of this process: an INSERT … SELECT has no token that every version honours.
                body = self._client.raw_query(
                    f"SELECT {selected} FROM ({self._counted(target, day.stream, rows)})", fmt="Native"
                )
                summary = self._client.raw_insert(
                    f"{self._database}.{target}",
                    list(columns),
                    body,
                    settings={**PINNED, "insert_deduplication_token": f"{token}:{target}"},
                    fmt="Native",
                )
            if "written_rows" not in summary.summary:
                raise RetryLater(f"ClickHouse answered the insert into {target} without a summary")

    def rebuild(self, day: Day) -> None:
        """Make a day's rollups anew. Raises RetryLater where events come into it all the while."""
        of_day = self._of(day.day)
        for _ in range(ATTEMPTS):
            for target in self._all(day.stream):
                self._delete(target, of_day(_day_of(target)))
            for target in self._fed(day.stream):
                columns = ", ".join(f"`{name}`" for name in self._types(target))
                counted = self._counted(target, day.stream, of_day("toDate(received_at)"))
                with infrastructure():
                    self._client.command(
                        f"INSERT INTO {self._database}.{target} ({columns})"
                        f" SELECT {columns} FROM ({counted})",
                        settings={"insert_deduplicate": 0},
                    )
            self.recount_hours(day)
            if day.stream == "client_events":
                self._recount(OUTCOMES, day)
            if self._agree(day):
                return
        raise RetryLater(
            f"{day.stream} of {day.day}: events still come into it; `tidegate erase rollups` later"
        )

    def recount_hours(self, day: Day) -> None:
        """Count a day's hours of sites anew out of the events that are there. Their own views do so again, of
        the last two days, when more events came; a refresh that began before some were erased would be last,
        and none would take back what it counted."""
        if day.stream != "client_events":
            return
        refreshes.await_ended(self._client, self._settings, REFRESHED)
        for target in (*HOURS, *ADDED_UP):
            if not self._keeps(target, day.day):
                continue
            if target in ADDED_UP and not self._begins(target, day.day):
                continue
            self._recount(target, day)
        if self._keeps("site_levels", day.day):
            with infrastructure():  # rows replace each other: readers find each minute all the while
                site_levels.recount(self._client, self._database, self._fleet, day.day)
            of_day = self._of(day.day)
            empty = (
                f"{of_day('toDate(minute)')} AND (site, minute) NOT IN"
                f" (SELECT site, toStartOfMinute(received_at) FROM {self._database}.client_events"
                f" WHERE {of_day('toDate(received_at)')})"
            )
            if self._one(f"SELECT count() FROM {self._database}.site_levels WHERE {empty}"):
                self._delete("site_levels", empty)

    def _recount(self, target: str, day: Day) -> None:
        """Count a day anew in a table that a view refreshes: as the view does it, or out of the events where
        it reads minutes that have gone."""
        of_day = self._of(day.day)
        select = self._views[f"{target}_mv"].partition(" AS\n")[2]
        minutes = f"{self._database}.site_minutes AS minutes"
        if minutes in select and not self._keeps("site_minutes", day.day):
            of_events = self._counted("site_minutes", day.stream, of_day("toDate(received_at)"))
            select = select.replace(minutes, f"({of_events}) AS minutes")
        counted = of_rows(select, of_day)
        self._delete(target, of_day(_day_of(target)))
        with infrastructure():
            self._client.command(
                f"INSERT INTO {self._database}.{target} {counted}", settings={"insert_deduplicate": 0}
            )

    def _of(self, day: date) -> OfDay:
        received = f"toDate({literal(day.isoformat())})"
        return lambda column: f"{self._mine} AND {column} = {received}"

    def _begins(self, table: str, day: date) -> bool:
        """Whether what a table has of the fleet begins on the day or before: readers take it for whole from
        its first hour to its last, so no day may stand in front by itself."""
        begins = f"count() > 0 AND min({_day_of(table)}) <= toDate({literal(day.isoformat())})"
        return bool(self._one(f"SELECT {begins} FROM {self._database}.{table} WHERE {self._mine}"))

    def _agree(self, day: Day) -> bool:
        of_day = self._of(day.day)

        def one(what: str, table: str, column: str, only: str = "") -> int:
            return self._one(f"SELECT {what} FROM {self._database}.{table} WHERE {of_day(column)}{only}")

        counts = {one("count()", day.stream, "toDate(received_at)")}
        for target in self._all(day.stream):
            if self._keeps(target, day.day):
                counts.add(one("sum(events)", target, _day_of(target)))
        if day.stream != "client_events":
            return len(counts) == 1
        counts |= {
            one("sum(events)", f"{table} FINAL", _day_of(table))
            for table in ADDED_UP
            if self._keeps(table, day.day) and self._begins(table, day.day)
        }
        attempts = {
            one(sql, f"{table} FINAL", _day_of(table))
            for table, sql in HOURS.items()
            if self._keeps(table, day.day)
        }
        ended = " AND outcome IN ('success', 'failure')"
        attempts.add(one("count()", "client_events", "toDate(received_at)", ended))
        return len(counts) == len(attempts) == 1

    def _one(self, query: str) -> int:
        with infrastructure():
            return int(self._client.query(query).result_rows[0][0])

    def _delete(self, table: str, where: str) -> None:
        with infrastructure():
            self._client.command(
                f"ALTER TABLE {self._database}.{table} DELETE WHERE {where}",
                settings={"mutations_sync": 2, "allow_nondeterministic_mutations": 1},
            )

    def _counted(self, target: str, stream: Stream, rows: str) -> str:
        """What the view of `target` makes of the rows of the stream that a condition names."""
        select = self._views[f"{target}_mv"].partition(" AS\n")[2]
        source = f"{self._database}.{stream}"
        before, _, behind = select.rpartition(f"FROM {source}")
        return f"{before}FROM (SELECT * FROM {source} WHERE {rows}){behind}"

    def _types(self, table: str) -> dict[str, str]:
        with infrastructure():
            rows = self._client.query(
                "SELECT name, type FROM system.columns WHERE database = {database:String}"
                " AND table = {table:String} ORDER BY position",
                parameters={"database": self._database, "table": table},
            ).result_rows
        return {str(name): str(type_) for name, type_ in rows}

    def _fed(self, stream: Stream) -> Iterator[str]:
        """Tables that the stream's own rows feed."""
        yield f"{stream}_{LEVELS[0]}"
        if stream == "client_events":
            yield "site_minutes"

    def _all(self, stream: Stream) -> Iterator[str]:
        yield from (f"{stream}_{level}" for level in LEVELS)
        if stream == "client_events":
            yield "site_minutes"


_LATELY = re.compile(
    r"(?P<day>received_day) >= toDate\(now\('UTC'\)\) - 2 AND \(fleet, received_day, (?P<bucket>bucket)\) IN"
    r"|(?P<time>received_at|minute) >= toStartOfHour\(now\('UTC'\) - INTERVAL 2 DAY, 'UTC'\)"
    r" AND \(fleet, toStartOfHour\((?P=time), 'UTC'\)\) IN"
    r"|(?P<daily>minute) >= toStartOfDay\(now\('UTC'\) - INTERVAL 7 DAY, 'UTC'\)"
    r" AND \(fleet, toDate\(minute\)\) IN"
)
_OVER = "{} < toStartOfHour(now('UTC') - INTERVAL 2 MINUTE, 'UTC')"


def of_rows(select: str, of_day: OfDay) -> str:
    """The query of a view of hours or days, of the rows of a day in place of the last ones; of hours made of
    rollups, of those that are over."""
    lately = _LATELY.search(select)
    if lately is None:
        raise ValueError("no view of hours or days")
    time = lately["time"] or lately["daily"]
    where = of_day(lately["day"] or f"toDate({time})")
    if time != "received_at" and not lately["daily"]:
        where += f" AND {_OVER.format(time or lately['bucket'])}"
    behind = select[lately.end() :]
    depth = 0
    for end in range(behind.index("("), len(behind)):
        depth += {"(": 1, ")": -1}.get(behind[end], 0)
        if not depth:
            return f"{select[: lately.start()]}{where}{behind[end + 1 :]}"
    raise ValueError("no view of hours or days")


def _day_of(table: str) -> str:
    if table in HOURS or table == "site_hours":
        return "toDate(hour)"
    if table == OUTCOMES:
        return "day"
    return "toDate(minute)" if table == "site_minutes" else "received_day"
