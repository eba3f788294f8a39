"""Rows in ClickHouse as worker and sink would bring them there: decode, enrich, insert with the position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

import builders
from tidegate.contracts.ledger import BatchPlan
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
    "optimize_on_insert": 0,
}


def table(
    stream: Stream,
    events: Sequence[Any],
    *,
    fleet: str = "demo",
    received_at: int = builders.RECEIVED_AT,
    device: str | None = None,
    origin: str = "",
    **position: Any,
) -> pa.Table:
    """One frame of events, enriched, with the position columns that the sink adds."""
    lines = [
        builders.envelope(event, fleet=fleet, received_at=received_at, device=device, origin=origin)
        for event in events
    ]
    return table_of_lines(stream, lines, received_at=received_at, **position)


def table_of_lines(
    stream: Stream,
    lines: Sequence[bytes],
    *,
    partition: int = 0,
    offset: int = 0,
    epoch: str = EPOCH,
    received_at: int = builders.RECEIVED_AT,
    lookups: Lookups | None = None,
) -> pa.Table:
    """The same of envelopes; with `LOOKUPS` as it is at the call, unless others are given."""
    decoded = decode_frame(
        stream, b"\n".join(lines), fleet=None, device=None, received_at=received_at, fleets=None
    )
    assert not decoded.refused, decoded.refused
    tables = lookups or LOOKUPS
    batch = enrich(stream, decoded.columns, tables, geohash_precision=6, clock_skew_seconds=86_400)
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


def batch_plan(
    stream: Stream, offset: int, *, accepted: int, rejected: int = 0, received: datetime
) -> BatchPlan:
    """The ledger's row of a batch of one frame, in partition 0, as the sink plans it."""
    return BatchPlan(
        epoch=EPOCH,
        stream=stream,
        partition=0,
        first=offset,
        last=offset,
        previous=offset - 1,
        enriched_first=offset,
        enriched_last=offset,
        frames=1,
        lines=accepted + rejected,
        accepted=accepted,
        rejected=rejected,
        duplicates=0,
        days=[received.date()],
        transform_version="1",
        generation=1,
        member="test",
        planned_at=datetime.now(UTC) - timedelta(hours=2),
    )
