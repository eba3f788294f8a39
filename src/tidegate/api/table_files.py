"""Rows that this process has in memory, written in the formats that ClickHouse writes for exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

Row = Mapping[str, Any]

PIECE_ROWS = 1000
_json = msgspec.json.Encoder().encode


def written(format: str, schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    """The file in pieces of some thousand rows. `format` is ndjson, csv, arrow or parquet; each row has the
    fields of the schema. In CSV a list is JSON text and null is empty."""
    return _WRITERS[format](schema, rows)


def _ndjson(schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    for part in _parts(rows):
        yield b"".join(_json(row) + b"\n" for row in part)


def _csv(schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    head: list[list[Any]] = [schema.names]
    for part in _parts(rows):
        text = io.StringIO()
        lines = [[_cell(row[name]) for name in schema.names] for row in part]
        csv.writer(text, lineterminator="\n").writerows(head + lines)
        head = []
        yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    return _json(value).decode() if isinstance(value, list | tuple) else value


def _arrow(schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for part in _parts(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(list(part), schema=schema))
            yield _taken(sink)
    yield _taken(sink)


def _parquet(schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    from pyarrow import parquet

    sink = io.BytesIO()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))
    yield sink.getvalue()


def _taken(sink: io.BytesIO) -> bytes:
    piece = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return piece


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """At least one, so that an empty file has its head."""
    for start in range(0, max(1, len(rows)), PIECE_ROWS):
        yield rows[start : start + PIECE_ROWS]


_WRITERS: Mapping[str, Callable[[pa.Schema, Sequence[Row]], Iterator[bytes]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "arrow": _arrow,
    "parquet": _parquet,
}
