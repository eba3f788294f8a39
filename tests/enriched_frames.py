"""Enriched frames for tests of the sink, as a worker would write them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.frames import EnrichedHeaders, Headers, write_arrow, write_headers
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Code, Kind, Reject
from tidegate.contracts.topics import Stream
from tidegate.sink.frame import Frame, read_frame

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
DAY = 86_400_000_000  # µs
TEXTS = {"fleet": "demo", "outcome": "success", "form": "network", "event_type": "Success"}


def now() -> int:
    return time.time_ns() // 1000


def rows(stream: Stream, received: Sequence[int]) -> pa.RecordBatch:
    """A row for each received time, in the stream's columns; what may be null is."""
    count = len(received)
    columns = []
    for field in SCHEMAS[stream]:
        values: Sequence[Any]
        if field.name in ("received_at", "event_time"):
            values = received
        elif field.name == "index":
            values = range(count)
        elif field.nullable:
            values = [None] * count
        elif pa.types.is_string(field.type):
            values = [TEXTS.get(field.name, "")] * count
        else:
            values = [False] * count
        columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS[stream])


def rejects(head: EnrichedHeaders, received_at: int) -> list[Reject]:
    """The rejects that a frame with this head carries, at the indexes behind its rows."""
    return [
        Reject(
            epoch=head.epoch,
            stream=head.stream,
            partition=head.source_partition,
            offset=head.source_offset,
            index=head.accepted + number,
            fleet="demo",
            received_at=received_at,
            stage="decode",
            kind=Kind.VALUE,
            code=Code.WRONG_TYPE,
            path="channel",
            found='"x"',
            allowed="a whole number",
            detail="",
            original='{"channel": "x"}',
            original_encoding="utf8",
        )
        for number in range(head.rejected)
    ]


def record(
    stream: Stream,
    partition: int,
    offset: int,
    *,
    previous: int | None = None,
    epoch: str = EPOCH,
    received: Sequence[int] | None = None,
    count: int = 3,
    rejected: int = 0,
    duplicates: int = 0,
    version: str = "1",
) -> tuple[bytes, Headers]:
    """Value and headers of the frame of one source offset; `received` are its rows' times, else `count`
    rows of now."""
    times = [now()] * count if received is None else received
    head = EnrichedHeaders(
        epoch=epoch,
        stream=stream,
        source_partition=partition,
        source_offset=offset,
        previous_offset=offset - 1 if previous is None else previous,
        lines=len(times) + rejected + duplicates,
        accepted=len(times),
        rejected=rejected,
        duplicates=duplicates,
        transform_version=version,
    )
    refused = rejects(head, times[0] if times else now())
    return write_arrow(rows(stream, times)), write_headers(head, refused)


def frame(offset: int, *, enriched: int | None = None, arrived: float = 0.0, **changed: Any) -> Frame:
    """A frame of client_events partition 0 as the sink holds it."""
    stream = changed.pop("stream", "client_events")
    value, headers = record(stream, changed.pop("partition", 0), offset, **changed)
    at = offset if enriched is None else enriched
    return read_frame(headers, value, offset=at, arrived=arrived)


def ids(stream: Stream, partition: int, offset: int, count: int, *, epoch: str = EPOCH) -> list[str]:
    """The public ids of a frame's first rows."""
    return [Position(epoch, stream, partition, offset, index).id() for index in range(count)]
