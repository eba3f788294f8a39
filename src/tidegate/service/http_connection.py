"""A keep-alive HTTP/1.1 connection that costs little: prepared request bytes in, status and body out.

For the roles that post to the gateway: a general client costs several times the request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from tidegate.errors import UsageError


class Endpoint(NamedTuple):
    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str  # that stands before every path, without a final slash


class Response(NamedTuple):
    status: int
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes


class Lost(Exception):
    """The connection ended before the answer was whole: the request may have arrived or not."""


def endpoint(url: str, *, ca_file: str = "") -> Endpoint:
    """Take an http or https URL apart; `ca_file` has the CAs that its certificate is held to, empty: the
    system's. Raises UsageError for anything else, and for a file that cannot be used."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"{url!r} is not an http or https URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is not an http or https URL")
    try:
        tls = ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{ca_file}: {error.strerror or 'is no PEM file'}") from error
    port = port or (443 if tls else 80)
    return Endpoint(parts.hostname, port, tls, parts.path.rstrip("/"))


def request_head(target: Endpoint, path: str, headers: Mapping[str, str]) -> bytes:
    """The constant start of a POST; `post` writes what differs behind it."""
    lines = [f"POST {target.path}{path} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    @classmethod
    async def open(cls, target: Endpoint) -> Connection:
        """Raises OSError when nobody listens."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, target.host, target.port, ssl=target.tls)
        return connection

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def post(self, head: bytes, body: bytes) -> Response:
        """Send the `head` (from request_head, more header lines allowed) and body; raises Lost."""
        if not self.usable or self._transport is None:
            raise Lost
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.writelines((head, b"Content-Length: %d\r\n\r\n" % len(body), body))
        return await answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost())

    # httptools

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        response = Response(self._parser.get_status_code(), self._headers, b"".join(self._body))
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)
