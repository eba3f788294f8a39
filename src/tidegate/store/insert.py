"""Sending one block, so that it lands once however often it is sent.

An error means that the outcome is unknown, never that nothing was inserted: the caller sends the same
block with the same token until ClickHouse answers.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import zstandard
from clickhouse_connect.driver.client import Client

from tidegate.errors import RetryLater
from tidegate.store.client import infrastructure

ABOVE_EVERY_BATCH = 1 << 40  # rows or bytes

PINNED: dict[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One insert is one block: the server neither splits it nor waits for more.
    "max_insert_block_size": ABOVE_EVERY_BATCH,
    "min_insert_block_size_rows": ABOVE_EVERY_BATCH,
    "min_insert_block_size_bytes": ABOVE_EVERY_BATCH,
    # Rows of one key come together in merges: doing it at each insert costs a tenth of it.
    "optimize_on_insert": 0,
    # An answer comes behind the end of the insert, views included.
    "wait_end_of_query": 1,
}


class InsertBlock(NamedTuple):
    """The rows of one insert: of one table and one received day."""

    table: str
    columns: list[str]
    token_suffix: str  # behind the plan's token
    rows: int
    body: pa.Buffer  # an Arrow stream of one record batch


def insert(client: Client, database: str, block: InsertBlock, token: str) -> None:
    """Insert `block` once under `token`. Raises RetryLater: send it again; Error of the driver: ClickHouse
    refuses it as it is (schema), which an operator can mend.
    """
    body: memoryview | bytes = memoryview(block.body)
    compression = client.write_compression if client.write_compression == "zstd" else None
    if compression:
        body = zstandard.ZstdCompressor(level=1).compress(body)
    with infrastructure():
        summary = client.raw_insert(
            f"{database}.{block.table}",
            block.columns,
            body,  # type: ignore[arg-type]  # a buffer is sent as it is
            settings={**PINNED, "insert_deduplication_token": token},
            fmt="ArrowStream",
            compression=compression,
        )
    if "written_rows" not in summary.summary:
        raise RetryLater(f"ClickHouse answered the insert into {block.table} without a summary")
