"""The small HTTP server beside worker and sink: /healthz, /readyz and /metrics.

It runs in a daemon thread of its own, so a role built on asyncio and one built on threads use it alike,
and a role that is busy or stuck still answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Thread
from types import TracebackType

from prometheus_client import REGISTRY, CollectorRegistry

from tidegate.service.middleware import Middleware
from tidegate.service.server import Server, listener
from tidegate.service.status_pages import Reasons, StatusPages
from tidegate.settings import Settings
from tidegate.tokens import TokenFile

DRAIN_SECONDS = 1.0


class StatusServer:
    """Answers while it is started; `not_ready` and `not_alive` are called in the server's thread.

    It listens on the setting `<role>_listen`, and on `metrics_listen` where that is set.
    """

    def __init__(
        self,
        role: str,
        settings: Settings,
        *,
        not_ready: Reasons,
        not_alive: Reasons = list,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        setting = f"{role}_listen"
        self._listening = [listener(getattr(settings, setting), setting)]
        tokens = TokenFile(settings.tokens_path)
        pages = StatusPages(role, not_ready=not_ready, not_alive=not_alive, tokens=tokens, registry=registry)
        self._servers = [_server(pages, settings)]
        if settings.metrics_listen:
            self._listening.append(listener(settings.metrics_listen, "metrics_listen"))
            pages = StatusPages(
                role, not_ready=not_ready, not_alive=not_alive, tokens=None, registry=registry
            )
            self._servers.append(_server(pages, settings))
        self._thread = Thread(target=self._run, name="status", daemon=True)

    @property
    def port(self) -> int:
        """The port, also where the address asked for any (port 0)."""
        return int(self._listening[0].getsockname()[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        for server in self._servers:
            server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        for listening in self._listening:
            listening.close()

    def __enter__(self) -> StatusServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await asyncio.gather(
            *(
                server.serve(sockets=[listening])
                for server, listening in zip(self._servers, self._listening, strict=True)
            )
        )


def _server(pages: StatusPages, settings: Settings) -> Server:
    """By HTTP whatever the role serves: probes and Prometheus ask all roles alike."""
    return Server(Middleware(pages), settings, drain_seconds=DRAIN_SECONDS, signals=False, https=False)


@asynccontextmanager
async def beside(
    role: str,
    settings: Settings,
    *,
    not_ready: Reasons = list,
    before_scrape: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve `metrics_listen`, if it is set, on the running loop: the same pages, /metrics for whoever
    reaches them."""
    if not settings.metrics_listen:
        yield
        return
    listening = listener(settings.metrics_listen, "metrics_listen")
    pages = StatusPages(role, not_ready=not_ready, tokens=None, before_scrape=before_scrape)
    server = _server(pages, settings)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
