"""The read side's lists as exports: the same rows in the same order, with every column of their table.

The columns are those of `contracts/columns.py` in their order, with `id` behind `fleet` and without the
position, which the id spells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from tidegate.contracts import csv_cells
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.store.queries import ClientEvents, DeviceLogs, Mark, Query, Where, beside


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


COLUMNS: Mapping[Stream, tuple[str, ...]] = {
    stream: ("fleet", "id", *(name for name in SCHEMAS[stream].names if name not in ("fleet", "index")))
    for stream in STREAMS
}
"""The columns of each stream's export."""

TEXT_COLUMNS: Mapping[Stream, frozenset[str]] = {
    stream: frozenset(field.name for field in SCHEMAS[stream] if _is_text(field.type)) for stream in STREAMS
}
"""Those in which a sender's words stand."""

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


def client_events(
    wanted: ClientEvents, *, bound: int, offset: int = 0, limit: int | None = None, safe_text: bool = False
) -> Export:
    """A client's events, newest first. `safe_text`: no text is a formula, for CSV."""
    return _export("client_events", wanted.where(), bound, offset=offset, limit=limit, safe_text=safe_text)


def device_logs(
    wanted: DeviceLogs,
    *,
    bound: int,
    limit: int | None = None,
    older: Mark | None = None,
    newer: Mark | None = None,
    safe_text: bool = False,
) -> Export:
    """Device logs, newest first; behind or in front of a mark as in the list. A `limit` in front of a mark
    takes the nearest. `safe_text`: no text is a formula, for CSV."""
    where = wanted.where()
    beside(where, older, newer)
    return _export("device_logs", where, bound, limit=limit, turned=newer is not None, safe_text=safe_text)


def _export(
    stream: Stream,
    where: Where,
    bound: int,
    *,
    offset: int = 0,
    limit: int | None,
    turned: bool = False,
    safe_text: bool = False,
) -> Export:
    columns = ", ".join(f"`{column}`" for column in COLUMNS[stream])
    shown = ", ".join(_shown(stream, column) for column in COLUMNS[stream]) if safe_text else columns
    cut = "" if limit is None else " LIMIT {limit:UInt64}"
    cut += " OFFSET {offset:UInt64}" if offset else ""
    order = "event_time DESC, id DESC"
    if turned and limit is not None:
        nearest = f"SELECT {columns} FROM {stream} {where} ORDER BY event_time, id{cut}"
        sql = f"SELECT {shown} FROM ({nearest}) AS inner ORDER BY {order}"
    elif safe_text:  # beside, so that the conditions and the order are those of the columns as they are
        sql = f"SELECT {shown} FROM (SELECT {columns} FROM {stream} {where} ORDER BY {order}{cut}) AS inner"
    else:
        sql = f"SELECT {columns} FROM {stream} {where} ORDER BY {order}{cut}"
    probe = bound + 1 if limit is None else min(limit, bound + 1)
    within = f"SELECT 1 FROM {stream} {where} LIMIT {{probe:UInt64}} OFFSET {{offset:UInt64}}"
    parameters = {**where.parameters, "offset": offset, **(csv_cells.PARAMETERS if safe_text else {})}
    return Export(
        Query(f"{stream}_export", sql, parameters if limit is None else {**parameters, "limit": limit}),
        Query(f"{stream}_export_size", f"SELECT count() FROM ({within})", {**parameters, "probe": probe}),
    )


def _shown(stream: Stream, column: str) -> str:
    if column not in TEXT_COLUMNS[stream]:
        return f"`{column}`"
    return f"{csv_cells.safe_expression(f'inner.`{column}`')} AS `{column}`"
