"""How an answer is written: in one piece where it can be, with the headers that every answer has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from tidegate.service.asgi import Message, Send
from tidegate.service.problem import PROBLEM_JSON, encoded
from tidegate.service.refusals import REFUSALS

SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Of every answer that does not set its own: data is not cached, not framed, and not taken for a page."""

SAFE_LINES = b"".join(b"%b: %b\r\n" % header for header in SAFE_HEADERS)


class Closer(Protocol):
    """What a `Corked` transport needs of the protocol over it."""

    loop: asyncio.AbstractEventLoop
    closing: bool

    def finish(self) -> None: ...


class Corked:
    """A transport that gathers writes until the end of the loop's turn, since each is a system call.

    Closing it goes by the protocol, which may linger; in all else it is the transport itself.
    """

    __slots__ = ("_loop", "_pieces", "_protocol", "inner")

    def __init__(self, transport: asyncio.Transport, protocol: Closer) -> None:
        self.inner = transport
        self._protocol = protocol
        self._loop = protocol.loop
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def is_closing(self) -> bool:
        return self._protocol.closing or self.inner.is_closing()

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)

    def close(self) -> None:
        self.flush()
        self._protocol.finish()

    def flush(self) -> None:
        if self._pieces:
            self.inner.write(b"".join(self._pieces))
            self._pieces.clear()


class Cycle(RequestResponseCycle):
    """One request and its answer. Behind an answer before the end of the body, the connection closes."""

    async def send(self, message: Message) -> None:  # type: ignore[override]
        if self.more_body and not self.response_started:
            self.keep_alive = False
        await super().send(message)  # type: ignore[arg-type]

    async def send_500_response(self) -> None:
        body = refusal_body("internal", "")
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *SAFE_HEADERS,
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def answer_whole(
    send: Send, status: int, content_type: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> bool:
    """Write a response in one piece, past the checks of uvicorn's `send` that it needs none of.

    False, and nothing written, where `send` is not that of a POST that waits for its answer.
    """
    cycle = getattr(send, "__self__", None)
    if (
        type(cycle) is not Cycle
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.scope["method"] != "POST"
    ):
        return False
    if cycle.more_body:
        cycle.keep_alive = False
    pieces = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        pieces += (name, b": ", value, b"\r\n")
    pieces.append(b"content-type: %b\r\ncontent-length: %d\r\n%b" % (content_type, len(body), SAFE_LINES))
    for name, value in headers:
        pieces += (name, b": ", value, b"\r\n")
    pieces.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    pieces.append(body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(pieces))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def refusal_body(code: str, detail: str, path: str = "") -> bytes:
    """The problem document of one of the `REFUSALS`."""
    refusal = REFUSALS[code]
    return encoded(code, refusal.title, refusal.status, detail or refusal.advice, path=path)
