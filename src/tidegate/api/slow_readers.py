"""Ends the connection of a client that reads its answer too slowly: it holds memory, a query and a slot.

An answer begins with so many seconds of patience. Time in which the reader holds it up takes from them, bytes
that it takes give them back at the least rate. Where none are left, the connection is ended. The time that
ClickHouse needs does not count.
"""

from __future__ import annotations

import asyncio
import time

from tidegate.service.asgi import Message, Send

CHUNK_BYTES = 65_536  # sent at once: a longer wait would not tell slow from stalled


class TooSlow(Exception):
    """The reader did not take the answer fast enough."""


class Paced:
    """`send` of one answer. Raises TooSlow."""

    def __init__(self, send: Send, *, patience_seconds: float, least_bytes_per_second: float) -> None:
        self._send = send
        self._most = self._left = patience_seconds
        self._rate = least_bytes_per_second

    async def __call__(self, message: Message) -> None:
        body = message.get("body", b"")
        if len(body) <= CHUNK_BYTES:
            await self._one(message, len(body))
            return
        for at in range(0, len(body), CHUNK_BYTES):
            piece = body[at : at + CHUNK_BYTES]
            more = message.get("more_body", False) or at + CHUNK_BYTES < len(body)
            await self._one({**message, "body": piece, "more_body": more}, len(piece))

    async def _one(self, message: Message, size: int) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left) as patience:
                await self._send(message)
        except TimeoutError:
            if patience.expired():
                raise TooSlow from None
            raise
        left = self._left - (time.monotonic() - began) + size / self._rate
        self._left = min(self._most, left)
