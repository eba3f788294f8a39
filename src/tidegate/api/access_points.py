"""Access points, as client events show them and as the inventory file lists them.

One row for each device: the radios that share a name and a location. A radio without a name is a device of
its own. The MAC of a device is that of the inventory, else the lowest of its radios; `macaddress` finds it by
any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request

from tidegate.api import exports, links, table_files
from tidegate.api.access import NotViewer
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.parameters import Flag, Integer, Mac, Offset, choice, integer
from tidegate.api.reading import Reading
from tidegate.api.streamed_files import Files
from tidegate.lookups.access_points import Inventory, Listed
from tidegate.store import queries

router = APIRouter(tags=["access points"])
_encode = msgspec.json.Encoder().encode

MOST = 100
"""Devices of one answer, as the document says."""

SORT_COLUMNS = ("macaddress", "devicename", "locationid", "firstseen", "lastseen", "model")
SortColumn = Annotated[
    Literal["macaddress", "devicename", "locationid", "firstseen", "lastseen", "model"],
    BeforeValidator(choice(*SORT_COLUMNS)),
]
PageRows = Annotated[int, Field(ge=1, le=MOST), BeforeValidator(integer)]


_EXPORTED: dict[str, pa.DataType] = {
    "macaddress": pa.string(),
    "devicename": pa.string(),
    "locationid": pa.int64(),
    "ssids": pa.list_(pa.string()),
    "firstseen": pa.int64(),
    "lastseen": pa.int64(),
    "model": pa.string(),
    "capabilities": pa.list_(pa.int64()),
}
EXPORTED = pa.schema(_EXPORTED)
"""The document's fields and units, in an export too: access points are no rows of a table."""


class AccessPoint(BaseModel):
    """Times in milliseconds; null for a device that no event has shown yet."""

    macaddress: str
    devicename: str | None
    locationid: int | None
    ssids: list[str]
    firstseen: int | None
    lastseen: int | None
    model: str | None
    capabilities: list[int]


@dataclass(slots=True)
class Device:
    """A device while its parts are put together. Times in microseconds."""

    macs: list[str]
    name: str | None
    location_id: int | None
    ssids: Sequence[str] = ()
    first_seen: int | None = None
    last_seen: int | None = None
    model: str | None = None
    capabilities: Sequence[int] = ()

    def document(self) -> dict[str, Any]:
        return {
            "macaddress": self.macs[0],
            "devicename": self.name,
            "locationid": self.location_id,
            "ssids": self.ssids,
            "firstseen": None if self.first_seen is None else self.first_seen // 1000,
            "lastseen": None if self.last_seen is None else self.last_seen // 1000,
            "model": self.model,
            "capabilities": self.capabilities,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which devices; None is no condition."""

    macs: frozenset[str] | None
    locations: frozenset[int] | None
    capability: int | None

    def takes(self, device: Device) -> bool:
        return (
            (self.macs is None or not self.macs.isdisjoint(device.macs))
            and (self.locations is None or device.location_id in self.locations)
            and (self.capability is None or self.capability in device.capabilities)
        )


@router.get("/V5/devices/aps", summary="Access points", responses=exports.responses(list[AccessPoint]))
@router.get("/V2/devices/aps", summary="Access points", responses=exports.responses(list[AccessPoint]))
@router.get("/v5/devices/aps", include_in_schema=False)
@router.get("/v2/devices/aps", include_in_schema=False)
async def access_points(
    request: Request,
    reader: NotViewer,
    format: exports.Wanted,
    macaddress: Annotated[
        list[Mac] | None, Query(description="MAC address of the device or of a radio; repeat it for several")
    ] = None,
    locationid: Annotated[list[Integer] | None, Query(description="Location; repeat it for several")] = None,
    capability: Annotated[
        Integer | None, Query(description="Devices that the inventory gives this capability")
    ] = None,
    sortcolumn: Annotated[SortColumn, Query(description="Column to sort by")] = "macaddress",
    sortascending: Annotated[Flag, Query(description="From low to high")] = True,
    offset: Annotated[Offset, Query(description="Devices to leave out")] = 0,
    limit: Annotated[
        PageRows | None,
        Query(description="Devices of the page; 100 unless asked otherwise, all of them in an export"),
    ] = None,
) -> Response:
    """At most 100 devices. `X-Total-Count` says how many match; while there are more behind the page, the
    `Link` header with `rel="next"` leads to them."""
    reading: Reading = request.app.state.reading
    files: LookupFiles = request.app.state.lookups
    lookups = await files.read()
    radios = await reading.rows(queries.access_points(reader.fleet))
    wanted = Wanted(
        macs=None if macaddress is None else frozenset(macaddress),
        locations=None if locationid is None else frozenset(locationid),
        capability=capability,
    )

    def choose() -> list[Device]:
        devices = put_together(radios, lookups.inventory, reader.fleet)
        return in_order((one for one in devices if wanted.takes(one)), sortcolumn, sortascending)

    # A large fleet's list would hold up every other request of the loop.
    found = await asyncio.to_thread(choose)
    if format is not None:
        end = None if limit is None else offset + limit
        return await _export(request, format, found[offset:end])
    limit = limit or MOST
    headers = {"x-total-count": str(len(found))}
    if offset + limit < len(found):
        following = links.with_query(request, offset=str(offset + limit), limit=str(limit))
        headers["link"] = f'<{following}>; rel="next"'
    page = [device.document() for device in found[offset : offset + limit]]
    return Response(_encode(page), headers=headers, media_type="application/json")


async def _export(request: Request, format: exports.Format, devices: Sequence[Device]) -> Response:
    files: Files = request.app.state.files
    rows = [device.document() for device in devices]

    async def pieces() -> AsyncGenerator[bytes, None]:
        written = table_files.written(format.name, EXPORTED, rows, csv_safe=format.csv_safe)
        while piece := await asyncio.to_thread(next, written, b""):
            yield piece

    with files.slot(request) as slot:
        return await slot.answer(
            request, pieces(), name="aps", media_type=format.media_type, extension=format.extension
        )


def put_together(radios: Iterable[Sequence[Any]], inventory: Inventory, fleet: str | None) -> list[Device]:
    """The devices of rows of `queries.access_points`, and those that the inventory alone knows.

    A line of the inventory belongs to the device that has its MAC, else to the one of its name and location.
    """
    devices: list[Device] = []
    by_mac: dict[tuple[str, str], Device] = {}
    by_name: dict[tuple[str, str | None, int | None], Device] = {}
    for owner, macs, name, location_id, ssids, first_seen, last_seen in radios:
        device = Device(list(macs), name, location_id, ssids, first_seen, last_seen)
        devices.append(device)
        by_mac.update(((owner, mac), device) for mac in macs)
        if name:
            by_name[owner, name, location_id] = device
    for owner in inventory.by_fleet if fleet is None else (fleet,):
        for listed in inventory.of(owner):
            known = by_mac.get((owner, listed.macaddress)) or by_name.get(
                (owner, listed.devicename, listed.location_id)
            )
            if known is None:
                known = Device([], None, None)
                devices.append(known)
            _complete(known, listed)
    return devices


def _complete(device: Device, listed: Listed) -> None:
    device.macs = [listed.macaddress, *(mac for mac in device.macs if mac != listed.macaddress)]
    device.name = listed.devicename or device.name
    if listed.location_id is not None:
        device.location_id = listed.location_id
    device.model = listed.model or None
    device.capabilities = listed.capabilities


def in_order(devices: Iterable[Device], column: str, ascending: bool) -> list[Device]:
    """Sorted by the column, ties by MAC; devices that have no value come last either way."""
    value = _VALUES[column]
    ordered = sorted(devices, key=lambda device: device.macs[0])
    there = [device for device in ordered if value(device) is not None]
    there.sort(key=value, reverse=not ascending)
    return there + [device for device in ordered if value(device) is None]


_VALUES: dict[str, Callable[[Device], Any]] = {
    "macaddress": lambda device: device.macs[0],
    "devicename": lambda device: device.name,
    "locationid": lambda device: device.location_id,
    "firstseen": lambda device: device.first_seen,
    "lastseen": lambda device: device.last_seen,
    "model": lambda device: device.model,
}
