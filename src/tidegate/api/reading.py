"""Running a named query for a reader: within limits, and with the limit that was hit told to the caller."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clickhouse_connect.driver.exceptions import Error

from tidegate.api.problems import Problem
from tidegate.errors import RetryLater, TidegateError
from tidegate.settings import Settings
from tidegate.store.audit import SETTINGS as AUDIT_SETTINGS
from tidegate.store.audit import Entry
from tidegate.store.client import connect_async, infrastructure
from tidegate.store.queries import Query
from tidegate.telemetry import API_QUERY_SECONDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5

TIMEOUT_EXCEEDED = frozenset({159, 160})  # ran too long, would run too long
MEMORY_LIMIT_EXCEEDED = 241
TOO_MANY_ROWS = frozenset({158, 307, 396})  # of a scan, of bytes, of a result

TAIL_BYTES = 16_384
"""ClickHouse writes an error that comes after the first rows behind them, in at most this many bytes."""
_MARKED = re.compile(rb"__exception__\r\n.*?Code: (\d+)(.*)", re.DOTALL)


class Limits(NamedTuple):
    """What one query may take in ClickHouse. No more than `rows` come out; 0 is no limit of rows."""

    seconds: float
    memory_bytes: int
    rows: int

    def settings(self) -> dict[str, Any]:
        return {
            "max_execution_time": self.seconds,
            "max_memory_usage": self.memory_bytes,
            "max_result_rows": self.rows,
            "result_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            "readonly": 2,  # a query of the API writes nothing, whatever it says
        }


class Reading:
    """The store as the API sees it. The connection is made at the first query and again after trouble."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._away_until = 0.0  # monotonic; requests do not queue up behind attempts to connect
        self.limits = Limits(
            settings.api_query_seconds, settings.api_query_memory_bytes, settings.api_query_rows
        )

    async def rows(self, query: Query) -> list[Sequence[Any]]:
        """The rows of a query. Raises Problem: query_timeout, query_memory, query_too_large, store_away."""
        try:
            with infrastructure(), API_QUERY_SECONDS.labels(query.name).time():
                client = await self._connected()
                result = await client.query(
                    query.sql, parameters=dict(query.parameters), settings=self.limits.settings()
                )
                return list(result.result_rows)
        except (Error, TidegateError) as error:
            raise _problem(query, error, self.limits) from error

    async def pieces(
        self, query: Query, format: str, settings: Mapping[str, Any], limits: Limits
    ) -> AsyncGenerator[bytes, None]:
        """The answer of a query in a format of ClickHouse, piece by piece; closing it ends the query.

        Raises as `rows`, also between pieces. The last pieces are held back until the end is known, so that
        no byte of an error passes for data.
        """
        held: deque[bytes] = deque()
        size = 0
        started = time.monotonic()
        try:
            with infrastructure(), API_QUERY_SECONDS.labels(query.name).time():
                client = await self._connected()
                stream = await client.raw_stream(
                    query.sql,
                    parameters=dict(query.parameters),
                    settings={**limits.settings(), **settings},
                    fmt=format,
                    transport_settings={
                        "Accept-Encoding": "identity"
                    },  # the pieces are handed on as they are
                )
                async with stream:
                    async for piece in stream:
                        held.append(piece)
                        size += len(piece)
                        while size - len(held[0]) >= TAIL_BYTES:
                            size -= len(held[0])
                            yield held.popleft()
        except (Error, TidegateError) as error:
            overtime = time.monotonic() - started >= limits.seconds
            raise _problem(query, error, limits, b"".join(held), overtime=overtime) from error
        for piece in held:
            yield piece

    async def note(self, entry: Entry) -> None:
        """Add an entry to the audit log. Raises Problem `store_away` or `internal`: it may be there."""
        try:
            with infrastructure():
                client = await self._connected()
                await client.insert(
                    "audit", [entry], column_names=Entry._fields, settings=dict(AUDIT_SETTINGS)
                )
        except (Error, TidegateError) as error:
            raise _problem(Query("audit", "", {}), error, self.limits) from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> AsyncClient:
        async with self._lock:
            if self._client is None:
                if time.monotonic() < self._away_until:
                    raise RetryLater("ClickHouse was away a moment ago")
                try:
                    self._client = await connect_async(self._settings)
                except RetryLater:
                    self._away_until = time.monotonic() + RECONNECT_SECONDS
                    raise
            return self._client


def _problem(
    query: Query,
    error: Error | TidegateError,
    limits: Limits,
    tail: bytes = b"",
    *,
    overtime: bool = False,
) -> Problem:
    """What the caller is told. `tail` is the end of an answer that broke off: it holds the error, unless
    that was lost with the connection. Then it was the time limit if the query ran so long."""
    cause = error if isinstance(error, Error) else error.__cause__
    code, text = getattr(cause, "code", None), str(cause)
    if code is None and (marked := _MARKED.search(tail)):
        code, text = int(marked[1]), marked[2].decode("utf-8", "replace")
    if code in TIMEOUT_EXCEEDED or (code is None and overtime):
        return Problem("query_timeout", allowed=f"{limits.seconds:g} seconds")
    # A server whose memory is full fails queries that are within their own limit.
    if code == MEMORY_LIMIT_EXCEEDED and "(total)" not in text:
        return Problem("query_memory", allowed=f"{limits.memory_bytes} bytes")
    if code in TOO_MANY_ROWS:
        return Problem("query_too_large", allowed=f"{limits.rows} rows")
    if isinstance(error, RetryLater):
        log.warning("query %s: %s", query.name, error)
        return Problem("store_away", headers={"retry-after": str(max(1, round(error.after_seconds)))})
    log.error("query %s failed", query.name, exc_info=error)
    return Problem("internal", f"query {query.name} failed")
