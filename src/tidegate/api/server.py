"""The API process: serves until SIGTERM, and lets open requests finish."""

from __future__ import annotations

import logging
import socket

import uvloop

from tidegate.api.app import build
from tidegate.api.status import not_ready
from tidegate.service.middleware import Middleware
from tidegate.service.server import Server, listener, url
from tidegate.service.status_pages import StatusPages
from tidegate.service.status_server import beside
from tidegate.settings import Settings
from tidegate.telemetry import configure_logging

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0; raises UsageError if the address cannot be listened on."""
    configure_logging("api", settings.log_level, settings.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listening = listener(settings.api_listen, "api_listen")
    log.info("api listens on %s", url(listening, settings))
    uvloop.run(_serve(settings, listening))
    log.info("api stopped")
    return 0


def server(settings: Settings) -> Server:
    """The server of the API with its status pages."""
    app = build(settings)

    async def reasons() -> list[str]:
        return ["stopping"] if made.ending else await not_ready(app)

    pages = StatusPages("api", not_ready=reasons, tokens=app.state.tokens, behind=app)
    made = Server(
        Middleware(pages),
        settings,
        drain_seconds=DRAIN_SECONDS,
        lifespan=True,
        before_drain=app.state.live.close,
    )
    return made


async def _serve(settings: Settings, listening: socket.socket) -> None:
    async with beside("api", settings):
        await server(settings).serve(sockets=[listening])
