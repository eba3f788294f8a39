"""One request to a webhook: to an address that was checked, bounded in size and time, and not followed.

No redirects, no proxies of the environment, no connection kept: what is connected to is what was checked, and
TLS is held to the name in the URL.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple

import httptools

from tidegate.errors import UsageError
from tidegate.webhooks.addresses import Address, Allowed, BadField, Target, addresses_of, split, target
from tidegate.webhooks.formats import Request
from tidegate.webhooks.text import clean

MOST_ANSWER = 65_536  # bytes that are read of an answer, its head among them
MOST_TOLD = 200  # characters of it that an error quotes
MOST_BODY = 8192  # bytes of its body that these are taken from: an address in it is whole
MOST_ADDRESSES = 4  # that are tried
LOOKUPS = 64  # names looked up at once; one that nobody answers for takes a thread for half a minute


class Answer(NamedTuple):
    """What came of an attempt. `status` 0: no answer."""

    status: int
    error: str = ""
    retry_after: float | None = None  # seconds
    seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        return 200 <= self.status < 300


class Transport:
    """Sends requests, each within `seconds`. Raises UsageError where the file of CAs cannot be read."""

    def __init__(self, allow: Allowed, *, seconds: float, ca_file: str = "") -> None:
        self._allow = allow
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        self._lookups: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "is no PEM file"
            raise UsageError(f"webhook_ca_file: {ca_file}: {reason}") from error

    async def send(self, url: str, request: Request, hide: Callable[[str], str] = str) -> Answer:
        """What came of one attempt; never raises for what the receiver or the network does. What is quoted of
        an answer goes through `hide` before."""
        begun = time.monotonic()
        reading = _Reading(hide)
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(url, request, reading)
            answer = reading.answer()
        except TimeoutError:
            answer = Answer(0, f"no answer within {self._seconds:g} s")
        except BadField as error:
            answer = Answer(0, error.reason)
        except ssl.SSLCertVerificationError as error:
            answer = Answer(0, f"certificate: {error.verify_message}")
        except ssl.SSLError as error:
            answer = Answer(0, f"TLS: {error.reason or 'failed'}")
        except socket.gaierror:
            answer = Answer(0, "its host has no address")
        except (OSError, UnicodeError) as error:
            answer = Answer(0, f"no connection: {getattr(error, 'strerror', None) or type(error).__name__}")
        except httptools.HttpParserError:
            answer = Answer(0, "what it answers is no HTTP")
        if not answer.status and reading.status >= 200:  # it has answered, and something went wrong behind it
            answer = reading.answer()
        return answer._replace(seconds=time.monotonic() - begun)

    async def _send(self, url: str, request: Request, answer: _Reading) -> None:
        parts = split(url)
        to = target(
            url, self._allow, addresses_of(await self._look_up(parts.hostname or "", parts.port or 443))
        )
        reader, writer = await self._connect(to)
        try:
            writer.write(_head(to, request) + request.body)
            # What comes after the last byte that is needed is not waited for.
            while not answer.complete and answer.size < MOST_ANSWER:
                data = await reader.read(16_384)
                if not data:
                    break
                answer.feed(data)
        finally:
            writer.transport.abort()

    async def _look_up(self, host: str, port: int) -> list[Any]:
        """As socket.getaddrinfo. A name is looked up once at a time, however many wait for it, so that one
        whose servers do not answer holds up no notices to others."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            call = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, call)
            self._lookups[host, port] = lookup
            lookup.add_done_callback(partial(self._looked_up, (host, port)))
        return await asyncio.shield(lookup)

    def _looked_up(self, name: tuple[str, int], lookup: asyncio.Future[list[Any]]) -> None:
        del self._lookups[name]
        if not lookup.cancelled():
            lookup.exception()  # whoever waited may have given up

    async def _connect(self, to: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the first address that answers. One that does not, as IPv6 where it leads nowhere, leaves time
        to those behind it and to the answer."""
        failed: OSError | None = None
        addresses = to.addresses[:MOST_ADDRESSES]
        share = self._seconds / (len(addresses) + 1)
        for address in addresses:
            try:
                async with asyncio.timeout(None if address == addresses[-1] else share):
                    return await self._open(to, address)
            except ssl.SSLError:
                raise
            except OSError as error:
                failed = error
        assert failed is not None
        raise failed

    async def _open(self, to: Target, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if to.scheme == "http":
            return await asyncio.open_connection(str(address), to.port)
        return await asyncio.open_connection(
            str(address), to.port, ssl=self._context, server_hostname=to.host.rstrip(".")
        )


def _head(to: Target, request: Request) -> bytes:
    host = f"[{to.host}]" if ":" in to.host else to.host
    if to.port != {"https": 443, "http": 80}[to.scheme]:
        host = f"{host}:{to.port}"
    lines = [
        f"POST {to.path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
        f"Content-Length: {len(request.body)}",
        "Accept: */*",
        "Connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class _Reading:
    """Reads an answer, as far as it matters."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self.complete = False
        self._hide = hide
        self.size = 0
        self.status = 0  # once a head is whole
        self._parser = httptools.HttpResponseParser(self)
        self._retry_after = ""
        self._body = b""

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.complete = True
        except httptools.HttpParserError:
            if not self.complete:  # what stands behind the answer does not matter
                raise

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if 200 <= self.status < 300:  # a receiver may leave the connection open behind its head
            self.complete = True

    def on_body(self, body: bytes) -> None:
        self._body = (self._body + body)[:MOST_BODY]

    def on_message_complete(self) -> None:
        if self.status >= 200:  # 1xx comes before the answer
            self.complete = True

    def answer(self) -> Answer:
        if self.status < 200:
            return Answer(0, "it answers nothing")
        if self.status < 300:
            return Answer(self.status)
        said = clean(self._hide(self._body.decode("utf-8", "replace")), MOST_TOLD)
        error = f"answers {self.status}" + (f": {said}" if said else "")
        return Answer(self.status, error, retry_after(self._retry_after, time.time()))


def retry_after(text: str, now: float) -> float | None:
    """The seconds that a header Retry-After asks for, as a number or a date; None where it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())
