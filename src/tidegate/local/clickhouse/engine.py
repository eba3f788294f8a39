"""The engine: one chDB store, a connection for each request, and sessions that keep theirs.

Opening a connection costs 0.1 ms, so requests share none: settings, parameters and the current database
of one cannot leak into the next. A query's result leaves the engine through a pipe (INTO OUTFILE a named
pipe): it streams in every format, exactly as the engine writes it, and memory stays flat. (chDB's own
streaming gives a complete document a chunk: right for TSV, wrong for JSON, Parquet or CSVWithNames.)

A connection belongs to a user: its role is set before anything else runs on it, and every statement of a
client is checked as it runs, with the file that this module puts into it (`permission`).
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import chdb

from tidegate.local.clickhouse.credentials import User
from tidegate.local.clickhouse.engine_users import write_configuration
from tidegate.local.clickhouse.errors import (
    SYNTAX_ERROR,
    ClickHouseError,
    from_engine,
    refusal,
)
from tidegate.local.clickhouse.permission import Permissions
from tidegate.local.clickhouse.request import MAX_QUERY_BYTES
from tidegate.local.clickhouse.scratch import Scratch
from tidegate.local.clickhouse.statement import Insert, cut_query, from_infile, tokens

log = logging.getLogger(__name__)

PIPE_BYTES = 1 << 20
MAX_STATEMENTS = 32  # that run at once; more wait
LET_GO_SECONDS = 1.0
KILL_AGAIN_SECONDS = 0.2
POLL_MS = 20
MAX_SESSIONS = 512  # the longest unused one goes first


class Statistics(NamedTuple):
    """What X-ClickHouse-Summary tells."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0


class Connection:
    """One connection to the engine, with what one request of `user` set on it."""

    def __init__(self, path: str, user: User = User.TIDEGATE) -> None:
        self._chdb: Any = chdb.connect(path)
        self.user = user
        self.database = "default"
        self._confined = False
        if user is not User.TIDEGATE:  # whose role has all that the other one's has
            self._run(f"SET ROLE {user}")
        self._set_here: dict[str, str] = {}  # by SET statements of the session: name -> literal
        self._set_by_request: set[str] = set()

    def close(self) -> None:
        self._chdb.close()

    def prepare(self, database: str | None, settings: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Choose the database, apply settings and query parameters. Raises ClickHouseError."""
        if database and database != self.database:
            self._run("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")
            self.database = database
        assignments = [
            f"{_name(name)} = {_literal(value)}" for name, value in settings.items() if name != "readonly"
        ]
        # `param_x` is the escaped text of HTTP, which is what SET takes as well.
        assignments += [f"{_name(f'param_{name}')} = {_literal(value)}" for name, value in params.items()]
        if assignments:
            self._set_by_request = {*settings} - {"readonly"}
            self._run("SET " + ", ".join(assignments))
        readonly = settings.get("readonly", "0")
        if (
            self.user is User.ANALYST and not self._confined
        ):  # reads, and may set what changes nothing but that
            self._run("SET readonly = 2")
            self._confined = True
        elif self.user is not User.ANALYST and readonly != "0":
            self._run(f"SET readonly = {_literal(readonly)}")

    def restore(self) -> None:
        """Undo the request's settings, on a connection that a session keeps."""
        back = [f"{name} = {self._set_here.get(name, 'DEFAULT')}" for name in self._set_by_request]
        self._set_by_request = set()
        if back:
            self._run("SET " + ", ".join(back))

    def is_read_only(self, sql: str) -> bool | None:
        """The engine's verdict; None for what its parser does not know (the error comes on running it)."""
        verdict = self._chdb._conn.classify_query(sql)
        if verdict["statement_count"] == 0:
            return None
        return bool(verdict["query_class"].name == "READ_ONLY")

    def command(self, sql: str, format: str) -> tuple[bytes, Statistics]:
        """Run anything whose answer is small: DDL, SET, INSERT … SELECT, KILL."""
        result = self._run(sql, format)
        return result.bytes(), _statistics(result)

    def query_into(self, sql: str) -> Statistics:
        """Run a statement that writes its result into a file, or reads its rows from one, by itself."""
        return _statistics(self._run(sql))

    def remember(self, sql: str) -> None:
        """Note what a SET or USE statement of the session changed, for `restore`."""
        found = [token for token in tokens(sql.encode("utf-8", "surrogateescape")) if token.text != b";"]
        if not found:
            return
        if found[0].word == b"USE":
            self.database = ""  # whatever it is: the next request's own `database` is applied anew
        elif found[0].word == b"SET":
            for name, equals, value in zip(found[1:], found[2:], found[3:], strict=False):
                if equals.text == b"=":
                    self._set_here[name.text.decode()] = value.text.decode("utf-8", "replace")
                    self._set_by_request.discard(name.text.decode())

    def _run(self, sql: str, format: str = "TabSeparated") -> Any:
        with _engine_errors():
            return self._chdb.query(sql, format)


class Session:
    """A connection that a client keeps by name: temporary tables, SET and USE live in it."""

    def __init__(self, connection: Connection, timeout_seconds: float) -> None:
        self.connection = connection
        self.timeout_seconds = timeout_seconds
        self.used_at = time.monotonic()
        self.lock = threading.Lock()

    @property
    def expired(self) -> bool:
        return not self.lock.locked() and time.monotonic() - self.used_at > self.timeout_seconds


class Engine:
    """The store in `path`, held open until `close`. One process at a time can hold it."""

    def __init__(self, path: Path, scratch: Scratch, *, database: str = "tidegate") -> None:
        """Analysts read `database`."""
        self._path = str(path)
        self._scratch = scratch
        configuration = write_configuration(Path(scratch.path), database)
        # The engine lives as long as one connection does; its first one brings the configuration.
        self._anchor = Connection(f"{self._path}?config-file={configuration}")
        self._make_default_database()
        self._checker = Connection(self._path)
        self._checker.command(f"SET max_query_size = {MAX_QUERY_BYTES * 4}", "Null")
        self._permissions = Permissions(
            lambda sql: self._checker.command(sql, "TSVRaw")[0].decode("utf-8", "replace")
        )
        # Stands for the file of a statement while it is checked; nobody can name it.
        self._unnamed = os.path.join(scratch.path, secrets.token_hex(16))
        self._names = itertools.count()
        self._slots = threading.BoundedSemaphore(MAX_STATEMENTS)
        self._workers = ThreadPoolExecutor(MAX_STATEMENTS, thread_name_prefix="query")
        self._sessions: dict[tuple[User, str], Session] = {}
        self._sessions_lock = threading.Lock()
        answer, _ = self._anchor.command("SELECT timezone(), version(), hostName()", "TabSeparated")
        self.timezone, self.version, self.host = answer.decode().rstrip("\n").split("\t")

    def _make_default_database(self) -> None:
        """Make `default` an ordinary database. chDB lays it over the file system: a table is a file there."""
        run = self._anchor.command
        if run("SELECT count() FROM system.tables WHERE database = 'default'", "TSV")[0] == b"0\n":
            run("DROP DATABASE default SYNC", "Null")  # an empty one cannot be attached again
            run("CREATE DATABASE default ENGINE = Atomic", "Null")
        elif Path(self._path, "metadata", "default.sql").exists():
            run("DETACH DATABASE default", "Null")
            run("ATTACH DATABASE default", "Null")

    def close(self) -> None:
        """Flush and let go of the store. Statements must have ended."""
        self._workers.shutdown()
        for session in self._sessions.values():
            session.connection.close()
        self._checker.close()
        self._anchor.close()
        self._scratch.close()

    @contextmanager
    def connection(
        self, user: User, session_id: str | None, *, timeout_seconds: float = 60.0, must_exist: bool = False
    ) -> Iterator[Connection]:
        """A connection for one request, waiting while too many statements run.

        Raises ClickHouseError when the session is busy, or missing though it `must_exist`.
        """
        with self._slots:
            if not session_id:
                connection = Connection(self._path, user)
                try:
                    yield connection
                finally:
                    connection.close()
                return
            session = self._session(user, session_id, timeout_seconds, must_exist)
            try:
                yield session.connection
                session.connection.restore()
            except ClickHouseError:
                with suppress(ClickHouseError):
                    session.connection.restore()
                raise
            finally:
                session.used_at = time.monotonic()
                session.lock.release()

    def command(self, connection: Connection, sql: str, format: str) -> tuple[bytes, Statistics]:
        """Run anything of a client whose answer is small. Raises ClickHouseError."""
        self._permissions.check(connection.user, sql)
        return connection.command(sql, format)

    def read(self, connection: Connection, sql: str, default_format: str) -> Reading:
        """Start a query whose result comes out of `Reading`. Raises ClickHouseError if it may not run."""
        try:
            head, format, tail = cut_query(sql.encode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise refusal("SYNTAX_ERROR", f"Syntax error: {error}") from error
        format = format or default_format
        path = os.path.join(self._scratch.path, f"result-{next(self._names)}")

        def into(file: str) -> str:
            return f"{head}\nINTO OUTFILE '{file}' TRUNCATE FORMAT {format}{tail}"

        try:
            self._permissions.check(connection.user, into(self._unnamed), file=self._unnamed)
        except ClickHouseError as error:
            if error.code != SYNTAX_ERROR:
                raise
            # Wrong in itself, or a statement that takes no INTO OUTFILE: its own text tells which.
            self._permissions.check(connection.user, sql)
            return Reading(self._workers, path, format, lambda: _command_into(connection, sql, path, format))
        return Reading(self._workers, path, format, lambda: connection.query_into(into(path)))

    def insert(
        self, connection: Connection, insert: Insert, format: str, pieces: Iterator[bytes]
    ) -> Statistics:
        """Feed data to an INSERT; nothing is stored when the data end in an error.

        By way of a file: chDB's own way of feeding pieces (`send_insert`) tells no error that comes behind
        the last piece, so that what found no room on the disk, or no way into a view, was answered as done.
        """

        def from_file(path: str) -> str:
            return f"{from_infile(insert, path)} FORMAT {insert.format or format}"

        self._permissions.check(connection.user, from_file(self._unnamed), file=self._unnamed)
        path = os.path.join(self._scratch.path, f"insert-{next(self._names)}")
        try:
            with open(path, "xb") as file:
                for piece in pieces:
                    file.write(piece)
            return connection.query_into(from_file(path))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def kill(self, reading: Reading) -> None:
        """Cancel the query behind a reading that nobody wants any more, and wait for its end."""
        pattern = f"INTO OUTFILE \\'{reading.path}\\'"
        connection = Connection(self._path)
        kill = f"KILL QUERY WHERE position(query, '{pattern}') > 0 AND query NOT ILIKE 'KILL%' ASYNC"
        while True:
            with suppress(ClickHouseError):
                connection.command(kill, "Null")
            if reading.drained(KILL_AGAIN_SECONDS):  # or it was not among the queries yet
                break
        connection.close()

    def _session(self, user: User, name: str, timeout_seconds: float, must_exist: bool) -> Session:
        """The user's session of this name, locked for one request."""
        key = (user, name)
        while True:
            with self._sessions_lock:
                self._forget_old_sessions()
                session = self._sessions.get(key)
                if session is None:
                    if must_exist:
                        raise refusal("SESSION_NOT_FOUND", f"Session {name} not found")
                    session = self._sessions[key] = Session(Connection(self._path, user), timeout_seconds)
            # A client may send its next request while the thread of the last one is still letting go.
            if not session.lock.acquire(timeout=LET_GO_SECONDS):
                raise refusal("SESSION_IS_LOCKED", f"Session {name} is locked by a concurrent client")
            if self._sessions.get(key) is session:
                session.timeout_seconds = timeout_seconds
                return session
            session.lock.release()  # it expired between the two locks

    def _forget_old_sessions(self) -> None:
        gone = [name for name, session in self._sessions.items() if session.expired]
        if len(self._sessions) - len(gone) >= MAX_SESSIONS:
            idle = [item for item in self._sessions.items() if not item[1].lock.locked()]
            gone += [name for name, _ in sorted(idle, key=lambda item: item[1].used_at)[:16]]
        for name in {*gone}:
            self._sessions.pop(name).connection.close()


class Reading:
    """The bytes of a result as the engine writes them; then its statistics or its error."""

    def __init__(
        self, workers: ThreadPoolExecutor, path: str, format: str, run: Callable[[], Statistics]
    ) -> None:
        self.path = path
        self.format = format
        os.mkfifo(path, 0o600)
        self._source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # A write end of its own keeps the pipe open until the statement has ended, whether it wrote or not.
        self._own_end = os.open(path, os.O_WRONLY)
        with suppress(AttributeError, OSError):  # Linux has it
            fcntl.fcntl(self._source, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._future: Future[Statistics] = workers.submit(self._finish, run)

    def _finish(self, run: Callable[[], Statistics]) -> Statistics:
        try:
            return run()
        finally:
            os.close(self._own_end)

    def read(self, client: socket.socket | None = None) -> bytes:
        """The next piece, b"" at the end. Raises ConnectionError when the client hangs up meanwhile."""
        waiting = select.poll()
        waiting.register(self._source, select.POLLIN)
        if client is not None:
            waiting.register(client, select.POLLRDHUP if hasattr(select, "POLLRDHUP") else 0)
        while True:
            events = dict(waiting.poll())
            if self._source in events:
                return os.read(self._source, PIPE_BYTES)
            if client is not None and client.fileno() in events:
                raise ConnectionAbortedError("the client hung up")

    def drained(self, seconds: float) -> bool:
        """Read on for so long and throw it away; whether the statement has ended."""
        waiting = select.poll()
        waiting.register(self._source, select.POLLIN)
        deadline = time.monotonic() + seconds
        while not self._future.done() and time.monotonic() < deadline:
            if waiting.poll(POLL_MS) and not os.read(self._source, PIPE_BYTES):
                wait([self._future])  # both write ends are closed
        return self._future.done()

    def close(self) -> None:
        """Let go of the pipe of a statement that has ended.

        Not before: a statement that has yet to open its end of a pipe without a reader waits for ever.
        """
        os.close(self._source)
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def result(self) -> Statistics:
        """After the end of `read`. Raises ClickHouseError if the query failed."""
        return self._future.result()


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError as error:
        raise refusal("SYNTAX_ERROR", "Syntax error: the query is not UTF-8") from error
    except (RuntimeError, TypeError) as error:
        raise from_engine(error) from error


def _command_into(connection: Connection, sql: str, path: str, format: str) -> Statistics:
    body, statistics = connection.command(sql, format)
    with open(path, "wb", buffering=0) as pipe:
        pipe.write(body)
    return statistics


def _statistics(result: Any) -> Statistics:
    return Statistics(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
    )


def _name(setting: str) -> str:
    """A setting's name as it stands, refused if it is none: it goes into a statement unquoted."""
    if not setting.replace("_", "a").replace(".", "a").isalnum() or not setting.isascii():
        raise refusal("UNKNOWN_SETTING", f"Unknown setting '{setting}'")
    return setting


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
