"""The HTTP protocol of every role: uvicorn's over httptools, with a bound on all that a client may send.

Bounded are the head, the trailers, the time for each part of a request, requests that wait in a pipeline,
answers that nobody reads, and connections. What is refused here is answered as `application/problem+json`
like everything else, in its turn behind the answers to earlier requests, and the connection closes behind it.
httptools refuses what could be read two ways: Content-Length beside Transfer-Encoding, two lengths, folded
headers, lone line feeds.

The times are looked at once a second (`check`), since a timer for each request would cost more, and so would
reading the clock: a phase counts from the first look at it.
"""

from __future__ import annotations

import asyncio
import math
import urllib.parse
from collections.abc import Callable
from itertools import chain
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tidegate.service.http_answer import SAFE_LINES, Corked, Cycle, refusal_body
from tidegate.service.limits import HEAD_BYTES, HEADERS, Limits
from tidegate.service.problem import PROBLEM_JSON
from tidegate.service.refusals import REFUSALS
from tidegate.telemetry import HTTP_CONNECTIONS, HTTP_ENDED, HTTP_REFUSED

LINGER_SECONDS = 2.0  # that a client has to read a last answer while what it still sends is dropped
LINGER_BYTES = 1 << 20  # dropped at most
PIPELINE = 100  # requests that wait for the answers before theirs
SPARE = 64  # connections beyond the cap that are told so; others are cut off
CHUNK_OVERHEAD = 8  # framing bytes for each byte of a body: one-byte chunks take five

ONCE = frozenset(
    (
        b"authorization",
        b"host",
        b"content-type",
        b"idempotency-key",
        b"x-device-id",
        b"expect",
        b"transfer-encoding",
    )
)
"""Headers of which a second would be believed by one reader and the first by another."""


class Refused(Exception):
    """A request that the protocol does not take; raised through the parser's callbacks."""

    def __init__(self, code: str, detail: str, path: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.path = path


class Stopped(Exception):
    """Nothing more is read of this connection."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. asyncio, httptools and uvicorn call it; `check` ends what takes too long."""

    transport: Corked  # type: ignore[assignment]

    def __init__(self, *arguments: Any, limits: Limits, ending: Callable[[], bool], **named: Any) -> None:
        """`ending` tells whether clients are to come back on a connection to somebody else."""
        super().__init__(*arguments, **named)
        self._limits = limits
        self._ending = ending
        self.closing = False
        self._deaf = False  # what comes is dropped
        self._refused: Refused | None = None  # what the parser's callback raised
        self._last_answer: Refused | None = None  # to write behind the answers that are due
        self._answered: Cycle | None = None  # the request whose turn it is, or was last
        self._in_head = False
        self._in_body = False
        self._upgrading = False
        self._trailers = 0  # bytes of their names and values
        self._unparsed = 0  # bytes that came since the last header or body, a chunk's own ones among them
        self._longest = 0  # that a head can be which ends in the bytes at hand; more than allowed: not known
        self._dropped = 0
        self._seconds = {
            "first_byte": limits.head_seconds,
            "head": limits.head_seconds,
            "body": limits.body_seconds,
            "answer": math.inf,  # it is not the client who is waited for
            "idle": limits.idle_seconds,
        }
        self._phase = "first_byte"
        self._deadline: float | None = None  # of the phase; set when it is first looked at
        self._stalled = math.inf

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        limit = self._limits.connections
        before = len(self.connections)
        super().connection_made(Corked(transport, self))  # type: ignore[arg-type]
        HTTP_CONNECTIONS.inc()
        if before >= limit:
            HTTP_ENDED.labels("full").inc()
            self._deaf = True
            if before >= limit + SPARE:
                transport.abort()
            else:
                self._answer(Refused("too_many_connections", f"this process serves {limit} at once"))

    def connection_lost(self, error: Exception | None) -> None:
        HTTP_CONNECTIONS.dec()
        self.closing = True
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.closing:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES and self.closing:
                self.transport.abort()
            return
        self._unparsed += len(data)
        self._longest = HEAD_BYTES + 1 if self._in_head else len(data)
        try:
            self._feed(data)
            if self._unparsed > HEAD_BYTES:
                raise _too_large("head" if self._in_head else "trailers")
        except Refused as refused:
            self._refuse(refused)
        except Stopped:
            self._deaf = True
            self._deadline = math.inf

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.time() + self._limits.stall_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = math.inf

    def check(self, now: float) -> None:
        """End what has taken too long. Called about once a second."""
        if now >= self._stalled:
            HTTP_ENDED.labels("stalled").inc()
            self.transport.abort()
        elif self._deadline is None or (self._phase == "body" and self.flow.read_paused):
            self._deadline = now + self._seconds[self._phase]  # where reading is paused, it is we who do not
        elif now >= self._deadline and not self.closing:
            phase = self._phase
            HTTP_ENDED.labels(phase).inc()
            if phase in ("head", "body"):
                seconds = self._seconds[phase]
                self._refuse(Refused("timeout", f"the {phase} did not come within {seconds:g} seconds"))
            else:
                self.transport.close()

    def finish(self) -> None:
        """Close; linger where the client is still sending, or a reset could overtake the answer."""
        if self.closing:
            return
        self.closing = True
        self._deadline = math.inf
        inner = self.transport.inner
        if inner.is_closing():
            return
        if self._deaf or self._in_head or self._in_body:
            self.flow.resume_reading()
            if inner.can_write_eof():
                inner.write_eof()
            self.loop.call_later(LINGER_SECONDS, inner.abort)
        else:
            if inner.get_write_buffer_size():
                self.loop.call_later(self._limits.stall_seconds, inner.abort)
            inner.close()

    # httptools

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._phase = "head"
        self._deadline = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self.headers.append((name.lower(), value))  # all of them are looked at when they are complete
            return
        self._trailers += len(name) + len(value) + 4  # nothing here asks for one
        if self._trailers > HEAD_BYTES:
            self._raise(_too_large("trailers"))

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser.should_upgrade():  # CONNECT is one as well
            if parser.get_method() == b"CONNECT":
                self._raise(Refused("bad_request", "CONNECT is for proxies"))
            self._upgrading = True
            return
        self._in_head = False
        self._trailers = self._unparsed = 0
        scope = self.scope
        version = parser.get_http_version()
        self._check_head(version)
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        self._read_url()
        if len(self.pipeline) >= PIPELINE:
            self.pipeline[0][0].keep_alive = False  # the rest may be sent again on another connection
            raise Stopped
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not self._ending(),
            on_response=self.on_response_complete,
        )
        self._in_body = True
        self._phase = "body"
        self._deadline = None
        if before is None or before.response_complete:
            self._answered = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        left = self._unparsed - (1 + CHUNK_OVERHEAD) * len(body)
        self._unparsed = left if left > 0 else 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._in_body = False
        self._unparsed = 0
        self._deadline = None
        cycle = self.cycle
        if not cycle.response_complete:
            self._phase = "answer"
            cycle.more_body = False
            cycle.message_event.set()
        else:
            self._phase = "idle"

    # uvicorn

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._answered = cycle  # type: ignore[assignment]
            self._start_asgi_task(cycle, app)
        elif self._last_answer is not None:
            self._answer(self._last_answer)
        elif self._phase == "answer":
            self._phase = "idle"
            self._deadline = None

    # and what is between them

    def _feed(self, data: bytes) -> None:
        """Parse. An offer to go over to another protocol is not taken up: the request is read as if it were
        not there, which the parser itself does not do: it leaves the body unread."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                self._upgrading = False
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserCallbackError as error:
                raise self._refused or _cause(error) from None
            except httptools.HttpParserError as error:
                raise Refused("bad_request", f"not HTTP/1.1: {error}") from None

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _check_head(self, version: str) -> None:
        """What is too much, and what the parser lets through although RFC 9112 does not."""
        headers = self.headers
        if self._longest > HEAD_BYTES:
            size = len(self.url) + 4 * len(headers) + sum(map(len, chain.from_iterable(headers)))
            if size > HEAD_BYTES:
                self._raise(_too_large("head"))
        if len(headers) > HEADERS:
            self._raise(Refused("head_too_large", f"more than {HEADERS} headers"))
        found = dict(headers)
        if len(found) < len(headers):
            self._check_once()
        coding = found.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            self._raise(Refused("bad_request", "nothing but chunked is taken", "Transfer-Encoding"))
        expectation = found.get(b"expect")
        if expectation is not None:
            if expectation.lower() != b"100-continue":
                self._raise(Refused("expectation_failed", "only 100-continue is met", "Expect"))
            self.expect_100_continue = True
        if version == "1.1":
            if b"host" not in found:
                self._raise(Refused("bad_request", "the header Host is missing", "Host"))
        elif version != "1.0":
            self._raise(Refused("bad_request", f"not HTTP/1.1: the version is {version}"))
        elif coding is not None:
            self._raise(Refused("bad_request", "HTTP/1.0 has no such header", "Transfer-Encoding"))

    def _check_once(self) -> None:
        seen: set[bytes] = set()
        for name, _ in self.headers:
            if name in seen and name in ONCE:
                self._raise(Refused("duplicate_header", "which of the two holds?", name.decode().title()))
            seen.add(name)

    def _read_url(self) -> None:
        try:
            url = httptools.parse_url(self.url)
            path = (url.path or b"").decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            path = ""
        if not path:
            self._raise(Refused("bad_request", "the target of the request is not a path"))
        self.scope["raw_path"] = self.root_path.encode("ascii") + url.path
        self.scope["path"] = self.root_path + (urllib.parse.unquote(path) if "%" in path else path)
        self.scope["query_string"] = url.query or b""

    def _raise(self, refused: Refused) -> None:
        """Out of a callback: the parser hands on only that something was raised."""
        self._refused = refused
        raise refused

    def _refuse(self, refused: Refused) -> None:
        """Read nothing more, answer when the answers before it are written, and close."""
        HTTP_REFUSED.labels(refused.code).inc()
        self._deaf = True
        self._deadline = math.inf
        broken = self.cycle if self._in_body else None
        if broken is not None and self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()  # it has not begun
        answered = self._answered
        if answered is None or answered.response_complete:
            self._answer(refused)
        elif answered is not broken:
            self._last_answer = refused
        else:
            answered.disconnected = True  # the application gets no more of it
            answered.message_event.set()
            if answered.response_started:
                self.transport.close()
            else:
                self._answer(refused)

    def _answer(self, refused: Refused) -> None:
        body = refusal_body(refused.code, refused.detail, refused.path)
        refusal = REFUSALS[refused.code]
        pieces = [STATUS_LINE[refusal.status]]
        headers = (*self.server_state.default_headers, *refusal.headers)
        pieces += [b"%b: %b\r\n" % header for header in headers]
        pieces.append(
            b"content-type: %b\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
            % (PROBLEM_JSON.encode(), len(body), SAFE_LINES)
        )
        method = self.scope.get("method") if self.scope and not self._in_head else None
        self.transport.write(b"".join(pieces) + (b"" if method == "HEAD" else body))
        self.transport.close()


def _too_large(what: str) -> Refused:
    return Refused("head_too_large", f"the {what} is longer than {HEAD_BYTES} bytes", what)


def _cause(error: BaseException) -> BaseException:
    """What a callback raised."""
    return error.__cause__ or error.__context__ or error
