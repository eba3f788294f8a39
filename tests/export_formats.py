"""Exports read back: the rows of NDJSON, CSV, Arrow and Parquet as one shape, for comparison."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet

FORMATS = ("ndjson", "csv", "arrow", "parquet")
MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
Row = dict[str, Any]


def table(format: str, content: bytes) -> pa.Table:
    if format == "parquet":
        return pa.parquet.read_table(pa.BufferReader(content))
    return pa.ipc.open_stream(content).read_all()


def rows(format: str, content: bytes) -> list[Row]:
    """As the format gives them: Arrow and Parquet with their types, NDJSON with JSON's, CSV as text."""
    if format == "ndjson":
        assert content == b"" or content.endswith(b"\n")
        return [json.loads(line) for line in content.split(b"\n")[:-1]]
    if format == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    found: list[Row] = table(format, content).to_pylist()
    return found


def typed(found: list[Row], types: Mapping[str, pa.DataType]) -> list[Row]:
    """Times as microseconds, text of CSV as what it spells; in CSV an empty field is None."""
    return [{name: _value(value, types[name]) for name, value in row.items()} for row in found]


def _value(value: Any, type: pa.DataType) -> Any:
    if pa.types.is_timestamp(type) and value:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        assert moment.tzinfo is not None
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if not isinstance(value, str) or pa.types.is_string(type):
        return value
    if value == "":
        return None
    if pa.types.is_list(type) or pa.types.is_boolean(type):
        return json.loads(value)
    return float(value) if pa.types.is_floating(type) else int(value)
