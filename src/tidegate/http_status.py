"""The small HTTP server beside worker and sink: /healthz, /readyz and /metrics.

It runs in a daemon thread of its own, so a role built on asyncio and one built on threads use it alike,
and a role that is busy or stuck still answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tidegate.errors import UsageError
from tidegate.settings import address

log = logging.getLogger(__name__)

Reasons = Callable[[], list[str]]  # why not: an empty list is a yes


class StatusServer:
    """Answers while it is started; `not_ready` and `not_alive` are called in the server's thread.

    `/healthz` and `/readyz` are 200 with ``ok``, or 503 with one reason a line. A function that raises
    counts as a reason. `setting` is the name that an error about the address names.
    """

    def __init__(
        self,
        listen: str,
        setting: str,
        *,
        not_ready: Reasons,
        not_alive: Reasons = list,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        host, port = address(listen, setting)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise UsageError(f"{setting}: cannot listen on {listen}: {error.strerror}") from error
        self._server.pages = {
            "/healthz": lambda accept: _verdict(not_alive),
            "/readyz": lambda accept: _verdict(not_ready),
            "/metrics": lambda accept: _metrics(registry, accept),
        }
        self._thread = Thread(target=self._server.serve_forever, name="status", daemon=True)

    @property
    def port(self) -> int:
        """The port, also where the address asked for any (port 0)."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> StatusServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


Answer = tuple[int, str, bytes]  # status, content type, body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: dict[str, Callable[[str], Answer]]

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a client hung up", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that an idle connection may hold its thread
    server: _Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        status, kind, body = (
            page(self.headers.get("Accept", "")) if page else (404, "text/plain", b"not found\n")
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def _verdict(reasons: Reasons) -> Answer:
    try:
        found = reasons()
    except Exception as error:  # the question itself failed: that is a no, with its reason
        found = [f"{type(error).__name__}: {error}"]
    if found:
        return 503, "text/plain; charset=utf-8", "".join(f"{reason}\n" for reason in found).encode()
    return 200, "text/plain; charset=utf-8", b"ok\n"


def _metrics(registry: CollectorRegistry, accept: str) -> Answer:
    encode, kind = choose_encoder(accept)
    return 200, kind, encode(registry)
