"""The API process: serves until SIGTERM, and lets open requests finish."""

from __future__ import annotations

import logging

import uvicorn
import uvloop

from tidegate.api.app import build
from tidegate.settings import Settings
from tidegate.telemetry import configure_logging
from tidegate.web.server import Server, listener, url

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0; raises UsageError if the address cannot be listened on."""
    configure_logging("api", settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listening = listener(settings.api_listen, "api_listen")
    config = uvicorn.Config(
        build(settings),
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    log.info("api listens on %s", url(listening))
    uvloop.run(Server(config).serve(sockets=[listening]))
    log.info("api stopped")
    return 0
