"""Bringing the database to the schema of this version: `tidegate migrate`.

Safe to run twice and from two places at once: every statement is idempotent (IF NOT EXISTS), and what was
applied is recorded with the checksum of its statements in `schema_migrations`. TTLs are not part of a
migration: they follow the settings each time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tidegate.contracts.topics import STREAMS
from tidegate.errors import Stop
from tidegate.service import wait
from tidegate.settings import Settings
from tidegate.store import rollups
from tidegate.store.client import connect, infrastructure
from tidegate.store.objects import objects
from tidegate.store.templates import Migration, migrations, places

log = logging.getLogger(__name__)

LEVELS = tuple(level.suffix for level in rollups.LEVELS)
"""The rollups of each stream, finest first: table `<stream>_<level>`."""

ALREADY_DONE = frozenset({57})  # TABLE_ALREADY_EXISTS: another migrate was faster
NO_TTL_TO_REMOVE = 36  # BAD_ARGUMENTS: the same
RECORD = {
    "version": "UInt32",
    "name": "String",
    "checksum": "String",
    "works_from": "UInt32",
    "applied_at": "DateTime64(6, 'UTC')",
}
"""Columns of `schema_migrations`. Other tools have a table of that name too, with other ones."""

H3_PROBE = ("geoToH3(40.7128, -74.006, toUInt8(8))", 613229551394226175)
"""ClickHouse before 25.5 took longitude first: its cells would lie elsewhere."""


class Migrated(NamedTuple):
    """What `migrate` did."""

    applied: tuple[str, ...]  # migrations, by file name
    ttls: tuple[str, ...]  # tables whose TTL was changed


def migrate(client: Client, settings: Settings) -> Migrated:
    """Apply what is missing, and the TTLs of the settings.

    Raises RetryLater while ClickHouse is away (run it again), Stop where the database was written by
    another version of a migration than this one, has tables of our names that are not ours, or the server
    is too old; then nothing was touched.
    """
    with infrastructure():
        return _migrate(client, settings)


def run(settings: Settings) -> int:
    """`tidegate migrate`: wait for ClickHouse, migrate, say what was done. Returns the exit status."""

    def attempt() -> Migrated:
        client = connect(settings, database="")
        try:
            return migrate(client, settings)
        finally:
            client.close()

    done = wait.require(attempt, log)
    log.info(
        "database %s is up to date; applied %s; TTL changed of %s",
        settings.clickhouse_database,
        ", ".join(done.applied) or "nothing",
        ", ".join(done.ttls) or "nothing",
    )
    return 0


def _migrate(client: Client, settings: Settings) -> Migrated:
    check_server(client)
    _, pending = state_of(client, settings)
    _prepare(client, settings)
    applied = []
    for migration in pending:
        _apply(client, migration, settings)
        applied.append(f"{migration.version:04d}_{migration.name}")
    return Migrated(tuple(applied), tuple(_apply_ttls(client, settings)))


def check_server(client: Client) -> str:
    """The server's version. Raises Stop where it is too old."""
    expression, cell = H3_PROBE
    [(found, version)] = client.query(f"SELECT {expression}, version()").result_rows
    if found != cell:
        raise Stop(f"ClickHouse {version} takes geoToH3(longitude, latitude): Tidegate needs 25.5 or newer")
    return str(version)


def check_cluster(client: Client, settings: Settings) -> None:
    """Raise Stop where `clickhouse_cluster` is no cluster of this server, or one of several shards.

    Tables of a shard hold that shard's rows alone: a resent insert that reached another one would be stored
    twice, and every answer, `verify` among them, would be about a part (docs/decisions/0021-one-shard.md).
    """
    if not (name := settings.clickhouse_cluster):
        return
    [(shards,)] = client.query(
        "SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {name:String} OR cluster IN"
        " (SELECT substitution FROM system.macros WHERE concat('{', macro, '}') = {name:String})",
        parameters={"name": name},
    ).result_rows
    if not shards:
        raise Stop(f"clickhouse_cluster: this ClickHouse knows no cluster {name} (system.clusters)")
    if shards > 1:
        raise Stop(
            f"clickhouse_cluster: {name} has {shards} shards, and Tidegate keeps everything on one: name a"
            " cluster of one shard, with as many replicas as you want"
        )


def require_newest(client: Client, settings: Settings) -> None:
    """Raise Stop where the schema is not this version's: for what must know every table there is."""
    _, pending = state_of(client, settings)
    if pending:
        raise Stop(
            f"database {settings.clickhouse_database} lacks {len(pending)} migrations: run `tidegate migrate`"
        )
    if newer := [version for version in _recorded(client, settings) if version > migrations()[-1].version]:
        raise Stop(
            f"database {settings.clickhouse_database} has migration {min(newer):04d} of a newer Tidegate: run"
            " this with that one"
        )


def state_of(client: Client, settings: Settings) -> tuple[list[Migration], list[Migration]]:
    """The migrations that the database has, and those that it needs, without touching anything.

    Raises Stop where the database is a newer Tidegate's that this version does not work with, or not
    Tidegate's at all, and on a cluster of more than one shard.
    """
    check_cluster(client, settings)
    known = migrations()
    # One look: whoever migrates beside this makes `schema_migrations` before all else.
    rows = client.query(
        "SELECT name, engine, comment FROM system.tables WHERE database = {database:String}",
        parameters={"database": settings.clickhouse_database},
    ).result_rows
    there = {str(name): (str(engine), str(comment)) for name, engine, comment in rows}
    recorded: dict[int, Recorded] = {}
    if "schema_migrations" in there:
        _check_record(client, settings)
        recorded = _recorded(client, settings)
    _check(recorded, known, settings)
    applied = [migration for migration in known if migration.version in recorded]
    pending = [migration for migration in known if migration.version not in recorded]
    _check_owner(there, applied, pending, settings)
    return applied, pending


def _check_record(client: Client, settings: Settings) -> None:
    rows = client.query(
        "SELECT name, type FROM system.columns WHERE database = {database:String}"
        " AND table = 'schema_migrations'",
        parameters={"database": settings.clickhouse_database},
    ).result_rows
    if {str(name): str(type_) for name, type_ in rows} != RECORD:
        raise Stop(
            f"table {settings.clickhouse_database}.schema_migrations is not Tidegate's: set"
            " clickhouse_database to a database of its own"
        )


def _check_owner(
    there: Mapping[str, tuple[str, str]],
    applied: list[Migration],
    pending: list[Migration],
    settings: Settings,
) -> None:
    """Raise Stop where a pending migration would take somebody else's table for its own.

    One that a migration left behind half-way is ours: it carries the comment that the migration gives it.
    """
    ours = objects(applied, settings)
    foreign = []
    for name, item in objects(pending, settings).items():
        if name in ours or name not in there:
            continue
        engine, comment = there[name]
        if "schema_migrations" not in there or not item.is_engine(engine) or comment != item.comment:
            foreign.append(name)
    if foreign:
        raise Stop(
            f"database {settings.clickhouse_database} has {', '.join(foreign)}, which Tidegate did not make:"
            " set clickhouse_database to a database of its own, or rename them"
        )


def _prepare(client: Client, settings: Settings) -> None:
    place = places(settings)
    client.command(f"CREATE DATABASE IF NOT EXISTS {place['database']} {place['on_cluster']}")
    create(
        client,
        f"CREATE TABLE IF NOT EXISTS {place['database']}.schema_migrations {place['on_cluster']}\n"
        "(\n"
        "    version UInt32 COMMENT 'Number of the migration',\n"
        "    name String COMMENT 'Its name',\n"
        "    checksum String COMMENT 'SHA-256 of its statements',\n"
        "    works_from UInt32 DEFAULT version COMMENT"
        " 'Roles that know the migrations up to this one work with the schema behind it',\n"
        "    applied_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When it was applied'\n"
        f")\nENGINE = {place['replacing_merge_tree']}\nORDER BY version",
    )


class Recorded(NamedTuple):
    """A migration that the database has."""

    checksum: str
    works_from: int


def _recorded(client: Client, settings: Settings) -> dict[int, Recorded]:
    rows = client.query(
        "SELECT version, argMax(checksum, applied_at), argMax(works_from, applied_at)"
        f" FROM {settings.clickhouse_database}.schema_migrations GROUP BY version"
    ).result_rows
    return {int(row[0]): Recorded(str(row[1]), int(row[2])) for row in rows}


def _check(recorded: dict[int, Recorded], known: list[Migration], settings: Settings) -> None:
    ours = {migration.version: migration for migration in known}
    for version, found in sorted(recorded.items()):
        migration = ours.get(version)
        if migration is None and found.works_from <= known[-1].version:
            continue
        if migration is None:
            raise Stop(
                f"database {settings.clickhouse_database} has migration {version:04d} of a newer Tidegate:"
                " update this one"
            )
        if migration.checksum != found.checksum:
            raise Stop(
                f"migration {version:04d}_{migration.name} is not the one that database"
                f" {settings.clickhouse_database} was made with: a released migration never changes"
            )


def _apply(client: Client, migration: Migration, settings: Settings) -> None:
    for statement in migration.statements(settings):
        create(client, statement)
    _record(client, migration, settings)
    log.info("applied migration %04d_%s", migration.version, migration.name)


def record(client: Client, settings: Settings) -> None:
    """Note that all migrations are applied, and apply the TTLs: whoever made the tables otherwise does so
    last. Until then no role takes the database for a migrated one."""
    with infrastructure():
        _prepare(client, settings)
        for migration in migrations():
            _record(client, migration, settings)
        _apply_ttls(client, settings)


def _record(client: Client, migration: Migration, settings: Settings) -> None:
    client.command(
        f"INSERT INTO {settings.clickhouse_database}.schema_migrations (version, name, checksum, works_from)"
        f" VALUES ({migration.version}, '{migration.name}', '{migration.checksum}', {migration.works_from})"
    )


def create(client: Client, statement: str) -> None:
    """Run a CREATE that somebody else may have run since."""
    try:
        client.command(statement)
    except DatabaseError as error:
        if error.code not in ALREADY_DONE:
            raise


def ttl_days(settings: Settings) -> dict[str, tuple[str, int]]:
    """For each table with a TTL: the date it counts from, and the days to keep (0: for ever)."""
    days: dict[str, tuple[str, int]] = {
        "connection_logs": ("toDate(received_at)", settings.ttl_connection_logs_days),
        "client_events": ("toDate(received_at)", settings.ttl_client_events_days),
        "device_logs": ("toDate(received_at)", settings.ttl_device_logs_days),
        "rejects": ("toDate(received_at)", settings.ttl_rejects_days),
        "alerts": ("toDate(updated_at)", settings.ttl_alerts_days),
        "webhook_deliveries": ("toDate(at)", settings.ttl_webhook_deliveries_days),
    }
    rollups = {
        "1m": settings.ttl_rollups_1m_days,
        "1h": settings.ttl_rollups_1h_days,
        "1d": settings.ttl_rollups_1d_days,
    }
    for stream in STREAMS:
        for level in LEVELS:
            days[f"{stream}_{level}"] = ("received_day", rollups[level])
    booked = [days[table][1] for table in (*STREAMS, "rejects")]
    days["expiries"] = ("received_day", max(booked) if all(booked) else 0)
    copied = [each for each in (settings.ttl_site_events_days, settings.ttl_client_events_days) if each]
    days["site_events"] = ("toDate(minute)", min(copied, default=0))
    for table in ("site_minutes", "site_levels"):
        days[table] = ("toDate(minute)", settings.ttl_rollups_1m_days)
    days["site_outcomes"] = ("day", settings.ttl_site_outcomes_days)
    for table in ("stage_hours", "radio_hours", "contrast_hours", "site_hours"):
        days[table] = ("toDate(hour)", rollups["1h"])
    days["site_states"] = ("received_day", rollups["1h"])
    return days


def ttls_in_force(client: Client, database: str) -> dict[str, int]:
    """For each table of the database: the days that it keeps by its TTL, 0 for ever."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = {database:String}",
        parameters={"database": database},
    ).result_rows
    found = {str(name): re.search(r" TTL .*?toIntervalDay\((\d+)\)", str(engine)) for name, engine in rows}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def _apply_ttls(client: Client, settings: Settings) -> list[str]:
    place = places(settings)
    in_force = ttls_in_force(client, settings.clickhouse_database)
    changed = []
    for table, (start, days) in ttl_days(settings).items():
        if in_force[table] == days:
            continue
        what = f"MODIFY TTL {start} + toIntervalDay({days})" if days else "REMOVE TTL"
        try:
            client.command(f"ALTER TABLE {place['database']}.{table} {place['on_cluster']} {what}")
        except DatabaseError as error:
            if days or error.code != NO_TTL_TO_REMOVE:
                raise
        changed.append(table)
    return changed
