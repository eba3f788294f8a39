"""Answers of any length, sent piece by piece while ClickHouse makes them: exports and association files.

So many may be under way at once, of each token and fleet too. A client that goes away or is too slow ends its
query; an error behind the first piece breaks the connection off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Self

from fastapi.responses import Response, StreamingResponse
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tidegate.api.access import Reader
from tidegate.api.export_audit import note_export
from tidegate.api.export_slots import Bounds, Slots
from tidegate.api.problems import Problem
from tidegate.api.slow_readers import TooSlow
from tidegate.telemetry import API_FILES, API_FILES_REFUSED

log = logging.getLogger(__name__)

BUSY_SECONDS = 5
FULL = {
    "all": "this process sends as many exports as it may (api_exports)",
    "fleet": "as many exports of the fleet are under way as there may be (api_exports_per_fleet)",
    "token": "as many exports of the token are under way as there may be (api_exports_per_token)",
}
CLIENT_GONE = 499  # nobody reads it; the metrics do


class Files:
    """The slots for files under way in this process."""

    def __init__(self, bounds: Bounds) -> None:
        self._slots = Slots(bounds)

    def slot(self, request: Request) -> Slot:
        """One of them, for the request's reader. Raises Problem `exports_busy` where its share is taken."""
        reader: Reader = request.state.reader
        taken = self._slots.take(reader.name, reader.fleet)
        if isinstance(taken, str):
            API_FILES_REFUSED.labels(taken).inc()
            raise Problem("exports_busy", FULL[taken], headers={"retry-after": str(BUSY_SECONDS)})
        return Slot(taken)


class Slot:
    """Given back at the end of the `with` block, or at the end of the answer that was made in it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._handed_on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._handed_on:
            self._give_back()

    async def answer(
        self,
        request: Request,
        pieces: AsyncGenerator[bytes, None],
        *,
        name: str,
        media_type: str,
        extension: str,
        head: bytes = b"",
    ) -> Response:
        """The pieces behind `head`, as a file, once it is in the audit log. What goes wrong before the first
        piece is raised."""
        first = await _unless_gone(request, pieces)
        if first is None:
            await pieces.aclose()
            API_FILES.labels(name, "left").inc()
            return Response(status_code=CLIENT_GONE)
        try:
            await note_export(request, extension)
        except Problem:
            await pieces.aclose()
            raise
        self._handed_on = True
        return _File(
            head + first, pieces, self._give_back, name=name, media_type=media_type, extension=extension
        )


async def _unless_gone(request: Request, pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    """The first piece, b"" if there is none; None when the client went away before it came."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    first = asyncio.ensure_future(anext(pieces, b""))
    leaving = asyncio.create_task(gone())
    try:
        await asyncio.wait((first, leaving), return_when=asyncio.FIRST_COMPLETED)
        return first.result() if first.done() else None
    finally:
        leaving.cancel()
        first.cancel()
        await asyncio.gather(first, leaving, return_exceptions=True)


class _File(StreamingResponse):
    """Closes the pieces however sending ends: a generator left behind would let its query run on."""

    def __init__(
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        give_back: Callable[[], None],
        *,
        name: str,
        media_type: str,
        extension: str,
    ) -> None:
        headers = {"content-disposition": f'attachment; filename="{name}.{extension}"'}
        self._sending = self._body(first, pieces)
        super().__init__(self._sending, headers=headers, media_type=media_type)
        self._name = name
        self._pieces = pieces
        self._give_back = give_back
        self._end = "left"

    async def _body(self, first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        if first:
            yield first
        try:
            async for piece in pieces:
                yield piece
        except Problem as problem:
            self._end = "broken"
            log.warning("%s broke off: %s %s", self._name, problem.code, problem.allowed)
            raise
        self._end = "whole"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except TooSlow:
            self._end = "slow"
            raise
        finally:
            self._give_back()
            API_FILES.labels(self._name, self._end).inc()
            await self._sending.aclose()
            await self._pieces.aclose()
