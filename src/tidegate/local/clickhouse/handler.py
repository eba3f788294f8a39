"""ClickHouse's HTTP interface over the engine: a thread a connection, blocking reads and writes.

Large bodies are read straight into the pieces that the engine takes; an event loop in between would copy
them twice. The engine releases the interpreter lock while it works.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition
from typing import IO, Any, cast
from urllib.parse import parse_qsl, urlsplit

from tidegate.local.clickhouse.access import REALM, authenticate, check_origin
from tidegate.local.clickhouse.credentials import Credentials, User
from tidegate.local.clickhouse.encoding import BLOCKS, Compressor, compressor, decoded, negotiate
from tidegate.local.clickhouse.engine import Connection, Engine, Reading, Statistics
from tidegate.local.clickhouse.errors import (
    ClickHouseError,
    refusal,
)
from tidegate.local.clickhouse.native import WITH_CUSTOM_SERIALIZATION, NativeBlocks, reframed
from tidegate.local.clickhouse.request import (
    HEAD_BYTES,
    Request,
    gather,
    gather_query,
    take_apart,
)
from tidegate.local.clickhouse.statement import Insert, check, cut_insert, first_word
from tidegate.service import limits

log = logging.getLogger(__name__)

PIECE_BYTES = 8 << 20  # of a request body that the engine gets at a time
BUFFER_BYTES = 1 << 20  # of an answer before its head is sent
SPOOL_BYTES = 16 << 20  # of a wait_end_of_query answer that stays in memory
DRAIN_BYTES = 512 << 20  # of a refused body that is read to keep the connection
STRANGER_BYTES = 1 << 20  # the same of who is not let in
IDLE_SECONDS = 600
STRANGER_SECONDS = 10  # the same of who has shown no password
MOST_CONNECTIONS = 512  # at once, each with a thread
ENGINE_FILES = 512  # that connections leave to the engine

QUERIES = frozenset([b"SELECT", b"WITH", b"FROM"])  # what may have a large result
GET_ONLY_READS = (
    "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly."
    " You should use method POST for modifying queries."
)
CONTENT_TYPES = {
    "TABSEPARATED": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TABSEPARATEDWITHNAMES": "text/tab-separated-values; charset=UTF-8",
    "TABSEPARATEDWITHNAMESANDTYPES": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWITHNAMES": "text/csv; charset=UTF-8; header=present",
    "CSVWITHNAMESANDTYPES": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCOMPACT": "application/json; charset=UTF-8",
    "JSONSTRINGS": "application/json; charset=UTF-8",
    "JSONCOLUMNS": "application/json; charset=UTF-8",
    "JSONEACHROW": "application/x-ndjson; charset=UTF-8",
    "JSONCOMPACTEACHROW": "application/x-ndjson; charset=UTF-8",
    "JSONEACHROWWITHPROGRESS": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "ARROW": "application/vnd.apache.arrow.file",
    "ARROWSTREAM": "application/vnd.apache.arrow.stream",
    "PARQUET": "application/octet-stream",
    "NATIVE": "application/octet-stream",
    "ROWBINARY": "application/octet-stream",
    "ROWBINARYWITHNAMESANDTYPES": "application/octet-stream",
}


class Server(ThreadingHTTPServer):
    """Accepts on loopback; knows how many requests are under way, so that it can end behind them."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, engine: Engine, credentials: Credentials) -> None:
        super().__init__((host, port), Handler)
        self.engine = engine
        self.credentials = credentials
        self._idle = Condition()
        self._busy = 0
        self._connections = 0
        self._most = max(1, min(MOST_CONNECTIONS, limits.files() - ENGINE_FILES))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Whoever may connect, and that is every user of the machine, takes no files from the engine."""
        with self._idle:
            if self._connections >= self._most:
                log.debug("%d connections are open, and no more are taken", self._connections)
                self.shutdown_request(request)
                return
            self._connections += 1
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._left()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left()

    def _left(self) -> None:
        with self._idle:
            self._connections -= 1

    def begin(self) -> None:
        with self._idle:
            self._busy += 1

    def end(self) -> None:
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def wait_until_idle(self, seconds: float) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, seconds)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("connection from %s ended in an error", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection: the requests that come on it, one at a time."""

    protocol_version = "HTTP/1.1"
    server_version = "Tidegate-ClickHouse"
    disable_nagle_algorithm = True
    timeout = STRANGER_SECONDS
    server: Server

    def do_GET(self) -> None:
        self.server.begin()
        try:
            self._answer()
        except (BrokenPipeError, ConnectionError, TimeoutError) as error:
            log.debug("client gone: %s", error)
            self.close_connection = True
        finally:
            self.server.end()

    do_POST = do_GET
    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)

    # The request

    def _answer(self) -> None:
        self._started = time.monotonic()
        self._answered = False
        url = urlsplit(self.path)
        self._body = _Body(self)
        try:
            self._admit()
            if url.path in ("/ping", "/replicas_status"):
                self._send_text(200, b"Ok.\n")
            elif url.path != "/":
                text = f"There is no handle {url.path}\n\nUse / or /ping for health checks.\n"
                self._send_text(404, text.encode())
            elif self.command != "POST" and not url.query:
                self._send_text(200, b"Ok.\n")
            else:
                user = self._user(url.query)
                pieces = decoded(iter(self._body), self.headers.get("Content-Encoding", "").strip().lower())
                self._run(user, take_apart(url.query, cast("dict[str, str]", self.headers), pieces))
        except ClickHouseError as error:
            if self._answered:  # too late for a status
                raise ConnectionAbortedError(str(error)) from error
            self._send_error_text(error)

    def _admit(self) -> None:
        with self._before_the_body():
            check_origin(self.headers, self.path)

    def _user(self, query_string: str) -> User:
        with self._before_the_body():
            user = authenticate(
                self.headers, dict(parse_qsl(query_string, keep_blank_values=True)), self.server.credentials
            )
        self.connection.settimeout(IDLE_SECONDS)
        return user

    @contextmanager
    def _before_the_body(self) -> Iterator[None]:
        """Whoever is refused here may not make this process read on for long."""
        try:
            yield
        except ClickHouseError:
            self._body.limit = STRANGER_BYTES
            raise

    def _run(self, user: User, request: Request) -> None:
        self._query_id = request.query_id
        text, insert, data = _cut(request)
        interface = request.interface
        engine = self.server.engine
        with engine.connection(
            user,
            interface.get("session_id"),
            timeout_seconds=_session_seconds(interface.get("session_timeout")),
            must_exist=request.flag("session_check"),
        ) as connection:
            connection.prepare(request.database, request.settings, request.params)
            if self.command != "POST" and (insert is not None or writes(connection, text)):
                raise refusal("READONLY", GET_ONLY_READS)
            for table in request.externals:
                engine.command(connection, f"CREATE TEMPORARY TABLE {table.name} ({table.structure})", "Null")
                head = Insert(f"INSERT INTO {table.name}", table.format, 0)
                engine.insert(connection, head, table.format, iter([table.data]))
            if insert is not None:
                default = interface.get("default_format") or "Values"
                statistics = engine.insert(connection, insert, default, data)
                self._send_done(statistics, b"", request)
            elif first_word(text.encode("utf-8", "replace")) in QUERIES and connection.is_read_only(text):
                self._read(connection, text, request)
            else:
                body, statistics = engine.command(connection, text, request.format)
                if interface.get("session_id"):
                    connection.remember(text)
                if _is_reframed(request, request.format):
                    body = reframed(body)
                self._send_done(statistics, body, request)

    # Answers

    def _read(self, connection: Connection, sql: str, request: Request) -> None:
        """Answer a query: whole where it is small or must be waited for, else chunk by chunk."""
        engine = self.server.engine
        reading = engine.read(connection, sql, request.format)
        read: Callable[[], bytes] = partial(reading.read, self.connection)
        if _is_reframed(request, reading.format):
            read = NativeBlocks(read).read
        try:
            if request.flag("wait_end_of_query"):
                with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
                    while piece := read():
                        spool.write(piece)
                    self._send_whole(reading, cast("IO[bytes]", spool), request)
            else:
                self._read_chunks(read, reading, request)
        finally:
            if not reading.drained(0.0):  # who asked is gone, or what is here failed
                engine.kill(reading)
            reading.close()

    def _read_chunks(self, read: Callable[[], bytes], reading: Reading, request: Request) -> None:
        first: list[bytes] = []
        while sum(map(len, first)) < BUFFER_BYTES:
            piece = read()
            if not piece:
                statistics = reading.result()
                self._send_done(statistics, b"".join(first), request, reading.format)
                return
            first.append(piece)
        coding = self._coding(request)
        tag = secrets.token_hex(8)
        self._head(200, reading.format, Statistics(), coding)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-ClickHouse-Exception-Tag", tag)
        self.end_headers()
        out = _Chunks(self, compressor(coding) if coding else None)
        for piece in first:
            out.write(piece)
        first.clear()
        while piece := read():
            out.write(piece)
        try:
            reading.result()
        except ClickHouseError as error:
            # The status is out: the marker that ClickHouse sends, and an end that is no proper end.
            message = str(error).encode()
            out.write(
                b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n"
                % (tag.encode(), message, len(message) + 1, tag.encode())
            )
            out.flush()
            self.close_connection = True
            return
        out.finish()

    def _send_whole(self, reading: Reading, spool: IO[bytes], request: Request) -> None:
        statistics = reading.result()
        size = spool.tell()
        spool.seek(0)
        coding = self._coding(request)
        self._head(200, reading.format, statistics, coding)
        self.send_header(*(("Transfer-Encoding", "chunked") if coding else ("Content-Length", str(size))))
        self.end_headers()
        if self.command == "HEAD":
            return
        out = _Chunks(self, compressor(coding)) if coding else None
        while piece := spool.read(PIECE_BYTES):
            if out is None:
                self.wfile.write(piece)
            else:
                out.write(piece)
        if out is not None:
            out.finish()

    def _send_done(
        self, statistics: Statistics, body: bytes, request: Request, format: str | None = None
    ) -> None:
        """An answer that is there in whole."""
        self._body.drain()
        coding = self._coding(request) if body else None
        if coding:
            packer = compressor(coding)
            body = packer.compress(body) + packer.flush()
        self._head(200, format or request.format, statistics, coding)
        self.send_header("Content-Length", str(len(body)))
        self._end(body)

    def _send_error_text(self, error: ClickHouseError) -> None:
        self._body.drain()
        body = f"{error} (version {self.server.engine.version})\n".encode("utf-8", "replace")
        self._head(error.status, None, None, None)
        self.send_header("X-ClickHouse-Exception-Code", str(error.code))
        if error.status == 401:
            self.send_header("WWW-Authenticate", f'Basic realm="{REALM}"')
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self._end(body)

    def _send_text(self, status: int, body: bytes) -> None:
        self._body.drain()
        self._head(status, None, None, None)
        self.send_header("Content-Type", "text/html; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self._end(body)

    def _head(
        self, status: int, format: str | None, statistics: Statistics | None, coding: str | None
    ) -> None:
        engine = self.server.engine
        self._answered = True
        self.send_response(status)
        self.send_header("X-ClickHouse-Server-Display-Name", engine.host)
        self.send_header("X-ClickHouse-Timezone", engine.timezone)
        if hasattr(self, "_query_id"):
            self.send_header("X-ClickHouse-Query-Id", self._query_id)
        if format:
            self.send_header("X-ClickHouse-Format", format)
            self.send_header("Content-Type", CONTENT_TYPES.get(format.upper(), "text/plain; charset=UTF-8"))
        if statistics is not None:
            summary = {name: str(value) for name, value in statistics._asdict().items()}
            summary["total_rows_to_read"] = "0"
            summary["elapsed_ns"] = str(int((time.monotonic() - self._started) * 1e9))
            self.send_header("X-ClickHouse-Summary", json.dumps(summary, separators=(",", ":")))
        if coding and coding != BLOCKS:
            self.send_header("Content-Encoding", coding)
        if self.close_connection:
            self.send_header("Connection", "close")
        else:
            self.send_header("Connection", "Keep-Alive")
            self.send_header("Keep-Alive", f"timeout={IDLE_SECONDS}")

    def _end(self, body: bytes) -> None:
        """Finish the head and send it with a body in one write where that is cheap."""
        if self.command == "HEAD":
            body = b""
        if len(body) < 65_536:
            buffer = cast("list[bytes]", self._headers_buffer)  # type: ignore[attr-defined]
            buffer.append(b"\r\n" + body)
            self.flush_headers()
        else:
            self.end_headers()
            self.wfile.write(body)

    def _coding(self, request: Request) -> str | None:
        if request.flag("compress"):  # inside of whatever HTTP adds: nobody asks for both
            return BLOCKS
        if not request.flag("enable_http_compression"):
            return None
        return negotiate(self.headers.get("Accept-Encoding", ""))


class _Body:
    """The request body in large pieces, whatever way its length is told."""

    def __init__(self, handler: Handler) -> None:
        self._source = handler.rfile
        self._handler = handler
        self._chunked = "chunked" in handler.headers.get("Transfer-Encoding", "").lower()
        length = handler.headers.get("Content-Length", "0")
        if not length.isdigit():
            handler.close_connection = True
            raise ConnectionAbortedError("Content-Length is not a number")
        self.limit = DRAIN_BYTES
        self._left = 0 if self._chunked else int(length)
        self._more = self._chunked

    def __iter__(self) -> Iterator[bytes]:
        if self._chunked:
            yield from self._chunks()
            return
        while self._left:
            piece = self._take(min(self._left, PIECE_BYTES))
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read what is left, so that the connection can be used again; too much of it ends it."""
        left = self.limit
        for piece in self:
            left -= len(piece)
            if left < 0:
                self._handler.close_connection = True
                return

    def _chunks(self) -> Iterator[bytes]:
        """Chunks gathered into pieces: clients send them small."""
        pieces: list[bytes] = []
        size = 0
        while self._more:
            line = self._source.readline(1024)
            try:
                length = int(line.split(b";")[0], 16)
            except ValueError:
                self._handler.close_connection = True
                raise ConnectionAbortedError("not a chunk") from None
            if length == 0:
                self._more = False
                while self._source.readline(65_536) not in (b"\r\n", b"\n", b""):
                    pass
                break
            pieces.append(self._take(length))
            self._take(2)
            size += length
            if size >= PIECE_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
        if pieces:
            yield b"".join(pieces)

    def _take(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) < size:
            self._handler.close_connection = True
            self._more, self._left = False, 0
            raise ConnectionAbortedError("the body ended early")
        return data


class _Chunks:
    """An answer in chunked transfer coding."""

    def __init__(self, handler: Handler, packer: Compressor | None) -> None:
        self._connection: socket.socket = handler.connection
        self._packer = packer

    def write(self, data: bytes) -> None:
        self._send(self._packer.compress(data) if self._packer else data)

    def flush(self) -> None:
        if self._packer:
            self._send(self._packer.flush())

    def finish(self) -> None:
        self.flush()
        self._connection.sendall(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if data:
            self._connection.sendall(b"%x\r\n" % len(data))
            self._connection.sendall(data)
            self._connection.sendall(b"\r\n")


def _is_reframed(request: Request, format: str) -> bool:
    version = request.interface.get("client_protocol_version", "0")
    return format.lower() == "native" and version.isdigit() and int(version) >= WITH_CUSTOM_SERIALIZATION


def _cut(request: Request) -> tuple[str, Insert | None, Iterator[bytes]]:
    """The statement, and for an INSERT with data its head and its data: (text, insert, data).

    The query of the URL stands before the body's beginning, as one text.
    """
    in_url = request.query.encode("utf-8", "surrogateescape")
    try:
        if in_url:
            insert = cut_insert(in_url)
            if insert is not None:
                return "", insert, _behind(in_url[insert.data_start :], request.body)
            rest = gather_query(request.body, b"")
            text = in_url + b"\n" + rest if rest else in_url
        else:
            head = gather(request.body, b"", HEAD_BYTES)
            insert = cut_insert(head) if first_word(head[:4096]) == b"INSERT" else None
            if insert is not None:
                return "", insert, _behind(head[insert.data_start :], request.body)
            text = gather_query(request.body, head)
        if first_word(text[:4096]) != b"INSERT":  # which may have data behind it
            check(text)
    except ValueError as error:
        raise refusal("SYNTAX_ERROR", f"Syntax error: {error}") from error
    if not text.strip():
        raise refusal("SYNTAX_ERROR", "Empty query")
    return text.decode("utf-8", "surrogateescape"), None, iter(())


def _behind(beginning: bytes, body: Iterator[bytes]) -> Iterator[bytes]:
    if beginning.strip():
        yield beginning
    yield from body


def writes(connection: Connection, sql: str) -> bool:
    """Whether a statement does more than read. SET and USE only touch the session."""
    return connection.is_read_only(sql) is False and first_word(sql.encode()) not in (b"SET", b"USE")


def _session_seconds(given: str | None) -> float:
    if given is None:
        return 60.0
    with suppress(ValueError):
        seconds = int(given)
        if 0 < seconds <= 3600:
            return float(seconds)
    raise refusal("INVALID_SESSION_TIMEOUT", f"Invalid session timeout: '{given}'")
