"""Connections to ClickHouse over HTTP, and what its errors mean for the caller."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

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
REFUSED = frozenset({192, 193, 194, 497, 516})  # unknown user, wrong password, access denied


def connect(settings: Settings, *, database: str | None = None, connections: int = 8) -> Client:
    """A client that threads may share, with a pool of `connections` of its own.

    `database` is the default database of its queries: the one of the settings unless given; "" is none,
    for the time before the migrations have made it. Raises RetryLater while ClickHouse is away, Stop when
    it refuses the user.
    """
    options = _options(settings, database)
    if _loopback(options["host"]):  # without it, HTTP_PROXY would apply to the own machine
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


def _options(settings: Settings, database: str | None) -> dict[str, Any]:
    url = urlsplit(settings.clickhouse_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError("clickhouse_url: not http://host:port or https://host:port")
    return {
        "interface": url.scheme,
        "host": url.hostname,
        "port": url.port or (8443 if url.scheme == "https" else 8123),
        "username": unquote(url.username) if url.username else None,
        "password": unquote(url.password or ""),
        "database": settings.clickhouse_database if database is None else database or None,
        "client_name": "tidegate",
        # On the own machine compression costs more than the bytes.
        "compress": False if _loopback(url.hostname) else "zstd",
        "connect_timeout": CONNECT_SECONDS,
        "send_receive_timeout": RECEIVE_SECONDS,
        "query_retries": 0,  # callers decide what is tried again
        # One session would serialise the queries of all threads.
        "autogenerate_session_id": False,
    }


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
