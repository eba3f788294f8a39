"""Writing a backup: the cut first, then every table, file by file, the manifest last."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import zstandard
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate import __version__
from tidegate.backup import cut as cuts
from tidegate.backup import manifest as manifests
from tidegate.backup.cut import Cut
from tidegate.backup.manifest import CHUNK_BYTES, Manifest, Part, Position
from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import ALERTS, STREAMS, Stream
from tidegate.errors import RetryLater, UsageError
from tidegate.kafka.connection import connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, groupless_consumer
from tidegate.kafka.topics import partition_counts
from tidegate.settings import Settings
from tidegate.sink.blocks import token_suffix
from tidegate.store.client import infrastructure, literal
from tidegate.store.ledger import Ledger
from tidegate.store.migrate import LEVELS, require_newest
from tidegate.store.objects import objects
from tidegate.store.templates import migrations

ATTEMPTS = 3  # at a file whose rows grew fewer while it was written: TTL, or an erasure
READ = {"wait_end_of_query": 1, "output_format_native_encode_types_in_binary_format": 0}
"""Whole or not at all: an error in the middle must not look like the end."""

BASE = (*STREAMS, "rejects")
DERIVED = {
    **{f"{stream}_{level}": "received_day" for stream in STREAMS for level in LEVELS},
    "site_minutes": "toDate(minute)",
}
"""Tables that views fill out of the base tables by sums, and their received day: made anew from the base."""
COPIES = ("site_events",)
"""Tables whose rows stand in a base table too, and are copied from there again."""


def backup(client: Client, settings: Settings, folder: Path, say: Callable[[str], None]) -> Manifest:
    """Write what the database holds into `folder`, which must be new or empty, while everything runs.

    Raises RetryLater where ClickHouse is away or a sink took over meanwhile (begin again in another folder),
    Stop where the schema is not this version's.
    """
    database = settings.clickhouse_database
    with infrastructure():
        require_newest(client, settings)
    _make(folder)
    alerts = alerts_position(settings, say)
    ledger = Ledger(client, database, cluster=bool(settings.clickhouse_cluster))
    cut = cuts.find(client, database, ledger)
    for plan in cuts.await_stored(ledger, cut.newest):
        say(f"batch {plan.token} is planned and not stored whole: it is in the backup as it is here")
    writer = _Writer(client, database, folder, say)
    parts = [*_base(writer, cut), *_others(writer, settings, cut)]
    parts += _ledger(writer, cut)
    cuts.check_unchanged(client, database, cut)
    written = Manifest(
        format=manifests.FORMAT,
        version=__version__,
        clickhouse=str(client.server_version),
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        epoch=cut.epoch,
        migrations={migration.version: migration.checksum for migration in migrations()},
        cut=[
            Position(plan.epoch, plan.stream, plan.partition, plan.last, plan.enriched_last)
            for plan in cut.newest
        ],
        alerts=alerts,
        parts=parts,
        rebuilt_from=cut.since.isoformat() if cut.since else "",
    )
    manifests.write(folder, written)
    return written


def alerts_position(settings: Settings, say: Callable[[str], None]) -> dict[int, int]:
    """How far the sink has stored `tidegate.alerts`, by partition; nothing where Kafka does not tell."""
    kafka, group = connection(settings), f"{settings.sink_group}-alerts"
    try:
        count = partition_counts(kafka, [ALERTS]).get(ALERTS, 0)
        consumer = groupless_consumer(kafka, group)
        try:
            partitions = [KafkaPartition(ALERTS, number) for number in range(count)]
            found = consumer.committed(partitions, timeout=ATTEMPT_SECONDS) if partitions else []
        finally:
            consumer.close()
    except (RetryLater, KafkaException) as error:
        say(f"Kafka does not say how far alerts are stored ({error}): a restore cannot go back to it")
        return {}
    return {position.partition: max(position.offset, 0) for position in found}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: a backup is written into a folder of its own")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error


def _base(writer: _Writer, cut: Cut) -> Iterator[Part]:
    """Rows of events and rejects: a file a day, and for the newest batch of each partition its own ones, so
    that they go in under the tokens under which a sink may send them again."""

    def views(table: str, day: date) -> bool:
        return table != "rejects" and (cut.since is None or day >= cut.since)

    for table in BASE:
        for day in writer.days(table):
            before = _either(table, cut.rows_before_newest)
            yield from writer.part(table, day, before, views=views(table, day))
        for plan in cut.newest:
            if not (plan.rejected if table == "rejects" else plan.accepted and table == plan.stream):
                continue
            where = _of_batch(table, plan)
            for day in writer.days(table, where):
                token = plan.token + token_suffix(table, day)
                yield from writer.part(table, day, where, views=views(table, day), token=token)


def _either(table: str, condition: Callable[[Stream], str]) -> str:
    """A condition of the stream whose table it is; for `rejects`, which has lines of all, of each."""
    if table != "rejects":
        return next(condition(stream) for stream in STREAMS if stream == table)
    return " OR ".join(f"(stream = {literal(stream)} AND {condition(stream)})" for stream in STREAMS)


def _of_batch(table: str, plan: BatchPlan) -> str:
    stream = f"stream = {literal(plan.stream)} AND " if table == "rejects" else ""
    partition = f"epoch = {literal(plan.epoch)} AND partition = {plan.partition}"
    return f"{stream}{partition} AND offset BETWEEN {plan.first} AND {plan.last}"


def _others(writer: _Writer, settings: Settings, cut: Cut) -> Iterator[Part]:
    """What is neither events nor ledger: whole; of what is made anew from the events, the days before."""
    tables = [item.name for item in objects(migrations(), settings).values() if item.kind == "TABLE"]
    for table in tables:
        if table in BASE or table in COPIES or table == "sink_batches":
            continue
        if table not in DERIVED:
            yield from writer.file(table, table, "1", counted=False)
        elif cut.since is not None:
            where = f"{DERIVED[table]} < toDate({literal(cut.since.isoformat())})"
            yield from writer.file(table, table, where, counted=False)


def _ledger(writer: _Writer, cut: Cut) -> Iterator[Part]:
    """The batches that hold: what a take-over has superseded is left out."""
    where = _either("rejects", lambda stream: cut.rows(stream, offset="first"))
    yield from writer.file("sink_batches", "sink_batches", where, source="verify_batches")


class _Writer:
    def __init__(self, client: Client, database: str, folder: Path, say: Callable[[str], None]) -> None:
        self._client = client
        self._database = database
        self._folder = folder
        self._say = say
        self._count = 0
        with infrastructure():
            rows = client.query(
                "SELECT table, groupArray(name) FROM (SELECT table, name FROM system.columns"
                " WHERE database = {database:String} AND default_kind IN ('', 'DEFAULT')"
                " ORDER BY table, position) GROUP BY table",
                parameters={"database": database},
            ).result_rows
        self._columns: dict[str, list[str]] = {str(table): list(names) for table, names in rows}

    def days(self, table: str, where: str = "1") -> list[date]:
        """The received days of these rows."""
        with infrastructure():
            rows = self._client.query(
                f"SELECT DISTINCT _partition_value.1 AS day FROM {self._database}.{table}"
                f" WHERE {where} ORDER BY day"
            ).result_rows
        return [day for (day,) in rows]

    def part(
        self, table: str, day: date, where: str, *, views: bool = False, token: str = ""
    ) -> Iterator[Part]:
        """Rows of a received day, in one file; none for no rows."""
        condition = f"toDate(received_at) = toDate({literal(day.isoformat())}) AND ({where})"
        yield from self.file(table, f"{table}-{day:%Y%m%d}", condition, views=views, token=token)

    def file(
        self,
        table: str,
        name: str,
        where: str,
        *,
        source: str = "",
        counted: bool = True,
        views: bool = False,
        token: str = "",
    ) -> Iterator[Part]:
        """Rows of `source` (the table itself unless given). `counted`: their number stands still."""
        columns = self._columns[table]
        source = source or table
        self._count += 1
        path = f"{self._count:05d}-{name}.native.zst"
        for _ in range(ATTEMPTS):
            before = self._rows(source, where)
            if not before:
                return
            digest, size = self._write(path, source, columns, where)
            after = self._rows(source, where)
            if not counted or before == after:
                rows = after if counted else None
                yield Part(table, path, columns, digest, size, rows, views, token)
                return
            self._say(f"{table}: {before - after} rows went while they were read; reading again")
        raise RetryLater(f"{table} does not stand still: begin again when nothing is erased from it")

    def _rows(self, source: str, where: str) -> int:
        with infrastructure():
            [(rows,)] = self._client.query(
                f"SELECT count() FROM {self._database}.{source} WHERE {where}"
            ).result_rows
        return int(rows)

    def _write(self, path: str, source: str, columns: list[str], where: str) -> tuple[str, int]:
        """SHA-256 and size of the file."""
        names = ", ".join(f"`{column}`" for column in columns)
        digest, size = hashlib.sha256(), 0
        packing = zstandard.ZstdCompressor(level=1).compressobj()
        place = self._folder / path
        with manifests.create(place) as file:

            def put(piece: bytes) -> None:
                nonlocal size
                file.write(piece)
                digest.update(piece)
                size += len(piece)

            with infrastructure():
                answer: Any = self._client.raw_stream(
                    f"SELECT {names} FROM {self._database}.{source} WHERE {where}",
                    fmt="Native",
                    settings=READ,
                )
                try:
                    while piece := answer.read(CHUNK_BYTES):
                        put(packing.compress(piece))
                finally:
                    answer.close()
            put(packing.flush())
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), size
