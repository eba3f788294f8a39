"""Running a named query for a reader: within limits, and with the limit that was hit told to the caller."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import Error

from tidegate.api.problems import Problem
from tidegate.errors import RetryLater, TidegateError
from tidegate.settings import Settings
from tidegate.store.client import connect_async, infrastructure
from tidegate.store.queries import Query
from tidegate.telemetry import API_QUERY_SECONDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5

TIMEOUT_EXCEEDED = 159
MEMORY_LIMIT_EXCEEDED = 241
TOO_MANY_ROWS = frozenset({158, 307, 396})  # of a scan, of bytes, of a result


class Reading:
    """The store as the API sees it. The connection is made at the first query and again after trouble."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._away_until = 0.0  # monotonic; requests do not queue up behind attempts to connect
        self._limits: dict[str, Any] = {
            "max_execution_time": settings.api_query_seconds,
            "max_memory_usage": settings.api_query_memory_bytes,
            "max_result_rows": settings.api_query_rows,
            "result_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            "readonly": 2,  # a query of the API writes nothing, whatever it says
        }

    async def rows(self, query: Query) -> list[Sequence[Any]]:
        """The rows of a query. Raises Problem: query_timeout, query_memory, query_too_large, store_away."""
        try:
            with infrastructure(), API_QUERY_SECONDS.labels(query.name).time():
                client = await self._connected()
                result = await client.query(
                    query.sql, parameters=dict(query.parameters), settings=self._limits
                )
                return list(result.result_rows)
        except (Error, TidegateError) as error:
            raise self._problem(query, error) from error

    async def pieces(
        self, query: Query, format: str, settings: Mapping[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        """The answer of a query in a format of ClickHouse, piece by piece; `settings` over the limits.

        Raises as `rows`, also between pieces.
        """
        try:
            with infrastructure(), API_QUERY_SECONDS.labels(query.name).time():
                client = await self._connected()
                stream = await client.raw_stream(
                    query.sql,
                    parameters=dict(query.parameters),
                    settings={**self._limits, **settings},
                    fmt=format,
                    transport_settings={
                        "Accept-Encoding": "identity"
                    },  # the pieces are handed on as they are
                )
                async with stream:
                    async for piece in stream:
                        yield piece
        except (Error, TidegateError) as error:
            raise self._problem(query, error) from error

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

    def _problem(self, query: Query, error: Error | TidegateError) -> Problem:
        cause = error if isinstance(error, Error) else error.__cause__
        code = getattr(cause, "code", None)
        settings = self._settings
        if code == TIMEOUT_EXCEEDED:
            return Problem("query_timeout", allowed=f"{settings.api_query_seconds:g} seconds")
        if code == MEMORY_LIMIT_EXCEEDED:
            return Problem("query_memory", allowed=f"{settings.api_query_memory_bytes} bytes")
        if code in TOO_MANY_ROWS:
            return Problem("query_too_large", allowed=f"{settings.api_query_rows} rows")
        if isinstance(error, RetryLater):
            log.warning("query %s: %s", query.name, error)
            return Problem("store_away", headers={"retry-after": str(max(1, round(error.after_seconds)))})
        log.error("query %s failed", query.name, exc_info=error)
        return Problem("internal", f"query {query.name} failed")
