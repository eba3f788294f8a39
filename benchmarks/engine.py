"""ClickHouse alone: the same events as JSONEachRow, in 100,000-row inserts, two at a time.

`rows` inserts what Tidegate itself stored, every column and with the rollups, into the same tables of
another database: what the engine can do at best if somebody else made the rows.
`documents` inserts the client events' own JSON into one plain table without rollups.
"""

from __future__ import annotations

import dataclasses
import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

from benchmarks import workload
from benchmarks.pipeline import Result
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock
from tidegate.contracts.topics import STREAMS
from tidegate.store.client import plain
from tidegate.store.migrate import migrate

INSERT_ROWS = 100_000
PARALLEL = 2
DATABASE = "engine_alone"

_TEXT = "LowCardinality(Nullable(String))"
_DOCUMENT = {
    "macAddress": "String",
    "protocol": _TEXT,
    "locationId": "Tuple(type Nullable(String), id Nullable(Int64))",
    "eventType": "LowCardinality(String)",
    "bssid": "Nullable(String)",
    "channel": "Nullable(Int64)",
    "timestamp": "Int64 CODEC(Delta, ZSTD(1))",
    "associatedAPName": _TEXT,
    "ssid": _TEXT,
    **dict.fromkeys(
        (
            "associationTimestamp",
            "authenticationTimestamp",
            "networkTimestamp",
            "autoTestSessionId",
            "autoTestStatusCode",
            "dhcpLatency",
            "aaaLatency",
            "dnsLatency",
            "failureCode",
            "subFailureCode",
            "categoryCode",
            "typeCode",
            "subTypeCode",
            "vlan",
            "bwUpload",
            "bwDownload",
            "rssi",
            "bwPriority",
            "assocCount",
            "thresholdRssi",
            "clCount2Ghz",
            "clCount5Ghz",
            "bstNbrRssi",
            "bstNbrClCnt",
            "disTime",
            "nbrCnt",
        ),
        "Nullable(Int64)",
    ),
    **dict.fromkeys(
        (
            "autoTestStatus",
            "failure",
            "subFailure",
            "category",
            "eventDescription",
            "subEventDescription",
            "radiusPrimaryIP",
            "radiusSecondaryIP",
            "detailedRole",
            "detailedGoogleOU",
            "bwSource",
            "bstNbrMac",
        ),
        _TEXT,
    ),
    "fileId": "Nullable(String)",
    "ip": "Nullable(String)",
}


def documents(stack: Stack, events: int, seed: int = 1) -> Result:
    """`events` client events, as they were sent, into a plain table."""
    stack.client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    stack.client.command(f"DROP TABLE IF EXISTS {DATABASE}.documents")
    fields = ", ".join(f"`{name}` {type}" for name, type in _DOCUMENT.items())
    stack.client.command(
        f"CREATE TABLE {DATABASE}.documents ({fields}) ENGINE = MergeTree ORDER BY (macAddress, timestamp)"
    )
    bodies: list[bytes] = []
    lines: list[bytes] = []
    for event in workload.events(events, seed, ("client_events",)):
        lines.append(event.body)
        if len(lines) == INSERT_ROWS:
            bodies.append(b"\n".join(lines))
            lines = []
    if lines:
        bodies.append(b"\n".join(lines))
    return _insert(stack, [("documents", body) for body in bodies], events)


def rows(stack: Stack) -> Result:
    """Everything that the event tables hold, into the same tables of a new database."""
    stack.client.command(f"DROP DATABASE IF EXISTS {DATABASE}")
    migrate(stack.client, dataclasses.replace(stack.settings, clickhouse_database=DATABASE))
    work: list[tuple[str, bytes]] = []
    count = 0
    for table in STREAMS:
        total = int(stack.client.query(f"SELECT count() FROM {table}").result_rows[0][0])
        count += total
        for start in range(0, total, INSERT_ROWS):
            body = stack.client.raw_query(
                f"SELECT * EXCEPT id FROM {table} LIMIT {INSERT_ROWS} OFFSET {start}", fmt="JSONEachRow"
            )
            work.append((table, body))
    return _insert(stack, work, count)


def _insert(stack: Stack, work: Sequence[tuple[str, bytes]], events: int) -> Result:
    url, headers = plain(stack.settings.clickhouse_url)
    address = urlsplit(url)

    def post(item: tuple[str, bytes]) -> None:
        table, body = item
        query = quote(f"INSERT INTO {DATABASE}.{table} FORMAT JSONEachRow")
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=300)
        connection.request("POST", f"/?query={query}&async_insert=0", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"insert into {table}: {text[:500].decode('utf-8', 'replace')}")

    clock = CpuClock({"clickhouse": stack.pids()["clickhouse"]})
    begin = time.monotonic()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(post, work))
    return Result(events, time.monotonic() - begin, clock.seconds())
