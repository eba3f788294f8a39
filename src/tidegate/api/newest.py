"""The newest rows of a list: of the last days first, of older ones where those do not suffice.

A table has a part for each received day at least, and a list without a beginning would open them all for a
page that the newest few fill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tidegate.api.reading import Reading
from tidegate.store.queries import ClientEvents, DeviceLogs, Query

ROWS = 200  # of a page that the last days may well fill
DAYS = 7
DAY_MICROS = 86_400_000_000

Wanted = TypeVar("Wanted", ClientEvents, DeviceLogs)


async def newest(
    reading: Reading,
    wanted: Wanted,
    query: Callable[[Wanted, int], Query],
    limit: int,
    *,
    before: int | None = None,
) -> list[Sequence[Any]]:
    """The first `limit` rows of what is wanted, which `query(wanted, limit)` asks for newest first.

    `before` is a time that no row lies behind, where the query itself says so (µs). Raises as Reading.rows.
    """
    last = min(at for at in (time.time_ns() // 1000, before, wanted.until) if at is not None)
    begin = last - DAYS * DAY_MICROS
    if limit > ROWS or begin < 0 or (wanted.since is not None and wanted.since >= begin):
        return await reading.rows(query(wanted, limit))
    rows = await reading.rows(query(replace(wanted, since=begin), limit))
    if len(rows) < limit:
        rows += await reading.rows(query(replace(wanted, until=begin - 1), limit - len(rows)))
    return rows
