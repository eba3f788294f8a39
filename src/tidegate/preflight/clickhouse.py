"""ClickHouse: its version and clock, the schema and whose it is, and what keeps an insert from doubling."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error

from tidegate.errors import Stop
from tidegate.preflight.condition import Condition, missing, ok, warning, wrong
from tidegate.settings import Settings
from tidegate.store.client import infrastructure
from tidegate.store.insert import PINNED
from tidegate.store.migrate import check_server, state_of, ttl_days
from tidegate.store.objects import Object, objects
from tidegate.store.templates import DEDUPLICATION_WINDOW

CLOCK_WARNING, CLOCK_WRONG = 2.0, 3600.0  # seconds between this machine's clock and ClickHouse's
NO_SETTINGS = frozenset({"wait_end_of_query"})  # of HTTP alone
ROOM = 1 << 31  # rows or bytes: newer servers cap what the sink asks for, far above any batch
_WINDOW = re.compile(r"\b(?:non_replicated|replicated)_deduplication_window = (\d+)")
_TTL = re.compile(r" TTL .*?toIntervalDay\((\d+)\)")


class Table(NamedTuple):
    """A row of system.tables."""

    name: str
    engine: str
    engine_full: str


def inspect_clickhouse(client: Client, settings: Settings) -> list[Condition]:
    """Everything about ClickHouse, without changing anything.

    Raises RetryLater while it is away, Stop where it refuses the user.
    """
    with infrastructure():
        found = [*_server(client), *inspect_schema(client, settings)]
        found += _times_to_live(client, settings)
        found.append(inspect_clock(client))
    return found


def inspect_schema(client: Client, settings: Settings) -> list[Condition]:
    """What the sink must know before it writes: schema, tables, views, and the settings of its inserts."""
    database = settings.clickhouse_database
    try:
        applied, pending = state_of(client, settings)
    except Stop as error:
        return [wrong(str(error), "nothing is touched")]
    if pending:
        has = f"is at migration {applied[-1].version:04d}" if applied else "is not there yet"
        needs = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in pending)
        return [
            missing(
                f"schema: database {database} {has}; this version needs {needs}", "run `tidegate migrate`"
            )
        ]
    tables = _tables(client, database)
    wanted = objects(applied, settings)
    found = [ok(f"schema: database {database} is at migration {applied[-1].version:04d}")]
    found += _there(tables, wanted, database)
    found += _deduplication(tables, wanted, settings)
    found.append(_insert_settings(client))
    return found


def _server(client: Client) -> Iterator[Condition]:
    try:
        yield ok(f"server: ClickHouse {check_server(client)}")
    except Stop as error:
        yield wrong(f"server: {error}", "update ClickHouse")


def _tables(client: Client, database: str) -> dict[str, Table]:
    rows = client.query(
        "SELECT name, engine, engine_full FROM system.tables WHERE database = {database:String}",
        parameters={"database": database},
    ).result_rows
    return {str(row[0]): Table(*map(str, row)) for row in rows}


def _there(tables: Mapping[str, Table], wanted: Mapping[str, Object], database: str) -> Iterator[Condition]:
    """Tables and views that the migrations made and that are gone, or are something else now."""
    lost = [item for item in wanted.values() if item.name not in tables]
    other = [
        f"{item.name} ({tables[item.name].engine})"
        for item in wanted.values()
        if item.name in tables and not item.is_engine(tables[item.name].engine)
    ]
    views = [item.name for item in lost if item.kind == "MATERIALIZED VIEW"]
    rest = [item.name for item in lost if item.kind != "MATERIALIZED VIEW"]
    if views:
        yield wrong(
            f"views: {', '.join(views)} of database {database} are gone: rollups would miss what is inserted"
            " now",
            "ATTACH or create them again from the migrations, and fill what they missed",
        )
    if rest:
        yield wrong(
            f"tables: {', '.join(rest)} of database {database} are gone though its migrations are recorded",
            "bring them back from a backup, or create them again from the migrations",
        )
    if other:
        yield wrong(
            f"tables: {', '.join(other)} of database {database} are not what the migrations made",
            "they are somebody else's: set clickhouse_database to a database of Tidegate's own",
        )
    if not (views or rest or other):
        count = sum(item.kind == "MATERIALIZED VIEW" for item in wanted.values())
        yield ok(f"tables: {len(wanted) - count} tables and views, {count} materialized views")


def _deduplication(
    tables: Mapping[str, Table], wanted: Mapping[str, Object], settings: Settings
) -> Iterator[Condition]:
    """Each table must remember the tokens of enough inserts, or a resend doubles."""
    short, plain = [], []
    for item in wanted.values():
        table = tables.get(item.name)
        if table is None or not item.deduplicates:
            continue
        window = _WINDOW.search(table.engine_full)
        if window is None or int(window[1]) < DEDUPLICATION_WINDOW:
            short.append(f"{item.name} {window[1] if window else 0}")
        if settings.clickhouse_cluster and not table.engine.startswith(("Replicated", "Shared")):
            plain.append(item.name)
    kind = "replicated" if settings.clickhouse_cluster else "non_replicated"
    if short:
        yield wrong(
            f"deduplication: these tables remember fewer than {DEDUPLICATION_WINDOW} inserts, so one that"
            f" is sent again could double: {', '.join(short)}",
            f"ALTER TABLE … MODIFY SETTING {kind}_deduplication_window = {DEDUPLICATION_WINDOW}",
        )
    if plain:
        yield wrong(
            f"replication: clickhouse_cluster is {settings.clickhouse_cluster}, but these tables are not"
            f" Replicated: {', '.join(plain)}",
            "a sink that asks another replica would not find its plans: migrate a database of its own",
        )
    if not short and not plain:
        yield ok(f"deduplication: every table remembers the last {DEDUPLICATION_WINDOW} inserts")


def _insert_settings(client: Client) -> Condition:
    """Whether this user's inserts may say what the sink's must: profiles can forbid or pin settings."""
    pinned = {name: value for name, value in PINNED.items() if name not in NO_SETTINGS}
    try:
        rows = client.query(
            "SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}",
            parameters={"names": [*pinned, "insert_deduplication_token"]},
            settings={**pinned, "insert_deduplication_token": "preflight"},
        ).result_rows
    except Error as error:
        refused_here = error.code is None and not isinstance(error, DatabaseError)  # by the driver itself
        if error.code in CANNOT_SET or refused_here:
            text = str(error).strip().splitlines()[0][:300]
            return wrong(f"insert settings: this user may not set what the sink needs: {text}", ALLOW)
        raise
    found = {str(name): str(value) for name, value in rows}
    differ = [
        f"{name} is {found.get(name, 'unknown')}, not {value}"
        for name, value in {**pinned, "insert_deduplication_token": "preflight"}.items()
        if not _takes(found.get(name, ""), str(value))
    ]
    if differ:
        return wrong(f"insert settings: they do not take effect: {', '.join(differ)}", ALLOW)
    return ok(f"insert settings: {', '.join(pinned)} may be set")


def _takes(found: str, wanted: str) -> bool:
    if found == wanted:
        return True
    return wanted.isdigit() and found.isdigit() and min(int(found), int(wanted)) >= ROOM


CANNOT_SET = frozenset({115, 164, 452})  # UNKNOWN_SETTING, READONLY, SETTING_CONSTRAINT_VIOLATION
ALLOW = "allow the user to set them, or take them out of its profile's constraints"


def _times_to_live(client: Client, settings: Settings) -> Iterator[Condition]:
    tables = _tables(client, settings.clickhouse_database)
    differ = []
    for name, (_, days) in ttl_days(settings).items():
        if name in tables:
            match = _TTL.search(tables[name].engine_full)
            in_force = int(match[1]) if match else 0
            if in_force != days:
                differ.append(f"{name} keeps {in_force or 'all'} days, the setting says {days or 'all'}")
    if differ:
        yield warning(f"time to live: {'; '.join(differ)}", "run `tidegate migrate`")


def inspect_clock(client: Client) -> Condition:
    """This machine's clock beside ClickHouse's: TTL counts by the one, received days come from the other."""
    before = time.time()
    [(theirs,)] = client.query("SELECT toUnixTimestamp64Micro(now64(6))").result_rows
    after = time.time()
    apart = max(0.0, abs(theirs / 1e6 - (before + after) / 2) - (after - before) / 2)
    what = f"clocks: ClickHouse's and this machine's are {apart:.1f} s apart"
    if apart > CLOCK_WRONG:
        return wrong(what, "set them by NTP: received days would be wrong, and TTL would drop by a wrong day")
    if apart > CLOCK_WARNING:
        return warning(what, "set them by NTP: ages that metrics and `verify` tell are off by as much")
    return ok(what)
