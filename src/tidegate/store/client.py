"""Connections to ClickHouse over HTTP, and what its errors mean for the caller."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import aiohttp
import clickhouse_connect
import urllib3.exceptions
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error
from clickhouse_connect.driver.httputil import get_pool_manager

from tidegate.errors import RetryLater, Stop, UsageError
from tidegate.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

CONNECT_SECONDS = 5
RECEIVE_SECONDS = 300
OWN_USER = "tidegate"  # of the ClickHouse of `up`, for the roles

TRANSIENT = frozenset(
    {
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY: a replica that lost its keeper
        198,  # DNS_ERROR
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED: the server is shutting down
        241,  # MEMORY_LIMIT_EXCEEDED: of the server, by other queries
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        285,  # TOO_FEW_LIVE_REPLICAS
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        519,  # ALL_REPLICAS_ARE_STALE
        999,  # KEEPER_EXCEPTION
    }
)
"""Error codes after which the same call may work later."""

NOT_MIGRATED = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE
REFUSED = frozenset({192, 193, 194, 497, 516})  # unknown user, wrong or no password, access denied


def connect(settings: Settings, *, database: str | None = None, connections: int = 8) -> Client:
    """A client that threads may share, with a pool of `connections` of its own.

    `database` is the default database of its queries: the one of the settings unless given; "" is none,
    for the time before the migrations have made it. Raises RetryLater while ClickHouse is away, Stop when
    it refuses the user.
    """
    options = _options(settings, database)
    if (
        _loopback(options["host"]) and options["interface"] == "http"
    ):  # without it, HTTP_PROXY would apply to the own machine
        options["pool_mgr"] = get_pool_manager(maxsize=connections, num_pools=1, block=True)
    else:
        options["dedicated_pool"] = True
    with infrastructure():
        return clickhouse_connect.get_client(**options)


async def connect_async(settings: Settings, *, connections: int = 32) -> AsyncClient:
    """The same for one event loop. Raises as `connect`."""
    options = _options(settings, None)
    with infrastructure():
        return await clickhouse_connect.get_async_client(
            **options, connector_limit=connections, connector_limit_per_host=connections
        )


@contextmanager
def infrastructure() -> Iterator[None]:
    """Turns trouble with ClickHouse in its body into RetryLater, refused access into Stop.

    Anything else passes through: it is the fault of the statement. After an insert RetryLater means that
    its outcome is unknown, never that nothing was inserted.
    """
    try:
        yield
    except Error as error:
        raise translated(error) from error
    except (
        urllib3.exceptions.HTTPError,
        aiohttp.ClientError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise RetryLater(f"ClickHouse is away: {_first_line(error)}") from error


def translated(error: Error) -> Exception:
    """What the caller of ClickHouse should see of an error of the driver."""
    code = error.code
    if code is None and not isinstance(error, DatabaseError):
        return error
    if code is None:  # transport: no answer of ClickHouse to read a code from
        return RetryLater(f"ClickHouse is away: {_first_line(error)}")
    if code in TRANSIENT:
        return RetryLater(f"ClickHouse: {_first_line(error)}")
    if code in NOT_MIGRATED:
        return RetryLater(f"ClickHouse has no such table or database yet: run `tidegate migrate` ({code})")
    if code in REFUSED:
        return Stop(f"ClickHouse refuses access, see clickhouse_url: {_first_line(error)}")
    return error


def literal(text: str) -> str:
    """Text as it stands in a statement that takes no parameters."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def plain(url: str) -> tuple[str, dict[str, str]]:
    """A ClickHouse URL without its user, and the headers that say the same, for a client of bare HTTP."""
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.username is None:
        return bare, {}
    return bare, {
        "X-ClickHouse-User": unquote(parts.username),
        "X-ClickHouse-Key": unquote(parts.password or ""),
    }


def _login(url: SplitResult, settings: Settings) -> tuple[str | None, str]:
    """User and password: the settings'; without any, those of the ClickHouse that `up` serves."""
    user, password = unquote(url.username or "") or None, unquote(url.password or "")
    if password and settings.clickhouse_password:
        raise UsageError("clickhouse_password: clickhouse_url has a password too; give one of them")
    password = password or settings.clickhouse_password
    if user is None and not password and url.netloc == settings.clickhouse_listen:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(settings.clickhouse_credentials_path.read_bytes())
            return OWN_USER, str(kept[OWN_USER])
    return user, password


def _tls(settings: Settings, scheme: str) -> dict[str, str]:
    """The driver's options for HTTPS. Raises UsageError for files that HTTP would not use."""
    files = {
        "clickhouse_ca_file": "ca_cert",
        "clickhouse_cert_file": "client_cert",
        "clickhouse_key_file": "client_cert_key",
    }
    given = {name: getattr(settings, name) for name in files if getattr(settings, name)}
    for name, path in given.items():
        if scheme != "https":
            raise UsageError(f"{name} is set, but clickhouse_url is not https")
        if not os.access(path, os.R_OK):
            raise UsageError(f"{name}: {path} cannot be read")
    if bool(settings.clickhouse_cert_file) != bool(settings.clickhouse_key_file):
        raise UsageError("clickhouse_cert_file and clickhouse_key_file go together: one of them is empty")
    return {files[name]: path for name, path in given.items()}


def _options(settings: Settings, database: str | None) -> dict[str, Any]:
    url = _url(settings.clickhouse_url)
    host = url.hostname or ""
    user, password = _login(url, settings)
    return {
        "interface": url.scheme,
        "host": host,
        "port": url.port or (8443 if url.scheme == "https" else 8123),
        "username": user,
        "password": password,
        "database": settings.clickhouse_database if database is None else database or None,
        "client_name": "tidegate",
        # On the own machine compression costs more than the bytes.
        "compress": False if _loopback(host) else "zstd",
        "connect_timeout": CONNECT_SECONDS,
        "send_receive_timeout": RECEIVE_SECONDS,
        "query_retries": 0,  # callers decide what is tried again
        **_tls(settings, url.scheme),
        # One session would serialise the queries of all threads.
        "autogenerate_session_id": False,
    }


def _url(text: str) -> SplitResult:
    """The parts of `clickhouse_url`. What is wrong with it is told without it: it may hold a password."""
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0):
            return url
    except ValueError:  # its message quotes what stands where the port should: part of a password, perhaps
        pass
    raise UsageError(
        "clickhouse_url: not http://host:port or https://host:port, with user:password@ before the host if"
        " any (`/`, `?`, `#`, `:` and `%` of these as %2F, %3F, %23, %3A and %25)"
    ) from None


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]
