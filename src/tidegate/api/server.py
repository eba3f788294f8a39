"""The API process: serves until SIGTERM, and lets open requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn
import uvloop

from tidegate.api.app import build
from tidegate.errors import UsageError
from tidegate.settings import Settings, address
from tidegate.telemetry import configure_logging

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0; raises UsageError if the address cannot be listened on."""
    configure_logging("api", settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listener = _listen(settings.api_listen)
    config = uvicorn.Config(
        build(settings),
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    log.info("api listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    uvloop.run(_Server(config).serve(sockets=[listener]))
    log.info("api stopped")
    return 0


def _listen(listen: str) -> socket.socket:
    host, port = address(listen, "api_listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"api_listen: cannot listen on {listen}: {os.strerror(error.errno or 0)}") from error


class _Server(uvicorn.Server):
    """uvicorn raises the signal again after its drain; this one ends with status 0 instead."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
