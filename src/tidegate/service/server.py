"""An HTTP role's process: its address, and a server that ends with its drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn

from tidegate.errors import UsageError
from tidegate.service.asgi import App
from tidegate.service.certificate import Certificate
from tidegate.service.http_protocol import BoundedHttp
from tidegate.service.limits import Limits
from tidegate.settings import Settings, address

TICKS_A_SECOND = 10  # of uvicorn's own loop


def listener(listen: str, setting: str) -> socket.socket:
    """A socket that listens on `listen`, the value of `setting`. Raises UsageError if it cannot be had."""
    host, port = address(listen, setting)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"{setting}: cannot listen on {listen}: {os.strerror(error.errno or 0)}") from error


def url(listening: socket.socket, settings: Settings) -> str:
    """Where a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.tls_cert_file else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Server(uvicorn.Server):
    """Serves an application over the bounded protocol.

    In the main thread it drains at SIGTERM or SIGINT and returns, where uvicorn's raises the signal again
    behind its drain; elsewhere, and with `signals` off, it ends when `should_exit` is set.

    `ending` from the first signal on. For `http_notice_seconds` from there everything is served as before,
    but that each answer closes its connection, so that clients go where /readyz is 200; a second signal cuts
    that short.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        *,
        drain_seconds: float,
        lifespan: bool = False,
        signals: bool = True,
        before_drain: Callable[[], None] = lambda: None,
        https: bool = True,
    ) -> None:
        """`before_drain` ends answers that would go on for ever; `https`: where there is a certificate."""
        self.ending = False
        self._notice_seconds = settings.http_notice_seconds
        self._signals = signals
        self._before_drain = before_drain
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(  # type: ignore[arg-type]
                    BoundedHttp, limits=Limits.of(settings), ending=lambda: self.ending
                ),
                ws="none",
                lifespan="on" if lifespan else "off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]
            )
        )
        self._certificate = Certificate.of(settings) if https else None

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.config.loaded:
            self.config.load()
        if self._certificate is not None:
            self.config.ssl = self._certificate.context
        await super()._serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._before_drain()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            now = asyncio.get_running_loop().time()
            if self._certificate is not None:
                self._certificate.renew()
            for connection in list(self.server_state.connections):
                connection.check(now)  # type: ignore[union-attr]
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self._signals and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
        elif self.ending or not self._notice_seconds:
            self.should_exit = True
        else:
            asyncio.get_running_loop().call_later(self._notice_seconds, self._end_notice)
        self.ending = True

    def _end_notice(self) -> None:
        self.should_exit = True
