"""The data dictionary: every table and column as ClickHouse has it, as the page `docs/data-dictionary.md`.

Written from the database of the settings by
`python -m tidegate.store.data_dictionary > docs/data-dictionary.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from tidegate import settings
from tidegate.store.client import connect

HEAD = """# Data dictionary

Every table of the database `tidegate`, as `tidegate migrate` makes it. This page is generated from the
database (`python -m tidegate.store.data_dictionary`); a test holds it to the migrations.

Times are UTC. An event's `id` is its position `epoch`, `partition`, `offset`, `index` written down. Rollups
`*_1m`, `*_1h` and `*_1d` have the same columns; read a state with `-Merge` and the parameters of its type:

```sql
SELECT site, sum(events) AS events, uniqMerge(clients) AS clients,
    quantilesTimingMerge(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(dhcp_latency) AS dhcp_ms
FROM tidegate.client_events_1h
WHERE fleet = 'demo' AND bucket >= now() - INTERVAL 1 DAY AND outcome = 'success'
GROUP BY site ORDER BY events DESC
```
"""

TABLES = """
SELECT name, comment, partition_key, sorting_key
FROM system.tables
WHERE database = {database:String} AND engine LIKE '%MergeTree'
ORDER BY multiIf(name LIKE '%\\_1_', 2, name LIKE '%\\_logs' OR name LIKE '%\\_events', 0, 1), name
"""
COLUMNS = """
SELECT table, name, type, default_kind, comment
FROM system.columns WHERE database = {database:String} ORDER BY table, position
"""
ROLLUPS = ("1h", "1d")  # told with the minute


def document(client: Client, database: str) -> str:
    """The page, from a migrated database."""
    parameters = {"database": database}
    columns: dict[str, list[Sequence[Any]]] = {}
    for table, *column in client.query(COLUMNS, parameters=parameters).result_rows:
        columns.setdefault(table, []).append(column)
    parts = [HEAD]
    for name, comment, partition, sorting in client.query(TABLES, parameters=parameters).result_rows:
        base, _, level = name.rpartition("_")
        if level in ROLLUPS:
            continue
        title = name if level != "1m" else f"{name}`, `{base}_1h` and `{base}_1d"
        parts.append(f"## `{title}`\n")
        if comment:
            parts.append(f"{comment}.\n")
        by = f" Partitioned by `{partition}`." if partition else ""
        parts.append(f"Sorted by `{sorting}`.{by}\n")
        parts.append("| column | type | what it is |\n| --- | --- | --- |")
        parts.extend(_row(*column) for column in columns[name])
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _row(name: str, type_: str, kind: str, comment: str) -> str:
    computed = {"MATERIALIZED": " (computed)", "ALIAS": " (computed on read)"}.get(kind, "")
    return f"| `{name}` | `{type_}`{computed} | {comment.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    loaded = settings.load()
    with connect(loaded) as connected:
        sys.stdout.write(document(connected, loaded.clickhouse_database))
