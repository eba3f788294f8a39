"""Rows on their way into ClickHouse: gathered, and inserted in a thread."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from benchmarks.peers.models import DATABASE, Table

BATCH_ROWS = 20_000
BATCH_SECONDS = 0.5


def connect(url: str) -> Client:
    parts = urlsplit(url)
    return clickhouse_connect.get_client(
        host=parts.hostname or "",
        port=parts.port or 8123,
        username=parts.username,
        password=parts.password or "",
        autogenerate_session_id=False,
    )


class Rows:
    """Gathers the lines of one table. `first` is the epoch second of the first line, 0 before it."""

    def __init__(self, client: Client, table: Table) -> None:
        self._client = client
        self._table = f"{DATABASE}.{table}"
        self._lines: list[bytes] = []
        self._flushed = time.monotonic()
        self._insert: asyncio.Task[object] | None = None
        self.first = 0.0

    def add(self, line: bytes) -> bool:
        """True when it is time to flush."""
        if not self.first:
            self.first = time.time()
        self._lines.append(line)
        return len(self._lines) >= BATCH_ROWS

    @property
    def late(self) -> bool:
        return bool(self._lines) and time.monotonic() - self._flushed > BATCH_SECONDS

    async def flush(self) -> None:
        """Begin the insert of what is there, once the one before is done: one at a time, beside the rest."""
        lines, self._lines = self._lines, []
        self._flushed = time.monotonic()
        if self._insert is not None:
            await self._insert
        if lines:
            self._insert = asyncio.create_task(
                asyncio.to_thread(
                    self._client.raw_insert, self._table, insert_block=b"\n".join(lines), fmt="JSONEachRow"
                )
            )


def say_first(rows: list[Rows], path: str) -> None:
    """Leave the time of the first event where the measurement looks for it."""
    begun = [one.first for one in rows if one.first]
    if begun:
        with open(path, "w", encoding="ascii") as file:
            file.write(repr(min(begun)))
