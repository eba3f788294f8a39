"""Requests by their Idempotency-Key: what of each is in the log, so that it can be answered again.

This is one gateway's memory, bounded by bytes and by age, and shared out: where it is full, the fleet that
holds most of it gives up its oldest, so that one within its share (the limit over the fleets) loses nothing
to another. It makes answers exact and spares work; that nothing lands twice does not depend on it, since the
worker knows the keys of all gateways.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, defaultdict
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

    __slots__ = ("born", "digest", "fleet", "free", "landed", "received_at", "size", "uncertain")

    def __init__(self, fleet: str, digest: bytes, born: float) -> None:
        self.fleet = fleet
        self.digest = digest
        self.born = born
        self.landed: dict[tuple[int, int], Landed] = {}
        self.received_at = 0  # µs, of the first try; 0 before it
        self.uncertain = False
        self.size = 0  # as counted against the limit
        self.free = asyncio.Event()


class Requests:
    """The requests of the window, at most `limit` bytes of them."""

    def __init__(
        self, limit: int, window_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window = window_seconds
        self._clock = clock
        self._found: OrderedDict[bytes, Request] = OrderedDict()
        self._of_fleet: defaultdict[str, OrderedDict[bytes, Request]] = defaultdict(OrderedDict)
        self._bytes: Counter[str] = Counter()  # of each fleet
        self._sum = 0

    def __len__(self) -> int:
        return len(self._found)

    async def enter(self, fleet: str, key: bytes, digest: bytes) -> Request | None:
        """The request of a fleet under `key`, for the caller alone until `leave`: waits for whoever has it.

        `key` names the fleet too (`contracts.keys`). None where it belongs to a request with another content.
        """
        while True:
            self._forget()
            request = self._found.get(key)
            if request is None:
                request = self._found[key] = Request(fleet, digest, self._clock())
                self._of_fleet[fleet][key] = request
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
            self._drop(key, request)
        else:
            size = REQUEST_BYTES + PIECE_BYTES * len(request.landed)
            self._bytes[request.fleet] += size - request.size
            self._sum += size - request.size
            request.size = size
        request.free.set()
        self._forget()

    def _forget(self) -> None:
        late = self._clock() - self._window
        while self._found:
            key, oldest = next(iter(self._found.items()))
            # One that is being answered, for the first time or again, is none to forget.
            if oldest.born > late or not oldest.size or not oldest.free.is_set():
                break
            self._drop(key, oldest)
        while self._sum > self._limit and (found := self._of_the_largest()) is not None:
            self._drop(*found)
        telemetry.GATEWAY_KEYS_BYTES.set(self._sum)

    def _of_the_largest(self) -> tuple[bytes, Request] | None:
        """The oldest request of the fleet that holds most, of those that nobody waits for."""
        for fleet, _ in self._bytes.most_common():
            for key, request in self._of_fleet[fleet].items():
                if request.size and request.free.is_set():
                    return key, request
        return None

    def _drop(self, key: bytes, request: Request) -> None:
        del self._found[key]
        own = self._of_fleet[request.fleet]
        del own[key]
        self._sum -= request.size
        self._bytes[request.fleet] -= request.size
        if not own:
            del self._of_fleet[request.fleet], self._bytes[request.fleet]
