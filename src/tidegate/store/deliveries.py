"""The delivery log of webhooks: rows of `webhook_deliveries`, and what they say is still owed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from tidegate.store.client import infrastructure
from tidegate.store.insert import InsertBlock

TABLE = "webhook_deliveries"
OWED_DAYS = 10  # what is owed is younger: the retries are over by then, with the longest Retry-After each

IDS = 200  # of a question: they stand in its URL

Outcome = Literal["owed", "retry", "delivered", "failed", "superseded", "gone", "dropped"]
OPEN: frozenset[Outcome] = frozenset({"owed", "retry"})
ENDED: frozenset[Outcome] = frozenset({"failed", "dropped", "gone"})
MOST_LISTED = 10_000

_TIME = pa.timestamp("us", tz="UTC")


class Entry(NamedTuple):
    """A row; times are epoch seconds."""

    fleet: str
    webhook_id: str
    entry: int
    at: float
    endpoint: str
    endpoint_id: str
    alert_id: str
    sequence: int
    state: str
    outcome: Outcome
    attempt: int = 0
    status: int = 0
    error: str = ""
    duration_ms: int = 0
    next_attempt_at: float | None = None
    partition: int = 0
    alert: str = ""  # JSON


_TYPES: dict[str, pa.DataType] = {
    "entry": pa.uint32(),
    "at": _TIME,
    "sequence": pa.uint32(),
    "attempt": pa.uint16(),
    "status": pa.uint16(),
    "duration_ms": pa.uint32(),
    "next_attempt_at": _TIME,
    "partition": pa.uint32(),
}
SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in Entry._fields])


def block(entries: Sequence[Entry]) -> InsertBlock:
    """One insert of these entries."""
    rows = [
        entry._asdict() | {"at": _moment(entry.at), "next_attempt_at": _moment(entry.next_attempt_at)}
        for entry in entries
    ]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(batch)
    return InsertBlock(TABLE, SCHEMA.names, "", len(rows), sink.getvalue())


def owed(client: Client, database: str, partitions: Collection[int], count: int) -> list[Entry]:
    """The newest entry of each notice that is still owed by whoever reads these of the `count` partitions of
    `tidegate.alerts`; `alert` is filled in. Raises RetryLater."""
    if not partitions:
        return []
    return _newest(
        client,
        database,
        f"d.at > now() - INTERVAL {OWED_DAYS} DAY"
        " AND d.partition % {count:UInt32} IN {partitions:Array(UInt32)}",
        {"count": count, "partitions": sorted(partitions)},
        "HAVING outcome IN ('owed', 'retry')",
    )


def newest(client: Client, database: str, webhook_ids: Iterable[str], *, fleet: str = "") -> list[Entry]:
    """The newest entry of each of these notices, of one fleet or of all. Raises RetryLater."""
    of_fleet = " AND d.fleet = {fleet:String}" if fleet else ""
    ids = [*webhook_ids]
    return [
        entry
        for begin in range(0, len(ids), IDS)
        for entry in _newest(
            client,
            database,
            "d.webhook_id IN {ids:Array(String)}" + of_fleet,
            {"ids": ids[begin : begin + IDS], "fleet": fleet},
            "",
        )
    ]


def told(client: Client, database: str, alert_ids: Iterable[str]) -> set[tuple[str, str]]:
    """Of these alerts: which endpoints (by id) any notice was owed to. Raises RetryLater."""
    with infrastructure():
        rows = client.query(
            f"SELECT DISTINCT endpoint_id, alert_id FROM {database}.{TABLE}"
            " WHERE alert_id IN {ids:Array(String)}",
            parameters={"ids": [*alert_ids][:IDS]},
        ).result_rows
    return {(str(endpoint), str(alert)) for endpoint, alert in rows}


def listing(
    client: Client,
    database: str,
    *,
    fleet: str = "",
    endpoint: str = "",
    alert_id: str = "",
    webhook_id: str = "",
    failed: bool = False,
    limit: int = 50,
) -> list[Entry]:
    """The newest entries first, of the notices that fit. Raises RetryLater."""
    given = {
        "fleet": fleet,
        "endpoint": endpoint,
        "alert_id": alert_id,
        "webhook_id": webhook_id,
    }
    conditions = [f"d.{name} = {{{name}:String}}" for name, value in given.items() if value]
    if failed:
        conditions.append("d.outcome IN ('retry', 'failed', 'gone', 'dropped')")
    with infrastructure():
        rows = client.query(
            f"SELECT {', '.join(f'{_expression(name)} AS {name}' for name in Entry._fields)}"
            f" FROM {database}.{TABLE} AS d FINAL"
            f" WHERE {' AND '.join(conditions) or '1'} ORDER BY d.at DESC, d.entry DESC LIMIT {int(limit)}",
            parameters={name: value for name, value in given.items() if value},
        ).result_rows
    return [_entry(row) for row in rows]


def ended(client: Client, database: str, *, fleet: str, endpoint: str = "", since: float) -> list[Entry]:
    """The newest entry of each notice that was given up since a time, epoch seconds. Raises RetryLater."""
    given = {"fleet": fleet, "endpoint": endpoint}
    conditions = [
        *(f"d.{name} = {{{name}:String}}" for name, value in given.items() if value),
        # Of a notice given up since then: all of its entries, the first among them, which has the alert.
        f"d.webhook_id IN (SELECT webhook_id FROM {database}.{TABLE}"
        " WHERE outcome IN {ended:Array(String)} AND at >= fromUnixTimestamp64Micro({since:Int64}))",
    ]
    return _newest(
        client,
        database,
        " AND ".join(conditions),
        {**given, "ended": sorted(ENDED), "since": round(since * 1e6)},
        "HAVING outcome IN {ended:Array(String)}",
    )


def replayed(entry: Entry, now: float) -> Entry:
    """The entry that owes a notice once more, as if it had not been tried. `entry` is its newest one."""
    return entry._replace(
        entry=entry.entry + 1,
        at=now,
        outcome="owed",
        attempt=0,
        status=0,
        error="",
        duration_ms=0,
        next_attempt_at=now,
    )


def _newest(
    client: Client, database: str, condition: str, parameters: dict[str, object], having: str
) -> list[Entry]:
    columns = [
        f"d.{name} AS {name}"
        if name in ("fleet", "webhook_id")
        else "argMaxIf(d.alert, d.entry, d.alert != '') AS alert"
        if name == "alert"
        else f"argMax({_expression(name)}, d.entry) AS {name}"
        for name in Entry._fields
    ]
    with infrastructure():
        rows = client.query(
            f"SELECT {', '.join(columns)} FROM {database}.{TABLE} AS d WHERE {condition}"
            f" GROUP BY d.fleet, d.webhook_id {having} ORDER BY at",
            parameters=parameters,
        ).result_rows
    return [_entry(row) for row in rows]


def _expression(name: str) -> str:
    # A number crosses the driver as it is, whatever the time zones of server and client.
    if name == "next_attempt_at":
        return f"ifNull(toFloat64(d.{name}), 0)"
    return f"toFloat64(d.{name})" if name == "at" else f"d.{name}"


def _entry(row: Sequence[object]) -> Entry:
    found = Entry(*row)  # type: ignore[arg-type]
    return found._replace(next_attempt_at=found.next_attempt_at or None)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
