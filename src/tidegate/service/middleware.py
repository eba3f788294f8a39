"""Middleware of every role: headers of each answer, HEAD wherever GET is. Bare ASGI."""

from __future__ import annotations

from tidegate.service.asgi import App, Message, Receive, Scope, Send
from tidegate.service.http_answer import SAFE_HEADERS


class Middleware:
    """Sets the headers that keep browsers and caches in check, and answers HEAD wherever GET is."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "HEAD":
            answer = _HeadAlone(receive, send)
            await self._app({**scope, "method": "GET"}, answer.receive, answer.send)
        else:

            async def safe(message: Message) -> None:
                await send(_safe(message))

            await self._app(scope, receive, safe)


class _HeadAlone:
    """The answer ends behind its head: what would make the body is told that the client has left."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._done = False

    async def receive(self) -> Message:
        return {"type": "http.disconnect"} if self._done else await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._done:
            self._done = True
            await self._send(_safe(message))
            await self._send({"type": "http.response.body", "body": b""})


def _safe(message: Message) -> Message:
    if message["type"] != "http.response.start":
        return message
    headers = list(message.get("headers", ()))
    names = {name.lower() for name, _ in headers}
    if message["status"] == 405:
        headers = [
            (name, _with_head(value) if name.lower() == b"allow" else value) for name, value in headers
        ]
    headers += [header for header in SAFE_HEADERS if header[0] not in names]
    return {**message, "headers": headers}


def _with_head(allow: bytes) -> bytes:
    """Whatever takes GET takes HEAD."""
    methods = allow.split(b", ")
    return allow + b", HEAD" if b"GET" in methods and b"HEAD" not in methods else allow
