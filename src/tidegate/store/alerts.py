"""Changes of alerts as rows of the table `alerts`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from tidegate.contracts.alerts import Alert, moment
from tidegate.store.insert import InsertBlock

_TIME = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "sequence": pa.uint32(),
    "started_at": _TIME,
    "updated_at": _TIME,
    "until": _TIME,
    "attempts": pa.uint64(),
    "failures": pa.uint64(),
    "usual": pa.float64(),
    "clients": pa.uint32(),
    "clients_seen": pa.uint32(),
    "aps": pa.uint32(),
    "aps_seen": pa.uint32(),
    "code": pa.int64(),
    "sub_code": pa.int64(),
    "cause_share": pa.float64(),
}
"""Of the columns that are no text."""
_COLUMNS = (
    *("fleet", "id", "sequence", "incident", "rule", "signal", "state", "severity"),
    *("site", "stage", "ssid", "ap", "stream", "started_at", "updated_at", "by", "until"),
    *("attempts", "failures", "usual", "clients", "clients_seen", "aps", "aps_seen"),
    *("code", "sub_code", "reason", "cause_share", "cause_dimension", "cause_value"),
    *("summary", "action", "details", "epoch"),
)
SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in _COLUMNS])


def block(alerts: Sequence[Alert], epoch: str) -> InsertBlock:
    """One insert of these changes. Raises ValueError for a time that is none."""
    rows = [_row(alert, epoch) for alert in alerts]
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(batch)
    return InsertBlock("alerts", SCHEMA.names, "", len(rows), sink.getvalue())


def months(alerts: Sequence[Alert]) -> list[list[Alert]]:
    """The changes by partition of the table, each to be an insert of its own."""
    found: dict[str, list[Alert]] = {}
    for alert in alerts:
        found.setdefault(moment(alert.updated_at).strftime("%Y%m"), []).append(alert)
    return [found[month] for month in sorted(found)]


def _row(alert: Alert, epoch: str) -> dict[str, object]:
    impact, cause = msgspec.structs.asdict(alert.impact), msgspec.structs.asdict(alert.cause)
    share, dimension, value = (cause.pop(name) for name in ("share", "dimension", "value"))
    return {
        **msgspec.structs.asdict(alert),
        **msgspec.structs.asdict(alert.scope),
        **impact,
        **cause,
        "started_at": moment(alert.started_at),
        "updated_at": moment(alert.updated_at),
        "until": moment(alert.until) if alert.until else None,
        "cause_share": share,
        "cause_dimension": dimension,
        "cause_value": value,
        "details": msgspec.json.encode(alert.details).decode(),
        "epoch": epoch,
    }
