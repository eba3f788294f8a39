"""`GET /api/v1/live`: server-sent events of one fleet: the overview as it is, and each change of an alert.

    id: 1764146765000000-5f1c…
    event: overview        the newest state, when it has changed; at most one a second
    event: alert           one change of an alert (contracts/alerts.py), in the order of its time

An id says how far the alerts were sent and which overview was seen. Who comes back with `Last-Event-ID` gets
the changes of alerts since, from a minute before on (known by `id` and `sequence`), and the overview if it
is another. A comment every 15 seconds keeps the connection; `retry:` says when to come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from starlette.requests import Request

from tidegate.api.access import AnyReader, Reader, still_reads
from tidegate.api.insight import calls as insight
from tidegate.api.insight.assemble import alert_of
from tidegate.api.insight.request import Asking, InsightRequest
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.store import dashboard

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", tags=["insight"])

TICK = 1.0  # s between looks at the store; each costs as much as one overview, however many follow
HEARTBEAT = 15.0
RETRY_MS = 3000
OVERLAP = 60_000_000  # µs of alerts that are sent again: changes are stored in another order than their time
LONGEST_BACK = 86_400_000_000
CHANGES = 500
MOST_SENT = 10_000  # changes of alerts that one connection knows to have sent
NOTHING = "0" * 16  # in place of an overview that was seen
Ask = Callable[[], Awaitable[dict[str, Any]]]
_ID = re.compile(r"([0-9]{1,17})-([0-9a-f]{16})")


class Feed:
    """One fleet's newest state, asked for while somebody follows it: at most once a TICK, so that who follows
    need not wait another one between two messages."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self.digest = ""
        self.document: dict[str, Any] = {}

    async def wait(self, seen: str, seconds: float) -> bool:
        """Until the state is another than `seen`; False after so many seconds, or when the feed ends."""
        try:
            async with asyncio.timeout(seconds):
                while not self.digest or self.digest == seen:
                    if self._task.done():
                        return False
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        self._task.cancel()
        self._task.add_done_callback(lambda _: self._changed.set())

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            document, digest = await self._state()
            if digest != self.digest:
                self.document, self.digest = document, digest
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(max(TICK / 4, TICK - (time.monotonic() - began)))

    async def _state(self) -> tuple[dict[str, Any], str]:
        try:
            document = await self._ask()
        except Problem as problem:
            document = {"problem": problem.code}
        except Exception:
            log.exception("live: the overview failed")
            document = {"problem": "internal"}
        return document, digest_of(document)


@dataclass(slots=True, eq=False)
class Follower:
    """One answer that goes on. `ended`: another fleet's has its place."""

    fleet: str
    feed: Feed
    ended: bool = False


class Live:
    """Who follows which fleet, within a bound.

    Where there is no place left, the fleet that has most of them gives one to a fleet that has fewer: nobody
    keeps another fleet's people out by following often.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._followers: dict[str, list[Follower]] = {}  # by fleet, in the order in which they came
        self.connections = 0
        self.closing = False

    def check(self, fleet: str) -> None:
        """Raises Problem `live_busy` where no more may follow."""
        if self.closing or (self.connections >= self._most and self._giving(fleet) is None):
            raise Problem("live_busy", f"{self._most} follow already", headers={"retry-after": "30"})

    def join(self, fleet: str, ask: Ask) -> Follower:
        if self.connections >= self._most and (giving := self._giving(fleet)) is not None:
            self.leave(giving)
            giving.ended = True
        self.connections += 1
        mine = self._followers.setdefault(fleet, [])
        follower = Follower(fleet, mine[0].feed if mine else Feed(ask))
        mine.append(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        if follower.ended:
            return
        self.connections -= 1
        mine = self._followers[follower.fleet]
        mine.remove(follower)
        if not mine:
            follower.feed.end()
            del self._followers[follower.fleet]

    def _giving(self, fleet: str) -> Follower | None:
        """Who gives way to one more of a fleet: the last that came of the fleet that has most."""
        most = max(self._followers.values(), key=len, default=[])
        return most[-1] if len(most) > len(self._followers.get(fleet, ())) + 1 else None

    def close(self) -> None:
        """End every answer: the process stops."""
        self.closing = True
        for mine in self._followers.values():
            mine[0].feed.end()


def digest_of(document: dict[str, Any]) -> str:
    """Of what a reader would see change: not of the queries and the age."""
    seen = {name: value for name, value in document.items() if name not in ("sql", "age_seconds")}
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()[:16]


def message(event: str, id: str, document: Any) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), event.encode(), msgspec.json.encode(document))


@router.get(
    "/live",
    summary="Follow the overview and the alerts",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    response_class=Response,
)
async def live(
    request: Request,
    asking: Asking,
    reader: AnyReader,
    last_event_id: Annotated[str, Header(description="Go on behind this event", max_length=64)] = "",
) -> Response:
    """Server-sent events: `overview` (the state, when it changes, at most once a second) and `alert` (each
    change of an alert)."""
    fleet = asking.fleet
    following: Live = request.app.state.live
    still = Reader(reader.name, reader.role, fleet)

    async def ask() -> dict[str, Any]:
        answer = await insight.overview(
            request, InsightRequest(request, fleet, time.time()), still, None, 15, None
        )
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    following.check(fleet)
    return StreamingResponse(
        _events(request, following, fleet, ask, last_event_id),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},  # of nginx: it would hold events back
    )


async def _events(
    request: Request, following: Live, fleet: str, ask: Ask, last: str
) -> AsyncGenerator[bytes, None]:
    follower = following.join(fleet, ask)
    feed = follower.feed
    try:
        match = _ID.fullmatch(last)
        now = int(time.time() * 1e6)
        cursor = max(int(match[1]), now - LONGEST_BACK) if match else now
        seen = match[2] if match else ""
        sent: dict[tuple[str, int], None] = {}
        fresh = match is None
        yield b"retry: %d\n\n" % RETRY_MS
        while not following.closing:
            changed = await feed.wait(seen, HEARTBEAT)
            if not still_reads(request, fleet):
                return  # the token ended: the next attempt gets a 401
            if follower.ended:
                return
            if not changed:
                yield b": still here\n\n"
                continue
            if "problem" not in feed.document:
                async for alert in _changes(request, fleet, cursor - OVERLAP):
                    key = (alert["id"], alert["sequence"])
                    if key in sent:
                        continue
                    sent[key] = None
                    # What says that it is of a time to come must not hide what comes until then.
                    cursor = max(cursor, min(alert.pop("at"), int(time.time() * 1e6)))
                    if not fresh:  # who begins now is told what comes, not what was
                        yield message("alert", f"{cursor}-{seen or NOTHING}", alert)
                fresh = False
                while len(sent) > MOST_SENT:
                    del sent[next(iter(sent))]
            seen = feed.digest
            yield message("overview", f"{cursor}-{seen}", feed.document)
    finally:
        following.leave(follower)


async def _changes(request: Request, fleet: str, since: int) -> AsyncGenerator[dict[str, Any], None]:
    """All of them: a fleet that fails everywhere has more in a minute than one answer holds."""
    reading: Reading = request.app.state.reading
    after = (since, "", -1)
    while True:
        try:
            rows = await reading.rows(dashboard.alert_changes(fleet, after, CHANGES))
        except Problem:
            return  # the next change of the overview asks again, from the same time on
        for row in rows:
            found = {**alert_of(row[:-1]), "at": row[-1]}
            after = (found["at"], found["id"], found["sequence"])
            yield found
        if len(rows) < CHANGES:
            return
