"""Whether Arrow bytes of an enriched topic can be used at all: they come from whoever can write there.

What the worker writes is one uncompressed record batch of the stream's own columns, without dictionaries, so
its rows never take more memory than the record's bytes. Anything else is refused before it is used: buffers
that say how large they will be once decompressed, dictionaries that rows multiply, wrong offsets.
"""

from __future__ import annotations

import struct

import pyarrow as pa

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.frames import BadFrame, EnrichedHeaders

REQUIRED = ("fleet", "received_at", "event_time", "index")
_WITHOUT_NULLS = {
    stream: [field.name for field in schema if not field.nullable] for stream, schema in SCHEMAS.items()
}
_COMPRESSION = 3  # of table RecordBatch in Arrow's Message.fbs: length, nodes, buffers, compression
_HEADER = 2  # of table Message: version, header_type, header


def check_arrow(value: bytes, head: EnrichedHeaders) -> None:
    """Raise BadFrame unless `value` is an Arrow IPC stream of `head.accepted` rows in the stream's columns.

    Costs a quarter of a microsecond an event, most of it the look at every offset and character.
    """
    try:
        batch = _only_batch(value, head)
        batch.validate(full=True)
    except BadFrame:
        raise
    except (
        pa.ArrowException,
        StopIteration,
        OSError,
        EOFError,
        ValueError,
        struct.error,
        MemoryError,
    ) as error:
        raise BadFrame(f"not an Arrow IPC stream: {str(error)[:200]}") from error
    if batch.num_rows != head.accepted:
        raise BadFrame(f"it has {batch.num_rows} rows, its header says {head.accepted}")
    for name in _WITHOUT_NULLS[head.stream]:
        position = batch.schema.get_field_index(name)
        if position < 0:
            if name in REQUIRED:
                raise BadFrame(f"column {name} is missing")
        elif batch.column(position).null_count:
            raise BadFrame(f"column {name} has nulls")


def _only_batch(value: bytes, head: EnrichedHeaders) -> pa.RecordBatch:
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(value))
    first = reader.read_next_message()
    if first.type != "schema":
        raise BadFrame(f"it begins with a {first.type}, not with a schema")
    schema = pa.ipc.read_schema(first)
    _check_columns(schema, head)
    second = reader.read_next_message()
    if second.type != "record batch":
        raise BadFrame(f"behind its schema stands a {second.type}")
    if _is_compressed(second.metadata.to_pybytes()):
        raise BadFrame("its buffers are compressed")
    try:
        third = reader.read_next_message()
    except StopIteration:
        return pa.ipc.read_record_batch(second, schema)
    raise BadFrame(f"behind its record batch stands a {third.type}")


def _check_columns(schema: pa.Schema, head: EnrichedHeaders) -> None:
    known = SCHEMAS[head.stream]
    if schema.equals(known):
        return
    if len(set(schema.names)) != len(schema.names):
        raise BadFrame("a column is there twice")
    for field in schema:
        position = known.get_field_index(field.name)
        if position < 0:
            raise BadFrame(f"column {field.name[:64]!r} is none of {head.stream}")
        if field.type != known.field(position).type:
            raise BadFrame(f"column {field.name} is {str(field.type)[:64]}, not {known.field(position).type}")


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's message names a compression, by Arrow's flatbuffer of it."""
    (message,) = struct.unpack_from("<I", metadata, 0)
    header = _field(metadata, message, _HEADER)
    if header is None:
        raise BadFrame("its record batch has no header")
    (step,) = struct.unpack_from("<I", metadata, header)
    return _field(metadata, header + step, _COMPRESSION) is not None


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffer's table stands, None where it is left out."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if vtable < 0:
        raise BadFrame("a flatbuffer points outside")
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * number
    if at + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + at)
    return table + offset if offset else None
