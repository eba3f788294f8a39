"""Rows that this process has in memory, written in the formats that ClickHouse writes for exports."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from tidegate.contracts import csv_cells

Row = Mapping[str, Any]

PIECE_ROWS = 1000
_json = msgspec.json.Encoder().encode


def written(format: str, schema: pa.Schema, rows: Sequence[Row], *, csv_safe: bool = True) -> Iterator[bytes]:
    """The file in pieces of some thousand rows. `format` is ndjson, csv, arrow or parquet; each row has the
    fields of the schema. In CSV a list is JSON text and null is empty; `csv_safe`: no text is a formula."""
    if format == "csv":
        return _csv(schema, rows, csv_cells.safe if csv_safe else str)
    return _WRITERS[format](schema, rows)


def _ndjson(schema: pa.Schema, rows: Sequence[Row]) -> Iterator[bytes]:
    for part in _parts(rows):
        yield b"".join(_json(row) + b"\n" for row in part)


def _csv(schema: pa.Schema, rows: Sequence[Row], text_cell: Callable[[str], str]) -> Iterator[bytes]:
    head: list[list[Any]] = [schema.names]
    for part in _parts(rows):
        text = io.StringIO()
        lines = [[_cell(row[name], text_cell) for name in schema.names] for row in part]
        csv.writer(text, lineterminator="\n").writerows(head + lines)
        head = []
        yield text.getvalue().encode()


def _cell(value: Any, text_cell: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text_cell(value)
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
    "arrow": _arrow,
    "parquet": _parquet,
}
