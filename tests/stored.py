"""Rows in ClickHouse as worker and sink would bring them there: decode, enrich, insert with the position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

import builders
from tidegate.contracts.topics import Stream
from tidegate.lookups import Lookups, load
from tidegate.steps.decode import decode_frame
from tidegate.steps.enrich import enrich

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
LOOKUPS: Lookups = load()

SINK_SETTINGS: Mapping[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_insert_block_size": 1_000_000,
    "min_insert_block_size_rows": 1_000_000,
    "min_insert_block_size_bytes": 0,
}


def table(
    stream: Stream,
    events: Sequence[Any],
    *,
    fleet: str = "demo",
    partition: int = 0,
    offset: int = 0,
    epoch: str = EPOCH,
    received_at: int = builders.RECEIVED_AT,
    device: str | None = None,
    origin: str = "",
) -> pa.Table:
    """One frame of events, enriched, with the position columns that the sink adds."""
    lines = [
        builders.envelope(event, fleet=fleet, received_at=received_at, device=device, origin=origin)
        for event in events
    ]
    decoded = decode_frame(
        stream, b"\n".join(lines), fleet=None, device=None, received_at=received_at, fleets=None
    )
    assert not decoded.refused, decoded.refused
    batch = enrich(stream, decoded.columns, LOOKUPS, geohash_precision=6, clock_skew_seconds=86_400)
    rows = batch.num_rows
    return (
        pa.Table.from_batches([batch])
        .append_column("epoch", pa.array([epoch] * rows, pa.string()))
        .append_column("partition", pa.array([partition] * rows, pa.uint32()))
        .append_column("offset", pa.array([offset] * rows, pa.uint64()))
    )


def insert(client: Client, stream: str, rows: pa.Table, *, token: str) -> None:
    """One insert as the sink makes it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=10_000_000)
    names = [f"`{name}`" for name in rows.column_names]
    client.raw_insert(
        f"{client.database}.{stream}",
        column_names=names,
        insert_block=sink.getvalue().to_pybytes(),
        settings={**SINK_SETTINGS, "insert_deduplication_token": token},
        fmt="ArrowStream",
    )


def store(client: Client, stream: Stream, *events: Any, token: str | None = None, **position: Any) -> None:
    """Events as rows of their table."""
    rows = table(stream, events, **position)
    insert(client, stream, rows, token=token or f"{stream}:{position}:{len(events)}")


def plan(
    client: Client,
    stream: Stream,
    offset: int,
    *,
    partition: int = 0,
    rejected: int = 0,
    lines: int = 1,
    duplicates: int = 0,
) -> None:
    """The ledger's row of a batch of one frame."""
    day = date.fromtimestamp(builders.RECEIVED_AT // 1_000_000)
    client.insert(
        "sink_batches",
        [[EPOCH, stream, partition, offset, offset, lines, rejected, duplicates, [day]]],
        column_names=[
            *("epoch", "stream", "partition", "first", "last", "lines", "rejected", "duplicates", "days")
        ],
    )
