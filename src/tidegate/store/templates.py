"""The numbered migrations: SQL templates beside this module, and the statements that settings make of them.

`${name}` places: database, on_cluster, merge_tree and aggregating_merge_tree (engines), event_settings,
rollup_settings, minute_settings, hour_settings, level_settings, copy_settings and dedup_settings (table
settings), for each stream its `${<stream>_id}` expression and the statements of its `${<stream>_rollups}`,
rollup_counts, the counts that `verify` compares, hours_due, the condition of an hour that is counted again,
copies_here, that of the one replica that copies events, site_event_columns, what it copies,
site_level_columns, and site_levels_refreshed, what is counted of the copy.

A line `-- works from 0009` says that roles which know the migrations up to 9 work with the schema behind this
one: it adds what they need not know. Without it, they do not start on it.

Until version 0.1.0 is released a migration may be rewritten; from then on it never changes.
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
from tidegate.store import rollups, site_events, site_levels
from tidegate.store.client import literal

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORKS_FROM = re.compile(r"^-- works from (\d{4})$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_ROLLUPS = {f"{stream}_rollups": rollups.template(stream) for stream in STREAMS}

DEDUPLICATION_WINDOW = 10_000  # inserts of one table that a resend may lie behind
FREE_BYTES = 256 << 20  # on the disk, below which inserts are refused: ClickHouse must not fill it to the end
DEDUPLICATION_SECONDS = 7 * 86_400  # the same for Replicated tables, which also forget by age
PACKED_BYTES = 32 << 20  # uncompressed, below which a part is one file, not fifteen (docs/decisions/0026)

BIG_TABLE_SETTINGS = (
    "ttl_only_drop_parts = 1",  # TTL drops whole parts
    "auto_statistics_types = ''",  # a tenth of what a merge costs, and no question here reads them
)
EVENT_SETTINGS = (
    *BIG_TABLE_SETTINGS,
    "min_bytes_for_wide_part = 134217728",  # an insert's part is one file, not two for each of sixty columns
    "merge_selector_base = 30",  # a row is rewritten 2.5 times instead of 6; a day's parts become one below
    # Once a received day is over nothing is added to it: an hour later its parts become one, within the size
    # that the server allows a part, and reading a client's month opens a part a day.
    "min_age_to_force_merge_seconds = 3600",
    "min_age_to_force_merge_on_partition_only = 1",
    "enable_max_bytes_limit_for_min_age_to_force_merge = 1",
)
HOURS_DUE = (  # of the events of a fleet's hour that are there, and those that its row knows of
    "sum(there) != sum(known) AND (hour < toStartOfHour(now('UTC') - INTERVAL 2 MINUTE, 'UTC')"
    " OR sum(there) < 1000000 OR sum(there) >= 2 * sum(known))"  # docs/decisions/0030
)
ROLLUP_SETTINGS = (*BIG_TABLE_SETTINGS, "min_bytes_for_wide_part = 33554432")
MINUTE_SETTINGS = (
    *ROLLUP_SETTINGS,
    "index_granularity = 1024",  # sorted by site: a quarter of an hour of each site reads a sixth of the rows
)
HOUR_SETTINGS = (
    "index_granularity = 256",  # of a month of hours sorted by site a call reads a day or a week of each
)
LEVEL_SETTINGS = (
    *ROLLUP_SETTINGS,
    "index_granularity = 128",  # two hours of each site are 120 rows of a day's 1,440
)

COPY_SETTINGS = (  # of site_events, whose partitions are hours: when one is over, its parts become one
    *BIG_TABLE_SETTINGS,
    "index_granularity = 1024",
    "deduplicate_merge_projection_mode = 'rebuild'",
    "min_age_to_force_merge_seconds = 600",
    "min_age_to_force_merge_on_partition_only = 1",
    "enable_max_bytes_limit_for_min_age_to_force_merge = 1",
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`: its number, its name, and its SQL with `${...}` to fill in."""

    version: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        """Of the statements for the default settings, so that what code writes into a template counts, and a
        change of settings is no change of the migration."""
        return hashlib.sha256(";\n".join(self.statements(Settings())).encode()).hexdigest()

    @property
    def works_from(self) -> int:
        """The oldest newest migration that a role may know to work with the schema behind this one."""
        said = _WORKS_FROM.search(self.template)
        return int(said[1]) if said else self.version

    def statements(self, settings: Settings) -> list[str]:
        """The SQL statements, in order, for these settings."""
        written = string.Template(self.template).safe_substitute(_ROLLUPS)
        text = string.Template(_COMMENT.sub("", written)).substitute(places(settings))
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
    # Refused while the disk is not full yet, and tried again: ClickHouse 26.9 answered a write as done that
    # found no room at all, and left a part whose marks were missing.
    dedup += f", min_free_disk_bytes_to_perform_insert = {FREE_BYTES}"
    dedup += f", min_bytes_for_full_part_storage = {PACKED_BYTES}"
    return {
        "database": database,
        "on_cluster": f"ON CLUSTER '{cluster}'" if cluster else "",
        "merge_tree": tree,
        "aggregating_merge_tree": aggregating,
        "replacing_merge_tree": replacing,
        "dedup_settings": dedup,
        "event_settings": ", ".join([dedup, *EVENT_SETTINGS]),
        "rollup_settings": ", ".join([dedup, *ROLLUP_SETTINGS]),
        "minute_settings": ", ".join([dedup, *MINUTE_SETTINGS]),
        "hour_settings": ", ".join([dedup, *HOUR_SETTINGS]),
        "level_settings": ", ".join([dedup, *LEVEL_SETTINGS]),
        "copy_settings": ", ".join([dedup, *COPY_SETTINGS]),
        **{f"{stream}_id": id_expression(stream) for stream in STREAMS},
        "rollup_counts": _rollup_counts(database),
        "hours_due": HOURS_DUE,
        "copies_here": _copies_here(database) if cluster else "1",
        "site_event_columns": site_events.expressions(),
        "site_level_columns": ",\n".join(
            f"    {name} UInt32 CODEC(ZSTD(1)) COMMENT {literal(what)}"
            for name, what in site_levels.COUNTS.items()
        ),
        "site_levels_refreshed": site_levels.refreshed(database, "due"),
    }


def _copies_here(database: str) -> str:
    """Whether this replica is the first of those that are there: each has the view, and all copy at once."""
    return (
        "(SELECT any(replica_name = arrayMin(mapKeys(mapFilter((name, active) -> active = 1,"
        f" replica_is_active)))) FROM system.replicas WHERE database = '{database}'"
        " AND table = 'site_events')"
    )


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
