"""A request to an insight call: its fleet, its window, and the queries that answer it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Query
from pydantic import BeforeValidator
from starlette.requests import Request

from tidegate.api.access import AnyReader, Reader
from tidegate.api.answer_cache import AnswerCache
from tidegate.api.parameters import Instant, choice
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.settings import Settings
from tidegate.store import insight as questions
from tidegate.store import site_events, site_levels
from tidegate.store.insight import Counted, Window
from tidegate.store.queries import Query as StoreQuery

WINDOWS: Mapping[str, int] = {
    "2h": 7200,
    "4h": 14_400,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
    "1w": 604_800,
}

HOUR = 3600

DAY = 86_400

LONGEST = 31 * DAY

PAST_SECONDS = 300.0  # for which an answer about the past is used

PAST_MEANWHILE = 3600.0  # for which it is used while the next one is under way: nobody waits for a week

SETTLED_AFTER = 120  # s behind a window's end, from which on what was received in it is stored

SETTLED_SECONDS = 30.0  # for which an answer about such a window is used

SHARED_SECONDS = 1.0  # for which one about a window that is under way is: readers ask for the same minutes

COUNTED_SECONDS = 30.0  # for which it is used which hours are counted, and which minutes copied

Row = dict[str, Any]

WindowName = Annotated[Literal["2h", "4h", "8h", "12h", "1d", "1w"], BeforeValidator(choice(*WINDOWS))]


class InsightRequest:
    """Its fleet, its window, and the queries that were made for it."""

    def __init__(self, request: Request, fleet: str, now: float) -> None:
        self.request = request
        self.fleet = fleet
        self.now = now
        self.queries: list[StoreQuery] = []
        self._counted: Counted | None = None

    @property
    def settings(self) -> Settings:
        settings: Settings = self.request.app.state.settings
        return settings

    async def rows(self, query: StoreQuery, *, fresh: float = 0.0) -> list[Sequence[Any]]:
        """As Reading.rows; the query is shown beside the answer. It is asked once where several ask it at the
        same time, and not again within `fresh` seconds."""
        self._asked(query)
        reading: Reading = self.request.app.state.reading
        cache: AnswerCache = self.request.app.state.query_cache
        key = (query.sql, *parameters_of(query))
        ask = partial(reading.rows, query)
        return (await cache.ask(key, ask, fresh=fresh, away=0.0, keep=fresh > 0)).value

    async def recent(
        self, query: StoreQuery, *of: Hashable, seconds: float, meanwhile: float = 0.0
    ) -> list[Sequence[Any]]:
        """The rows of this query, or of one of the same name and `of` that was asked of the fleet at most so
        many seconds ago, or `meanwhile` seconds while this one is asked, never older ones; the one that was
        asked is shown beside the answer."""
        reading: Reading = self.request.app.state.reading
        cache: AnswerCache = self.request.app.state.answer_cache

        async def ask() -> tuple[StoreQuery, list[Sequence[Any]]]:
            return query, await reading.rows(query)

        key = (query.name, self.fleet, *of)
        asked, rows = (await cache.ask(key, ask, fresh=seconds, meanwhile=meanwhile, away=0.0)).value
        self._asked(asked)
        return rows

    def _asked(self, query: StoreQuery) -> None:
        if query not in self.queries:
            self.queries.append(query)

    async def of_the_past(self, query: StoreQuery, *of: Hashable) -> list[Sequence[Any]]:
        """As `recent`, of the same parameters unless `of` says of what: events of the past are those that
        were received then. The first reader behind five minutes does not wait for what has changed."""
        return await self.recent(
            query, *(of or parameters_of(query)), seconds=PAST_SECONDS, meanwhile=PAST_MEANWHILE
        )

    async def window(self, since: int, until: int, site: str | None = None) -> Window:
        """Of the fleet, with the hours of it that the tables of hours have."""
        if self._counted is None:
            [found] = await self.recent(questions.counted_hours(self.fleet), seconds=COUNTED_SECONDS)
            self._counted = Counted(*found)
        return Window(fleet=self.fleet, since=since, until=until, site=site, counted=self._counted)

    async def within(
        self, window: Window, *queries: StoreQuery, moving: bool = False
    ) -> list[list[Sequence[Any]]]:
        """The rows of queries of a window, asked side by side. What was received in one that has been over
        for a while does not change: answers about it are used for half a minute, others for a second. One
        that is `moving` ends where the data do: where the sink is behind, it is over and still changes."""
        settled = not moving and window.until + SETTLED_AFTER <= self.now
        fresh = SETTLED_SECONDS if settled else SHARED_SECONDS
        return list(await asyncio.gather(*(self.rows(query, fresh=fresh) for query in queries)))

    async def with_copy(self, window: Window) -> Window:
        """The window, with what of it the copy that is sorted by site has whole, and the table of levels."""
        since, until = site_levels.begins(window.since) // HOUR * HOUR, -(-window.until // HOUR) * HOUR
        fine = int(self.now) // HOUR * HOUR - site_events.FINE_HOURS * HOUR
        asked = site_events.copied(self.fleet, since, until, fine)
        [(copied, apart, quarters)] = await self.recent(asked, since, until, fine, seconds=COUNTED_SECONDS)
        return replace(
            window,
            copied=site_events.of_slices(since, copied, fine, apart),
            levelled=site_levels.of_quarters(window.since, window.until, self.now, quarters),
        )

    def head(self, since: int, until: int, newest: int | None) -> Row:
        """What every answer begins with; `newest` is the newest event's received time (µs)."""
        return {
            "fleet": self.fleet,
            "from": seconds_text(since),
            "to": seconds_text(until),
            "data_up_to": None if newest is None else micros_text(newest),
            "age_seconds": None if newest is None else round(max(0.0, self.now - newest / 1e6), 1),
            "sql": [
                {"name": query.name, "text": query.sql, "parameters": query.parameters}
                for query in sorted(self.queries, key=lambda query: query.name)
            ],
        }


def parameters_of(query: StoreQuery) -> tuple[tuple[str, str], ...]:
    """What tells the query apart from others of its text."""
    return tuple(sorted((name, str(value)) for name, value in query.parameters.items()))


async def asked(
    request: Request,
    reader: AnyReader,
    fleet: Annotated[
        str | None, Query(description="Fleet to look at, for superusers; the token's own otherwise")
    ] = None,
) -> InsightRequest:
    """Raises Problem `forbidden` for another fleet than the token's, `missing_parameter` where a superuser
    has to name one."""
    return InsightRequest(request, await _fleet(request, reader, fleet), time.time())


async def _fleet(request: Request, reader: Reader, fleet: str | None) -> str:
    if reader.fleet is not None:
        if fleet not in (None, "", reader.fleet):
            raise Problem("forbidden", "the token is of another fleet", path="fleet")
        return reader.fleet
    if fleet:
        return fleet
    known = await known_fleets(request)
    if len(known) > 1:
        raise Problem("missing_parameter", "fleet is required", path="fleet", allowed=", ".join(known[:20]))
    return known[0] if known else ""


async def known_fleets(request: Request) -> list[str]:
    reading: Reading = request.app.state.reading
    return [str(fleet) for (fleet,) in await reading.rows(questions.fleets())]


Asking = Annotated[InsightRequest, Depends(asked)]


class Span(NamedTuple):
    """Half open, whole minutes, seconds since 1970."""

    since: int
    until: int


async def span(
    asking: Asking,
    window: Annotated[WindowName | None, Query(description="Length of the window; 2h unless given")] = None,
    since: Annotated[
        Instant | None, Query(alias="from", description="Start, to the minute, in place of `window`")
    ] = None,
    until: Annotated[
        Instant | None, Query(alias="to", description="End, not included, to the minute; now unless given")
    ] = None,
) -> Span:
    """The window that is asked for. Raises Problem where it is empty, too long, or no longer kept."""
    return bounds(asking.settings, asking.fleet, window, since, until, asking.now)


def bounds(
    settings: Settings, fleet: str, window: str | None, since: int | None, until: int | None, now: float
) -> Span:
    """As `span`; `since` and `until` in µs, `now` in s."""
    if window is not None and since is not None:
        raise Problem(
            "out_of_range",
            "`window` and `from` exclude each other",
            path="window",
            found=window,
            allowed="`window` or `from`",
        )
    end = math.ceil(now) if until is None else -(-until // 1_000_000)
    end = min(-(-end // 60) * 60, -(-math.ceil(now) // 60) * 60)
    begin = end - WINDOWS[window or "2h"] if since is None else since // 60_000_000 * 60
    if begin >= end:
        raise Problem("out_of_range", "the window is empty", path="to", allowed="a time after `from`")
    if end - begin > LONGEST:
        raise Problem("out_of_range", "the window is too long", path="from", allowed="31 days at most")
    kept = kept_since(settings, fleet, now)
    if begin < kept:
        raise Problem(
            "out_of_range",
            f"what is older than {kept_days(settings, fleet)} days is no longer kept",
            path="from",
            found=seconds_text(max(0, begin)),
            allowed=f"times since {seconds_text(kept)}",
        )
    return Span(max(0, begin), end)


def kept_days(settings: Settings, fleet: str) -> int:
    """How long everything that a window of a fleet needs is kept; 0 for ever."""
    days = [each for each in (settings.ttl_client_events_days, settings.ttl_rollups_1m_days) if each]
    return settings.kept_days(fleet, min(days, default=0))


def kept_since(settings: Settings, fleet: str, now: float) -> int:
    """The first second of which everything is still there: rows are deleted a received day at a time."""
    days = kept_days(settings, fleet)
    return 0 if not days else int(now) // DAY * DAY - (days - 1) * DAY


Spanned = Annotated[Span, Depends(span)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micros_text(micros: int) -> str:
    """ISO 8601 with microseconds: two events of one client may be that near."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")
