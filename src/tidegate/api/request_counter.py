"""Counts answered requests by route and status.

Bare ASGI: FastAPI's own kind of middleware stands between an answer and the socket, and would end an answer
that broke off in the middle as if it were whole.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.telemetry import API_REQUESTS


class RequestCounter:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                API_REQUESTS.labels(getattr(route, "path", "unknown"), message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted)
