"""Requests by their Idempotency-Key: what of each is in the log, so that it can be answered again.

This is one gateway's memory, bounded by bytes and by age. It makes answers exact and spares work; that
nothing lands twice does not depend on it, since the worker knows the keys of all gateways.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from tidegate import telemetry

REQUEST_BYTES = 700  # of memory, about: what a request costs before its first piece
PIECE_BYTES = 320


class Landed(NamedTuple):
    """A piece that is in the log: ``prefix + str(first + n)`` is the id of its n-th line."""

    prefix: str
    first: int


class Request:
    """What is known of a key. One handler at a time has it (`Requests.enter`).

    `landed` holds the pieces of the request by partition and number. `uncertain`: some other piece may be
    in the log as well.
    """

    __slots__ = ("born", "digest", "free", "landed", "received_at", "size", "uncertain")

    def __init__(self, digest: bytes, born: float) -> None:
        self.digest = digest
        self.born = born
        self.landed: dict[tuple[int, int], Landed] = {}
        self.received_at = 0  # µs, of the first try; 0 before it
        self.uncertain = False
        self.size = 0  # as counted against the limit
        self.free = asyncio.Event()


class Requests:
    """The requests of the window, at most `limit` bytes of them; the oldest go first."""

    def __init__(
        self, limit: int, window_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window = window_seconds
        self._clock = clock
        self._found: OrderedDict[bytes, Request] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    async def enter(self, key: bytes, digest: bytes) -> Request | None:
        """The request under `key`, for the caller alone until `leave`: waits for whoever has it.

        None where the key belongs to a request with another content.
        """
        while True:
            self._forget()
            request = self._found.get(key)
            if request is None:
                request = self._found[key] = Request(digest, self._clock())
                return request
            if request.digest != digest:
                return None
            if request.free.is_set():
                request.free.clear()
                return request
            await request.free.wait()

    def leave(self, key: bytes, request: Request) -> None:
        """The handler is through. A request of which nothing can be in the log is forgotten at once."""
        if not request.landed and not request.uncertain:
            del self._found[key]
        else:
            size = REQUEST_BYTES + PIECE_BYTES * len(request.landed)
            self._bytes += size - request.size
            request.size = size
        request.free.set()
        self._forget()

    def _forget(self) -> None:
        late = self._clock() - self._window
        while self._found:
            key, oldest = next(iter(self._found.items()))
            if not oldest.size or (self._bytes <= self._limit and oldest.born > late):
                break
            if not oldest.free.is_set():
                break  # being answered again at this moment
            del self._found[key]
            self._bytes -= oldest.size
        telemetry.GATEWAY_KEYS_BYTES.set(self._bytes)
