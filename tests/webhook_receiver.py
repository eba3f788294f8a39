"""A receiver of webhooks: a real HTTPS server on loopback that keeps what it is sent and answers as told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import trustme


class Received(NamedTuple):
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    status: int  # that was answered


class Reply(NamedTuple):
    status: int = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""
    wait: float = 0.0  # seconds before it


Choose = Callable[[str, int], Reply]  # by path, and how many requests came there before


class Receiver:
    def __init__(self, choose: Choose, folder: Path, *, tls: bool = True, name: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._lock:
                    before = sum(one.path == self.path for one in receiver.received)
                    reply = choose(self.path, before)
                    head = {name.lower(): value for name, value in self.headers.items()}
                    receiver.received.append(Received(self.path, head, body, reply.status))
                time.sleep(reply.wait)
                self.send_response(reply.status)
                for header, value in reply.headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, *arguments: object) -> None:
                receiver.connections += 1
                super().process_request(*arguments)  # type: ignore[arg-type]

            def handle_error(self, *arguments: object) -> None:  # a client may go at any time
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.ca_file = folder / f"ca-{self.server.server_port}.pem"
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(context)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def of(self, path: str) -> list[Received]:
        return [one for one in list(self.received) if one.path == path]

    def ids(self, path: str, *statuses: int) -> list[str]:
        """The webhook-ids that came to a path, those answered so where `statuses` are given."""
        return [one.headers["webhook-id"] for one in self.of(path) if not statuses or one.status in statuses]


@contextmanager
def receiver(
    choose: Choose, folder: Path, *, tls: bool = True, name: str = "127.0.0.1"
) -> Iterator[Receiver]:
    found = Receiver(choose, folder, tls=tls, name=name)
    found._thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found._thread.join()
        found.server.server_close()
