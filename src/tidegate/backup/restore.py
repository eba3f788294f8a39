"""Restoring a backup into an empty database, so that the sink goes on from where it ended.

Rollups are made anew by their views from the events; those of days whose events a table has let go come
from the backup. The newest batch of each partition goes in under the tokens that the sink gives it: where
Kafka has forgotten how far the sink was, it sends that batch again, and ClickHouse takes nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import zstandard
from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tidegate.backup import manifest as manifests
from tidegate.backup.manifest import CHUNK_BYTES, Manifest, Part
from tidegate.contracts.topics import ALERTS
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.connection import connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS
from tidegate.kafka.groupless import client as kafka_client
from tidegate.kafka.topics import read_epoch
from tidegate.settings import Settings
from tidegate.store.client import infrastructure
from tidegate.store.insert import PINNED
from tidegate.store.migrate import check_cluster, check_server, create, record
from tidegate.store.objects import objects
from tidegate.store.templates import migrations, places

BLOCK_ROWS = 131_072  # of an insert without a token, as the sink's at most
BULK = {
    **PINNED,
    "insert_deduplicate": 0,
    "max_insert_block_size": BLOCK_ROWS,
    "min_insert_block_size_rows": BLOCK_ROWS,
    "min_insert_block_size_bytes": 256 << 20,
}
_VIEW = re.compile(r"\s*CREATE\s+MATERIALIZED\s+VIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?\w+\.(\w+)")
_REFRESHED = re.compile(r"\bREFRESH\s+EVERY\b")


def restore(client: Client, settings: Settings, folder: Path, say: Callable[[str], None]) -> Manifest:
    """Fill the database of the settings, which must not exist or be empty; `client` needs no database.

    Raises Stop where the backup is not what was written, or the database holds something, Rejected where it
    is no backup. When it fails half-way, no role starts on what is there: drop the database and begin again.
    """
    found = manifests.read(folder)
    manifests.check(folder, found)
    with infrastructure():
        check_server(client)
        check_cluster(client, settings)
        _check_migrations(found)
        _check_empty(client, settings)
        statements = [each for migration in migrations() for each in migration.statements(settings)]
        views = {match[1]: each for each in statements if (match := _VIEW.match(each))}
        place = places(settings)
        client.command(f"CREATE DATABASE IF NOT EXISTS {place['database']} {place['on_cluster']}")
        for statement in statements:
            if not _VIEW.match(statement):
                create(client, statement)
        _fill(client, settings, folder, [part for part in found.parts if not part.views])
        for statement in views.values():
            if not _REFRESHED.search(statement):
                create(client, statement)
        with_views = [part for part in found.parts if part.views]
        _fill(client, settings, folder, sorted(with_views, key=lambda part: bool(part.token)))
        _check_rows(client, settings, found)
        for statement in views.values():
            create(client, statement)
        record(client, settings)
    say(_alerts_again(settings, found))
    return found


def _check_migrations(found: Manifest) -> None:
    ours = {migration.version: migration.checksum for migration in migrations()}
    for version, checksum in found.migrations.items():
        if version not in ours:
            raise Stop(
                f"the backup has migration {version:04d} of a newer Tidegate: restore it with that one"
            )
        if ours[version] != checksum:
            raise Stop(f"migration {version:04d} of the backup is not the one of this version")


def _check_empty(client: Client, settings: Settings) -> None:
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = {database:String}",
        parameters={"database": settings.clickhouse_database},
    ).result_rows
    if rows:
        raise Stop(
            f"database {settings.clickhouse_database} is not empty: it has {rows[0][0]}. A backup is restored"
            " into a new one: set clickhouse_database, or drop what is there"
        )


def _fill(client: Client, settings: Settings, folder: Path, parts: Iterable[Part]) -> None:
    known = objects(migrations(), settings)
    for part in parts:
        if part.table not in known:
            raise Stop(f"{part.file}: this version has no table {part.table}")
        pinned = {**PINNED, "insert_deduplication_token": part.token} if part.token else BULK
        summary = client.raw_insert(
            f"{settings.clickhouse_database}.{part.table}",
            part.columns,
            _pieces(folder / part.file),
            settings=pinned,
            fmt="Native",
        )
        if "written_rows" not in summary.summary:
            raise RetryLater(f"ClickHouse answered the insert of {part.file} without a summary")


def _pieces(path: Path) -> Generator[bytes]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        while piece := reader.read(CHUNK_BYTES):
            yield piece


def _check_rows(client: Client, settings: Settings, found: Manifest) -> None:
    wanted: dict[str, int] = {}
    for part in found.parts:
        if part.rows is not None:
            wanted[part.table] = wanted.get(part.table, 0) + part.rows
    for table, rows in wanted.items():
        [(there,)] = client.query(f"SELECT count() FROM {settings.clickhouse_database}.{table}").result_rows
        if there != rows:
            raise Stop(f"{table} has {there} rows, the backup {rows}")


def _alerts_again(settings: Settings, found: Manifest) -> str:
    """Have the sink read alerts again from where the backup may lack some; what was done about it."""
    group = f"{settings.sink_group}-alerts"
    if not found.alerts:
        return "alerts: the backup does not say how far they were stored; later ones are not read again"
    kafka = connection(settings)
    try:
        if read_epoch(kafka, timeout_seconds=ATTEMPT_SECONDS) != found.epoch:
            return "alerts: Kafka is in another epoch than the backup, and none are read again"
        positions = [TopicPartition(ALERTS, number, offset) for number, offset in found.alerts.items()]
        wanted = [ConsumerGroupTopicPartitions(group, positions)]
        admin = AdminClient(kafka_client(kafka))
        [answer] = admin.alter_consumer_group_offsets(wanted, request_timeout=ATTEMPT_SECONDS).values()
        failed = [each.error for each in answer.result().topic_partitions if each.error is not None]
        if failed:
            raise KafkaException(failed[0])
    except (RetryLater, KafkaException, ValueError) as error:
        offsets = ", ".join(f"{number}:{offset}" for number, offset in found.alerts.items())
        return f"alerts: set the offsets of group {group} on {ALERTS} to {offsets}, since it failed: {error}"
    return f"alerts: group {group} goes on from where the backup ends"
