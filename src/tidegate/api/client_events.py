"""A client's connection logs and events: `client-connection-logs` and `client-events` of the documents.

Times are answered in the unit of each endpoint's sample: `timestamp` is seconds in connection logs and
microseconds in client events; the other times are milliseconds in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request

from tidegate.api import exports, links
from tidegate.api.access import AnyReader
from tidegate.api.newest import ROWS as NEWEST_ROWS
from tidegate.api.newest import newest
from tidegate.api.parameters import (
    EpochTime,
    EventType,
    Flag,
    Integer,
    LogType,
    Mac,
    Offset,
    PageRows,
    Protocol,
    Rows,
    since,
    until,
)
from tidegate.api.reading import Reading
from tidegate.api.stored_names import names
from tidegate.contracts.forms import EVENT_TYPES
from tidegate.store import exports as store_exports
from tidegate.store import queries
from tidegate.store.queries import CONNECTION_COLUMNS, INTERMEDIATE_COLUMNS, ClientEvents

router = APIRouter(tags=["client events"])
_encode = msgspec.json.Encoder().encode

Row = Mapping[str, Any]
LOGS = 1000
"""Connection logs of an answer whose limit is not asked for."""

_COMMON = {
    "macAddress": "mac",
    "protocol": "protocol",
    "locationId": "",
    "eventType": "event_type",
    "bssid": "bssid",
    "channel": "channel",
    "timestamp": "timestamp",
    "associatedAPName": "ap_name",
    "ssid": "ssid",
}
_CONNECTION = _COMMON | {
    "associationTimestamp": "association_timestamp",
    "authenticationTimestamp": "authentication_timestamp",
    "networkTimestamp": "network_timestamp",
    "autoTestSessionId": "autotest_session_id",
    "autoTestStatusCode": "autotest_status_code",
    "autoTestStatus": "autotest_status",
}
_SUCCESS = _CONNECTION | {
    "dhcpLatency": "dhcp_latency",
    "aaaLatency": "aaa_latency",
    "dnsLatency": "dns_latency",
}
_FAILURE = _CONNECTION | {
    "failureCode": "failure_code",
    "failure": "failure",
    "subFailureCode": "sub_failure_code",
    "subFailure": "sub_failure",
    "fileId": "file_id",
}
_INTERMEDIATE = _COMMON | {
    "categoryCode": "category_code",
    "typeCode": "type_code",
    "subTypeCode": "sub_type_code",
    "category": "category",
    "eventDescription": "event_description",
    "subEventDescription": "sub_event_description",
    "vlan": "vlan",
    "ip": "ip",
    "bwUpload": "bw_upload",
    "bwDownload": "bw_download",
    "rssi": "rssi",
    "bwPriority": "bw_priority",
    "radiusPrimaryIP": "radius_primary_ip",
    "radiusSecondaryIP": "radius_secondary_ip",
    "assocCount": "assoc_count",
    "detailedRole": "detailed_role",
    "detailedGoogleOU": "detailed_google_ou",
    "thresholdRssi": "threshold_rssi",
    "bwSource": "bw_source",
    "clCount2Ghz": "cl_count_2ghz",
    "clCount5Ghz": "cl_count_5ghz",
    "bstNbrRssi": "bst_nbr_rssi",
    "bstNbrMac": "bst_nbr_mac",
    "bstNbrClCnt": "bst_nbr_cl_cnt",
    "disTime": "dis_time",
    "nbrCnt": "nbr_cnt",
}
KEYS = {"Success": _SUCCESS, "Failure": _FAILURE, "Intermediate": _INTERMEDIATE}
"""The document's keys of each event type, in the order of its sample, with the column of each."""

_MILLISECONDS = frozenset({"association_timestamp", "authentication_timestamp", "network_timestamp"})


def _answer(event_type: str) -> type[BaseModel]:
    """The document of an event type as a model: its keys, as the event's own model describes them."""
    source = EVENT_TYPES[event_type].model
    described = {field.alias or name: field for name, field in source.model_fields.items()}
    fields: dict[str, Any] = {}
    for key in KEYS[event_type]:
        field = described[key]
        annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        fields[key] = (annotation, Field(description=field.description))
    return create_model(f"Client{event_type}", **fields)


ClientSuccess = _answer("Success")
ClientFailure = _answer("Failure")
ClientIntermediate = _answer("Intermediate")


class ConnectionLogs(BaseModel):
    """Newest first in each section."""

    successLogs: list[ClientSuccess]  # type: ignore[valid-type]
    failureLogs: list[ClientFailure]  # type: ignore[valid-type]


class EventPage(BaseModel):
    """Newest first. `totalCount` is null unless `totalcountrequired` asks for it."""

    previousLink: str
    nextLink: str
    totalCount: int | None
    clientEvents: list[ClientSuccess | ClientFailure | ClientIntermediate]  # type: ignore[valid-type]


@router.get(
    "/V5/devices/clients/connectionlogs",
    summary="Connection logs of a client",
    responses=exports.responses(ConnectionLogs),
)
async def connection_logs(
    request: Request,
    reader: AnyReader,
    format: exports.Wanted,
    clientmacaddress: Annotated[Mac, Query(description="MAC address of the client")],
    fromtime: Annotated[EpochTime, Query(description="Start, epoch time; -1 is open")] = -1,
    totime: Annotated[EpochTime, Query(description="End, epoch time; -1 is open")] = -1,
    logtype: Annotated[LogType, Query(description="Which logs")] = "all",
    failuretype: Annotated[
        Integer | None, Query(description="Failure code: failures of this class alone")
    ] = None,
    limit: Annotated[
        Rows | None,
        Query(
            description="The newest so many, of both sections together; 1,000 unless asked otherwise, all of"
            " them in an export"
        ),
    ] = None,
) -> Response:
    """The successful and failed attempts of one client, newest first. Times: `timestamp` in seconds, the
    others in milliseconds. An export has both kinds in one list, by time."""
    reading: Reading = request.app.state.reading
    wanted = ClientEvents(
        fleet=reader.fleet,
        macs=await names(request, reader.fleet, clientmacaddress),
        event_types=_TYPES_OF[logtype],
        since=since(fromtime),
        until=until(totime),
        failure_code=failuretype,
    )
    if format is not None:
        bound = request.app.state.settings.api_export_rows
        rows = store_exports.client_events(wanted, limit=limit, bound=bound, safe_text=format.safe_text)
        return await exports.export(request, format, rows, "connectionlogs")
    sections: dict[str, list[dict[str, Any]]] = {"successLogs": [], "failureLogs": []}
    found = await newest(
        reading, wanted, lambda part, rows: queries.connection_attempts(part, limit=rows), limit or LOGS
    )
    for values in found:
        row = dict(zip(_CONNECTION_NAMES, values, strict=True))
        section = "successLogs" if row["event_type"] == "Success" else "failureLogs"
        sections[section].append(document(row, timestamp_unit=1_000_000))
    return Response(_encode(sections), media_type="application/json")


@router.get(
    "/V5/devices/clientevents/{macaddress}/{offset}/{limit}",
    summary="Events of a client",
    responses=exports.responses(EventPage),
)
async def client_events(
    request: Request,
    reader: AnyReader,
    format: exports.Wanted,
    macaddress: Annotated[Mac, InPath(description="MAC address of the client")],
    offset: Annotated[Offset, InPath(description="Events to leave out, from the newest")],
    limit: Annotated[PageRows, InPath(description="Events of the page")],
    locationid: Annotated[Integer | None, Query(description="Location of the client")] = None,
    nodeid: Annotated[Integer, Query(description="Taken and without effect: there is one server")] = 0,
    totalcountrequired: Annotated[Flag, Query(description="Count all events that match")] = False,
    fromtime: Annotated[EpochTime, Query(description="Start, epoch time; -1 is open")] = -1,
    totime: Annotated[EpochTime, Query(description="End, epoch time; -1 is open")] = -1,
    clienteventtype: Annotated[EventType | None, Query(description="Events of this type")] = None,
    failureoreventtypecode: Annotated[
        Integer | None, Query(description="Failure code, or type code of intermediate events")
    ] = None,
    eventcategory: Annotated[Integer | None, Query(description="Category of intermediate events")] = None,
    protocol: Annotated[Protocol | None, Query(description="802.11 protocol")] = None,
    ssid: Annotated[list[str] | None, Query(description="SSID; repeat it for several")] = None,
) -> Response:
    """Successes, failures and intermediate events of one client, newest first. Times: `timestamp` in
    microseconds, the others in milliseconds."""
    reading: Reading = request.app.state.reading
    wanted = ClientEvents(
        fleet=reader.fleet,
        macs=await names(request, reader.fleet, macaddress),
        event_types=None if clienteventtype is None else (clienteventtype,),
        since=since(fromtime),
        until=until(totime),
        location_id=locationid,
        failure_or_type_code=failureoreventtypecode,
        category_code=eventcategory,
        protocol=protocol,
        ssids=ssid,
    )
    if format is not None:
        bound = request.app.state.settings.api_export_rows
        export = store_exports.client_events(
            wanted, offset=offset, limit=limit, bound=bound, safe_text=format.safe_text
        )
        return await exports.export(request, format, export, "clientevents")
    page = _page(reading, wanted, offset, limit)
    total: int | None = None
    if totalcountrequired:
        rows, [[total]] = await asyncio.gather(page, reading.rows(queries.client_events_count(wanted)))
    else:
        rows = await page
    before = links.path(request).rsplit("/", 2)[0]
    answer = {
        "previousLink": links.with_path(request, f"{before}/{max(0, offset - limit)}/{limit}"),
        "nextLink": links.with_path(request, f"{before}/{offset + limit}/{limit}"),
        "totalCount": total,
        "clientEvents": [
            document(dict(zip(_EVENT_NAMES, values, strict=True)), timestamp_unit=1) for values in rows
        ],
    }
    return Response(_encode(answer), media_type="application/json")


async def _page(reading: Reading, wanted: ClientEvents, offset: int, limit: int) -> Sequence[Sequence[Any]]:
    if offset + limit > NEWEST_ROWS:
        return await reading.rows(queries.client_events(wanted, offset=offset, limit=limit))
    found = await newest(
        reading, wanted, lambda part, rows: queries.client_events(part, offset=0, limit=rows), offset + limit
    )
    return found[offset:]


def document(row: Row, *, timestamp_unit: Literal[1, 1_000_000]) -> dict[str, Any]:
    """An event as the document shows it. `timestamp_unit` is the unit of `timestamp`, in microseconds."""
    answer: dict[str, Any] = {}
    for key, column in KEYS[row["event_type"]].items():
        if key == "locationId":
            answer[key] = _location(row)
        elif column == "timestamp":
            answer[key] = row[column] // timestamp_unit
        elif column in _MILLISECONDS:
            answer[key] = None if row[column] is None else row[column] // 1000
        else:
            answer[key] = row[column]
    return answer


def _location(row: Row) -> dict[str, Any] | None:
    if row["location_type"] is None and row["location_id"] is None:
        return None
    return {"type": row["location_type"], "id": row["location_id"]}


def _names(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(column.rpartition(" AS ")[2] for column in columns)


_CONNECTION_NAMES = _names(CONNECTION_COLUMNS)
_EVENT_NAMES = _CONNECTION_NAMES + _names(INTERMEDIATE_COLUMNS)
_TYPES_OF: dict[str, tuple[str, ...]] = {
    "success": ("Success",),
    "failure": ("Failure",),
    "all": ("Success", "Failure"),
}
