"""failures: one JSON document for each failed attempt of an enriched frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.failures import Failure
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.topics import Stream
from tidegate.steps.distinct_values import Column
from tidegate.steps.outcome import FAILURE

_ENCODE_LINES = msgspec.json.Encoder().encode_lines
_NO_ZONE = pa.timestamp("us")
_COLUMNS: dict[Stream, dict[str, str | None]] = {
    # Failure's field: the stream's column
    "client_events": {
        "site": "site",
        "code": "failure_code",
        "sub_code": "sub_failure_code",
        "what": "failure",
        "detail": "sub_failure",
        "client": "mac",
        "ssid": "ssid",
        "bssid": "bssid",
        "ap_name": "ap_name",
    },
    "connection_logs": {
        "site": None,
        "code": None,
        "sub_code": None,
        "what": "connection_type",
        "detail": "status",
        "client": "device_id",
        "ssid": "network_name",
        "bssid": "bssid",
        "ap_name": None,
    },
    "device_logs": {
        "site": "device_location",
        "code": None,
        "sub_code": None,
        "what": "log_action",
        "detail": "notes",
        "client": "device_id",
        "ssid": None,
        "bssid": None,
        "ap_name": None,
    },
}
_ALWAYS = ("fleet", "index", "origin", "event_time", "received_at", "stage", "action", "clock_skew")
_READ: dict[Stream, list[str]] = {
    stream: [*_ALWAYS, *dict.fromkeys(name for name in columns.values() if name is not None)]
    for stream, columns in _COLUMNS.items()
}


def failure_records(
    stream: Stream, batch: pa.RecordBatch, *, epoch: str, partition: int, offset: int
) -> list[tuple[bytes, bytes]]:
    """Key ``fleet/site`` and JSON document of contracts.failures.Failure for each row that failed.

    The documents stand in the order of the rows; the epoch, partition and offset are the source record's.
    """
    failed = pc.indices_nonzero(pc.equal(batch.column("outcome"), pa.scalar(FAILURE)))
    count = len(failed)
    if not count:
        return []

    rows = batch.select(_READ[stream]).take(failed)

    def column(name: str | None) -> list[Any]:
        return [None] * count if name is None else rows.column(name).to_pylist()

    prefix = f"{epoch}-{STREAM_LETTERS[stream]}{partition}-{offset}-"
    of = _COLUMNS[stream]
    fleets, sites = column("fleet"), [site or None for site in column(of["site"])]
    documents = map(
        Failure,
        [
            origin or f"{prefix}{index}"
            for index, origin in zip(column("index"), column("origin"), strict=True)
        ],
        [stream] * count,
        fleets,
        sites,
        _iso(rows.column("event_time")),
        _iso(rows.column("received_at")),
        column("stage"),
        column(of["code"]),
        column(of["sub_code"]),
        _reasons(column(of["what"]), column(of["detail"])),
        [action or None for action in column("action")],
        column(of["client"]),
        column(of["ssid"]),
        column(of["bssid"]),
        column(of["ap_name"]),
        column("clock_skew"),
    )
    lines = _ENCODE_LINES(list(documents)).split(b"\n")  # JSON text holds no raw line break
    return list(zip(_keys(fleets, sites), lines, strict=False))  # the last line is empty


def key(fleet: str, site: str | None) -> bytes:
    """The record key of a failure, and of a fleet's and site's minute counts."""
    return f"{fleet}/{site or ''}".encode()


def _keys(fleets: Iterable[str], sites: Iterable[str | None]) -> Iterator[bytes]:
    known: dict[tuple[str, str | None], bytes] = {}
    for pair in zip(fleets, sites, strict=True):
        found = known.get(pair)
        if found is None:
            found = known[pair] = key(*pair)
        yield found


def _reasons(whats: Iterable[str | None], details: Iterable[str | None]) -> Iterator[str | None]:
    for what, detail in zip(whats, details, strict=True):
        yield f"{what}: {detail}" if what and detail else what or detail or None


def _iso(times: Column) -> list[str]:
    """ISO 8601 with microseconds, UTC. Cast without the zone: with it Arrow takes twenty times as long."""
    text: list[Any] = times.view(_NO_ZONE).cast(pa.string()).to_pylist()
    return [f"{one[:10]}T{one[11:]}Z" for one in text]
