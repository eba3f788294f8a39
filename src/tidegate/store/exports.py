"""The read side's lists as exports: the same rows in the same order, with every column of their table.

The columns are those of `contracts/columns.py` in their order, with `id` behind `fleet` and without the
position, which the id spells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.store.queries import ClientEvents, DeviceLogs, Mark, Query, Where, beside

COLUMNS: Mapping[Stream, tuple[str, ...]] = {
    stream: ("fleet", "id", *(name for name in SCHEMAS[stream].names if name not in ("fleet", "index")))
    for stream in STREAMS
}
"""The columns of each stream's export."""

SETTINGS: Mapping[str, Any] = {
    "date_time_output_format": "iso",
    "format_csv_null_representation": "",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_compression_method": "lz4_frame",
    "output_format_parquet_string_as_string": 1,
    "output_format_parquet_compression_method": "zstd",
    "output_format_parquet_row_group_size": 100_000,  # a group is gathered before it is written
}
"""How ClickHouse writes them, whatever the profile of its user says."""


class Export(NamedTuple):
    """`rows` has the rows. `size` counts them, and stops counting behind `bound`."""

    rows: Query
    size: Query


def client_events(wanted: ClientEvents, *, bound: int, offset: int = 0, limit: int | None = None) -> Export:
    """A client's events, newest first."""
    return _export("client_events", wanted.where(), bound, offset=offset, limit=limit)


def device_logs(
    wanted: DeviceLogs,
    *,
    bound: int,
    limit: int | None = None,
    older: Mark | None = None,
    newer: Mark | None = None,
) -> Export:
    """Device logs, newest first; behind or in front of a mark as in the list. A `limit` in front of a mark
    takes the nearest."""
    where = wanted.where()
    beside(where, older, newer)
    return _export("device_logs", where, bound, limit=limit, turned=newer is not None)


def _export(
    stream: Stream, where: Where, bound: int, *, offset: int = 0, limit: int | None, turned: bool = False
) -> Export:
    columns = ", ".join(f"`{column}`" for column in COLUMNS[stream])
    cut = "" if limit is None else " LIMIT {limit:UInt64}"
    cut += " OFFSET {offset:UInt64}" if offset else ""
    order = "event_time DESC, id DESC"
    if turned and limit is not None:
        nearest = f"SELECT {columns} FROM {stream} {where} ORDER BY event_time, id{cut}"
        sql = f"SELECT {columns} FROM ({nearest}) ORDER BY {order}"
    else:
        sql = f"SELECT {columns} FROM {stream} {where} ORDER BY {order}{cut}"
    probe = bound + 1 if limit is None else min(limit, bound + 1)
    within = f"SELECT 1 FROM {stream} {where} LIMIT {{probe:UInt64}} OFFSET {{offset:UInt64}}"
    parameters = {**where.parameters, "offset": offset}
    return Export(
        Query(f"{stream}_export", sql, parameters if limit is None else {**parameters, "limit": limit}),
        Query(f"{stream}_export_size", f"SELECT count() FROM ({within})", {**parameters, "probe": probe}),
    )
