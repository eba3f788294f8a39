"""The answers of the insight calls, as the pages show them: what a page says is what the API answers."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.access import Reader
from tidegate.api.answer_cache import Answer, AnswerCache
from tidegate.api.insight import calls as insight
from tidegate.api.insight.request import InsightRequest, Span, bounds
from tidegate.api.sessions import Person

Document = dict[str, Any]
NOW_MINUTES = 15
CONTRAST_SECONDS = 10.0  # that a site's contrast is shown before it is asked for again


def _read(answer: Response) -> Document:
    found: Document = msgspec.json.decode(answer.body)
    return found


async def overview(request: Request, person: Person) -> Answer[Document]:
    """`GET /api/v1/insight/overview` of the person's fleet, at most a second old."""
    cache: AnswerCache = request.app.state.answer_cache
    reader = Reader(person.name, person.role, person.fleet)

    async def ask() -> Document:
        asking = InsightRequest(request, person.fleet, time.time())
        return _read(await insight.overview(request, asking, reader, None, NOW_MINUTES, None))

    return await cache.ask(("overview", person.fleet), ask)


async def site(request: Request, person: Person, name: str, within: Span) -> Answer[Document]:
    """`GET /api/v1/insight/sites/{site}`. Raises Problem `not_found`."""
    cache: AnswerCache = request.app.state.answer_cache

    async def ask() -> Document:
        asking = InsightRequest(request, person.fleet, time.time())
        return _read(await insight.one_site(request, asking, within, None, name, "series"))

    return await cache.ask(("site", person.fleet, name, within), ask)


async def contrast(
    request: Request, person: Person, name: str | None, stage: str | None, within: Span
) -> Answer[Document]:
    """`GET /api/v1/insight/contrast`."""
    cache: AnswerCache = request.app.state.answer_cache

    async def ask() -> Document:
        asking = InsightRequest(request, person.fleet, time.time())
        return _read(await insight.contrast(request, asking, within, None, name, stage, None, "values"))

    return await cache.ask(("contrast", person.fleet, name, stage, within), ask, fresh=CONTRAST_SECONDS)


async def changes(
    request: Request, person: Person, name: str | None, onset: int, within: Span
) -> Answer[Document]:
    """`GET /api/v1/insight/changes` from half an hour before the onset (µs) on."""
    cache: AnswerCache = request.app.state.answer_cache

    async def ask() -> Document:
        asking = InsightRequest(request, person.fleet, time.time())
        return _read(await insight.changes(request, asking, within, None, name, onset))

    return await cache.ask(("changes", person.fleet, name, onset, within), ask, fresh=CONTRAST_SECONDS)


def last_minutes(request: Request, fleet: str, until: int, minutes: int = NOW_MINUTES) -> Span:
    """The span of so many minutes before `until` (s), as far as it is kept."""
    settings = request.app.state.settings
    since = max(0, until - minutes * 60)
    return bounds(settings, fleet, None, since * 1_000_000, until * 1_000_000, time.time())
