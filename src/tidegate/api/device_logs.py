"""Device operation and configuration logs: `inventory-device-log` of the documents.

The cursor is a place in the list (time and id of an entry, and the direction), so pages stay put while rows
arrive. It is signed, and good for the fleet and the filters that it was made for alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import BaseModel, WithJsonSchema
from starlette.requests import Request

from tidegate.api import exports, links
from tidegate.api.access import AnyReader
from tidegate.api.event_ids import position_of
from tidegate.api.newest import newest
from tidegate.api.parameters import Flag, Moment, Rows
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.api.signing import Signer
from tidegate.api.stored_names import names
from tidegate.contracts.formats import MICROS_LIMIT
from tidegate.store import exports as store_exports
from tidegate.store import queries
from tidegate.store.queries import DEVICE_LOG_COLUMNS, DeviceLogs, Mark

router = APIRouter(tags=["device logs"])
_encode = msgspec.json.Encoder().encode

PURPOSE = "cursor of device logs"
PAGE = 20  # entries of a page whose limit is not asked for

Row = Mapping[str, Any]
Micros = Annotated[int, msgspec.Meta(ge=-MICROS_LIMIT, le=MICROS_LIMIT)]


class Cursor(NamedTuple):
    """Where a page begins: behind (`older`) or in front of (`newer`) an entry."""

    direction: Literal["older", "newer"]
    mark: Mark

    def text(self, signer: Signer, filters: DeviceLogs) -> str:
        raw = msgspec.json.encode([self.direction[0], self.mark.time, self.mark.id])
        return signer.seal(PURPOSE, raw, bound=_encode(filters))


def read_cursor(text: str, signer: Signer, filters: DeviceLogs) -> Cursor:
    """The inverse of Cursor.text. Raises Problem for anything else, and for a cursor of other filters."""
    raw = signer.open(PURPOSE, text, bound=_encode(filters))
    if raw is None:
        raise Problem(
            "bad_format",
            "cursor is not one of `next` or `previous` of this fleet, with the same filters",
            path="cursor",
            found=text,
            allowed="a cursor of `next` or `previous`, with the same filters",
        )
    direction, time, id = msgspec.json.decode(raw, type=tuple[Literal["o", "n"], Micros, str])
    return Cursor("older" if direction == "o" else "newer", Mark(time, id))


CursorText = Annotated[str, WithJsonSchema({"type": "string", "format": "cursor"})]


class Parent(BaseModel):
    id: str
    name: str | None


class Entry(BaseModel):
    id: str
    datetime: str
    parent: Parent
    action: str
    variable_name: str | None
    old_value: str | None
    new_value: str | None
    is_pending: bool | None
    is_applied: bool | None
    applied_at: str | None
    user: str | None


class EntryPage(BaseModel):
    """Newest first. `count` is that of all entries that match, on every page."""

    count: int
    next: str | None
    previous: str | None
    results: list[Entry]


class Device(Parent):
    model: str | None
    location: str | None


class EntryDetail(Entry):
    parent: Device
    change_request_id: str | None
    rollback_available: bool | None
    notes: str | None


async def wanted(
    request: Request,
    reader: AnyReader,
    datetime__gte: Annotated[Moment | None, Query(description="From this date or time on")] = None,
    datetime__lte: Annotated[
        Moment | None, Query(description="Until this time; a date means its first moment")
    ] = None,
    parent__id: Annotated[str | None, Query(description="Device")] = None,
    action: Annotated[str | None, Query(description="Action, e.g. config_change")] = None,
    is_pending: Annotated[Flag | None, Query(description="Still to be done")] = None,
    is_applied: Annotated[Flag | None, Query(description="Done")] = None,
    variable_name: Annotated[str | None, Query(description="Configuration variable")] = None,
) -> DeviceLogs:
    """The filters that the list and the detail share."""
    return DeviceLogs(
        fleet=reader.fleet,
        since=datetime__gte,
        until=datetime__lte,
        device_ids=None if parent__id is None else await names(request, reader.fleet, parent__id),
        action=action,
        is_pending=is_pending,
        is_applied=is_applied,
        variable_name=variable_name,
    )


Wanted = Annotated[DeviceLogs, Depends(wanted)]


@router.get(
    "/api/v1/inventory_device_log/",
    summary="Device logs",
    responses=exports.responses(EntryPage),
)
@router.get("/api/v1/inventory_device_log", include_in_schema=False)
async def device_logs(
    request: Request,
    filters: Wanted,
    format: exports.Wanted,
    cursor: Annotated[CursorText | None, Query(description="Of `next` or `previous`")] = None,
    limit: Annotated[
        Rows | None,
        Query(description="Entries of the page; 20 unless asked otherwise, all of them in an export"),
    ] = None,
) -> Response:
    """Device operation and configuration logs, newest first."""
    reading: Reading = request.app.state.reading
    signer: Signer = request.app.state.signer
    at = read_cursor(cursor, signer, filters) if cursor else None
    older = at.mark if at and at.direction == "older" else None
    newer = at.mark if at and at.direction == "newer" else None
    if format is not None:
        bound = request.app.state.settings.api_export_rows
        rows = store_exports.device_logs(
            filters, limit=limit, older=older, newer=newer, bound=bound, safe_text=format.safe_text
        )
        return await exports.export(request, format, rows, "inventory_device_log")
    limit = limit or PAGE
    # One row more than the page tells whether there is a page behind it.
    page, [[count]] = await asyncio.gather(
        _page(reading, filters, limit + 1, older, newer),
        reading.rows(queries.device_logs_count(filters)),
    )
    more = len(page) > limit
    entries = [_row(values) for values in page[:limit]]
    if newer:
        entries.reverse()

    def link(direction: Literal["older", "newer"], row: Row) -> str:
        cursor = Cursor(direction, Mark(row["datetime"], row["id"]))
        return links.with_query(request, cursor=cursor.text(signer, filters))

    answer = {
        "count": count,
        "next": link("older", entries[-1]) if entries and (more or newer) else None,
        "previous": link("newer", entries[0]) if entries and (older or (newer and more)) else None,
        "results": [entry(row) for row in entries],
    }
    return Response(_encode(answer), media_type="application/json")


@router.get(
    "/api/v1/inventory_device_log/{id:path}/",
    summary="A device log",
    responses={200: {"model": EntryDetail}},
)
@router.get("/api/v1/inventory_device_log/{id:path}", include_in_schema=False)
async def device_log(
    request: Request,
    filters: Wanted,
    id: Annotated[str, InPath(description="Id of the entry, ours or its sender's")],
) -> Response:
    """One entry, by our id or by the one that its sender gave it (the newest, where there are several). The
    filters are those of the list: an entry that they exclude is not found."""
    id = id.removesuffix("/")  # a sender's own may have some inside
    reading: Reading = request.app.state.reading
    values = await _at_position(reading, filters, id)
    if values is None:
        values = next(iter(await reading.rows(queries.device_log_of_source(filters, id))), None)
    if values is None:
        raise Problem("not_found")
    return Response(_encode(detail(_row(values))), media_type="application/json")


async def _at_position(reading: Reading, filters: DeviceLogs, id: str) -> Sequence[Any] | None:
    """The row of an id of ours."""
    try:
        position = position_of(id, "device_logs")
    except Problem:
        return None
    for _, _, days in await reading.rows(queries.ledger_at(position)):
        for values in await reading.rows(queries.device_log(filters, position, days)):
            return values
    for received_at, *_ in await reading.rows(queries.reject_at(filters.fleet, position)):
        for values in await reading.rows(queries.replayed_device_log(filters, position, received_at)):
            return values
    return None


async def _page(
    reading: Reading, filters: DeviceLogs, limit: int, older: Mark | None, newer: Mark | None
) -> list[Sequence[Any]]:
    if newer is not None:  # these come oldest first
        return await reading.rows(queries.device_logs(filters, limit=limit, newer=newer))
    return await newest(
        reading,
        filters,
        lambda part, rows: queries.device_logs(part, limit=rows, older=older),
        limit,
        before=older.time if older else None,
    )


def entry(row: Row) -> dict[str, Any]:
    """An entry as the list shows it."""
    return {
        "id": row["id"],
        "datetime": _seconds(row["datetime"]),
        "parent": {"id": row["device_id"], "name": row["device_name"]},
        "action": row["log_action"],
        "variable_name": row["variable_name"],
        "old_value": row["old_value"],
        "new_value": row["new_value"],
        "is_pending": row["is_pending"],
        "is_applied": row["is_applied"],
        "applied_at": _seconds(row["applied_at"]),
        "user": row["user"],
    }


def detail(row: Row) -> dict[str, Any]:
    """An entry as its own page shows it."""
    answer = entry(row)
    answer["parent"] |= {"model": row["device_model"], "location": row["device_location"]}
    return answer | {
        "change_request_id": row["change_request_id"],
        "rollback_available": row["rollback_available"],
        "notes": row["notes"],
    }


def _row(values: Sequence[Any]) -> Row:
    return dict(zip(_NAMES, values, strict=True))


def _seconds(micros: int | None) -> str | None:
    if micros is None:
        return None
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_NAMES = tuple(column.rpartition(" AS ")[2] for column in DEVICE_LOG_COLUMNS)
