"""The tables of insight answers as files: their columns, and their rows made flat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

import pyarrow as pa
from fastapi.responses import Response
from starlette.requests import Request

from tidegate.api import exports, table_files
from tidegate.api.insight.answers import ClientEvent
from tidegate.api.insight.request import Row
from tidegate.api.streamed_files import Files
from tidegate.store.insight import ATTEMPT_STAGES


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, type) for name, type in columns.items()])


_TEXT, _WHOLE, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


SITES = _schema(
    site=_TEXT,
    state=_TEXT,
    attempts=_WHOLE,
    failures=_WHOLE,
    rate=_REAL,
    usual=_REAL,
    **{f"failed_{stage}": _WHOLE for stage in ATTEMPT_STAGES},
    p50_ms=_REAL,
    p95_ms=_REAL,
    quick=_REAL,
    clients=_WHOLE,
    clients_failing=_WHOLE,
    disassociations=_WHOLE,
    clock_skew=_WHOLE,
    alerts=_WHOLE,
    data_up_to=_TEXT,
)

SLE = _schema(
    site=_TEXT, name=_TEXT, good=_WHOLE, total=_WHOLE, share=_REAL, usual=_REAL, ok=_FLAG, blame=_TEXT
)

SITE_TABLES: Mapping[str, pa.Schema] = {
    "series": _schema(
        time=_TEXT,
        attempts=_WHOLE,
        failures=_WHOLE,
        rate=_REAL,
        usual=_REAL,
        low=_REAL,
        high=_REAL,
        **{f"failed_{stage}": _WHOLE for stage in ATTEMPT_STAGES},
        disassociations=_WHOLE,
        clock_skew=_WHOLE,
    ),
    "funnel": _schema(step=_TEXT, reached=_WHOLE, failed=_WHOLE, share=_REAL, usual=_REAL, failing=_FLAG),
    "levels": _schema(name=_TEXT, good=_WHOLE, total=_WHOLE, share=_REAL, usual=_REAL, ok=_FLAG, blame=_TEXT),
    "reasons": _schema(
        stage=_TEXT,
        code=_WHOLE,
        sub_code=_WHOLE,
        failure=_TEXT,
        sub_failure=_TEXT,
        action=_TEXT,
        failures=_WHOLE,
        share=_REAL,
        clients=_WHOLE,
        aps=_WHOLE,
        first=_TEXT,
        last=_TEXT,
    ),
    "aps": _schema(ap=_TEXT, time=_TEXT, attempts=_WHOLE, failures=_WHOLE, clients=_WHOLE),
    "clients": _schema(
        mac=_TEXT,
        vendor=_TEXT,
        attempts=_WHOLE,
        failures=_WHOLE,
        last=_TEXT,
        stage=_TEXT,
        code=_WHOLE,
        sub_code=_WHOLE,
        failure=_TEXT,
        sub_failure=_TEXT,
        ssid=_TEXT,
        ap=_TEXT,
    ),
    "changes": _schema(
        time=_TEXT,
        id=_TEXT,
        device_id=_TEXT,
        device=_TEXT,
        model=_TEXT,
        site=_TEXT,
        action=_TEXT,
        variable=_TEXT,
        old=_TEXT,
        new=_TEXT,
        user=_TEXT,
        notes=_TEXT,
        outcome=_TEXT,
        minutes_before=_REAL,
    ),
}

_CLIENT_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("clock_skew",), _FLAG),
    **dict.fromkeys(
        (
            *("code", "sub_code", "channel", "rssi", "authentication_ms", "connect_ms"),
            *("aaa_ms", "dhcp_ms", "dns_ms", "vlan"),
        ),
        _WHOLE,
    ),
}

CLIENT = _schema(**{name: _CLIENT_TYPES.get(name, _TEXT) for name in ClientEvent.model_fields})

SHARED = _schema(
    dimension=_TEXT,
    value=_TEXT,
    second_dimension=_TEXT,
    second_value=_TEXT,
    attempts=_WHOLE,
    failures=_WHOLE,
    clients=_WHOLE,
    rate=_REAL,
    excess=_REAL,
    explained=_REAL,
    share_of_attempts=_REAL,
    lift=_REAL,
    stands_out=_FLAG,
)


def flat_site(row: Row) -> Row:
    return {
        **row,
        **{name: row["connects"][name] for name in ("attempts", "failures", "rate", "usual")},
        **{f"failed_{one['stage']}": one["failed"] for one in row["stages"]},
        **{name: row["time_to_connect"][name] for name in ("p50_ms", "p95_ms", "quick")},
        "alerts": len(row["alerts"]),
    }


def flat_shared(one: Row) -> Row:
    return {
        **one,
        "dimension": one["dimensions"][0],
        "value": one["values"][0],
        "second_dimension": one["dimensions"][1] if len(one["dimensions"]) > 1 else None,
        "second_value": one["values"][1] if len(one["values"]) > 1 else None,
    }


async def export(
    request: Request, format: exports.Format, name: str, schema: pa.Schema, rows: Sequence[Row]
) -> Response:
    """Rows as a file of `format`, in a slot of the exports; only the columns of `schema`."""
    files: Files = request.app.state.files
    cut = [{column: row[column] for column in schema.names} for row in rows]

    async def pieces() -> AsyncGenerator[bytes, None]:
        written = table_files.written(format.name, schema, cut, csv_safe=format.csv_safe)
        while piece := await asyncio.to_thread(next, written, b""):
            yield piece

    with files.slot(request) as slot:
        return await slot.answer(
            request, pieces(), name=name, media_type=format.media_type, extension=format.extension
        )


def flat_point(point: Row) -> Row:
    """A point of a series with a column for each stage."""
    return {**point, **{f"failed_{stage}": point["by_stage"].get(stage, 0) for stage in ATTEMPT_STAGES}}
