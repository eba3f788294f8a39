"""An HTTP role's process: its address, and a server that ends with its drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from tidegate.errors import UsageError
from tidegate.settings import address


def listener(listen: str, setting: str) -> socket.socket:
    """A socket that listens on `listen`, the value of `setting`. Raises UsageError if it cannot be had."""
    host, port = address(listen, setting)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"{setting}: cannot listen on {listen}: {os.strerror(error.errno or 0)}") from error


def url(listening: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Drains at SIGTERM or SIGINT and returns, where uvicorn's raises the signal again behind its drain."""

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
