"""The numbered migrations: SQL templates beside this module, and the statements that settings make of them.

`${name}` places: database, on_cluster, merge_tree and aggregating_merge_tree (engines), event_settings,
rollup_settings, dedup_settings and room_settings (table settings), for each stream its
`${<stream>_id}` expression, and rollup_counts, the counts that `verify` compares.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass
from importlib import resources

from tidegate.contracts.position import id_expression
from tidegate.contracts.topics import STREAMS
from tidegate.errors import UsageError
from tidegate.settings import Settings

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)

DEDUPLICATION_WINDOW = 10_000  # inserts of one table that a resend may lie behind
FREE_BYTES = 256 << 20  # on the disk, below which inserts are refused: ClickHouse must not fill it to the end
DEDUPLICATION_SECONDS = 7 * 86_400  # the same for Replicated tables, which also forget by age


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        """Of the template, so that a change of settings is no change of the migration."""
        return hashlib.sha256(self.template.encode()).hexdigest()

    def statements(self, settings: Settings) -> list[str]:
        """The SQL statements, in order, for these settings."""
        text = string.Template(_COMMENT.sub("", self.template)).substitute(places(settings))
        return [part.strip() for part in text.split(";\n") if part.strip()]


def migrations() -> list[Migration]:
    """Every migration, by number."""
    found = []
    for file in resources.files("tidegate.store").joinpath("migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def places(settings: Settings) -> dict[str, str]:
    """What stands in the places of a template. Raises UsageError for names that ClickHouse would not take."""
    database, cluster = settings.clickhouse_database, settings.clickhouse_cluster
    if not _NAME.fullmatch(database):
        raise UsageError(f"clickhouse_database: {database!r} is not a plain name")
    if cluster and not re.fullmatch(r"[A-Za-z0-9_.{}-]+", cluster):
        raise UsageError(f"clickhouse_cluster: {cluster!r} is not a cluster name")
    dedup = f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
    if cluster:
        path = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
        tree, aggregating = f"ReplicatedMergeTree({path})", f"ReplicatedAggregatingMergeTree({path})"
        replacing = f"ReplicatedReplacingMergeTree({path})"
        dedup = (
            f"replicated_deduplication_window = {DEDUPLICATION_WINDOW}, "
            f"replicated_deduplication_window_seconds = {DEDUPLICATION_SECONDS}"
        )
    else:
        tree, aggregating, replacing = "MergeTree", "AggregatingMergeTree", "ReplacingMergeTree"
    room = f"min_free_disk_bytes_to_perform_insert = {FREE_BYTES}"
    dedup = f"{dedup}, {room}"
    return {
        "database": database,
        "on_cluster": f"ON CLUSTER '{cluster}'" if cluster else "",
        "merge_tree": tree,
        "aggregating_merge_tree": aggregating,
        "replacing_merge_tree": replacing,
        "dedup_settings": dedup,
        "room_settings": room,
        # TTL drops whole parts. An insert's part is one file, not two for each of sixty columns.
        "event_settings": f"{dedup}, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 134217728",
        "rollup_settings": f"{dedup}, ttl_only_drop_parts = 1, min_bytes_for_wide_part = 33554432",
        **{f"{stream}_id": id_expression(stream) for stream in STREAMS},
        "rollup_counts": _rollup_counts(database),
    }


def _rollup_counts(database: str) -> str:
    """A row a stream, level and received day: how many events the table has.

    Where a partition is a day, the day is read off the partition and not off the rows.
    """
    parts = []
    for stream in STREAMS:
        parts.append(
            f"SELECT '{stream}' AS stream, 'base' AS level, toDate(received_at) AS received_day,"
            f" count() AS events FROM {database}.{stream} GROUP BY received_day"
        )
        parts.append(
            f"SELECT '{stream}', '1m', YYYYMMDDToDate(_partition_value.1) AS received_day, sum(events)"
            f" FROM {database}.{stream}_1m GROUP BY received_day"
        )
        parts += [
            f"SELECT '{stream}', '{level}', received_day, sum(events) FROM {database}.{stream}_{level}"
            " GROUP BY received_day"
            for level in ("1h", "1d")
        ]
    return "\nUNION ALL\n".join(parts)
