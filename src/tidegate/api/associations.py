"""Association data in two steps: the first call answers the relative URI of a file, the second the file.

The name of a file says what is in it, and its rows come out of ClickHouse while it is fetched: no process
keeps anything, so that every api process can answer both steps, and memory stays flat. A name is signed: one
that the first step did not give is not found, and neither is one of a fleet that is not the token's.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import time
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import Request

from tidegate.api import links, pseudonymised
from tidegate.api.access import AnyReader, Reader
from tidegate.api.exports import CSV_SAFE
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.parameters import Flag, Integer, bad_format, choice, epoch, moment, since, until
from tidegate.api.problems import Problem
from tidegate.api.reading import Limits, Reading
from tidegate.api.signing import Signer
from tidegate.api.stored_names import pseudonym_keys
from tidegate.api.streamed_files import Files
from tidegate.contracts.formats import MICROS_LIMIT, TIME_PATTERN
from tidegate.keyfile import Keys
from tidegate.lookups.sites import Sites
from tidegate.settings import Settings
from tidegate.store import queries
from tidegate.store.associations import COLUMNS, STREAMING, Associations, associations

log = logging.getLogger(__name__)
router = APIRouter(tags=["association data"])

PURPOSE = "association file"
CLOCK_SECONDS = 60  # by which the clocks of two api processes may differ
DAY_MICROS = 86_400_000_000
FILES = "/V2/analytics/files"

FileFormat = Annotated[Literal["JSON", "CSV"], BeforeValidator(choice("JSON", "CSV"))]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
DATE_ALLOWED = "a date (2024-01-14), an ISO time or an epoch time in seconds or milliseconds"


def first_moment(text: str) -> int:
    """The first microsecond of a date or time."""
    if _NUMBER.fullmatch(text):
        return since(epoch(text)) or 0
    return moment(text)


def last_moment(text: str) -> int:
    """The last microsecond of a date, or of the second or millisecond that an epoch time names."""
    if _NUMBER.fullmatch(text):
        return until(epoch(text)) or 0
    return moment(text) + (DAY_MICROS - 1 if _DAY.fullmatch(text) else 0)


def _date(value: Any) -> str:
    text = str(value).strip()
    if not text or text.startswith("-"):
        raise bad_format(DATE_ALLOWED)
    first_moment(text)
    return text


Date = Annotated[
    str,
    BeforeValidator(_date),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^[0-9]{{1,16}}$|{TIME_PATTERN}",
            "examples": ["2024-01-14", "1705190400"],
        }
    ),
]
FileName = Annotated[
    str,
    InPath(description="As the first step gave it"),
    WithJsonSchema({"type": "string", "format": "association-file"}),
]

Micros = Annotated[int, msgspec.Meta(ge=-MICROS_LIMIT, le=MICROS_LIMIT)]
Location = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class File(NamedTuple):
    """What a file holds. Times in microseconds; fleet '' is every fleet."""

    fleet: str
    since: Micros
    until: Micros
    made_at: Micros
    hash_key: str  # id of the key of the pseudonyms in place of MACs; '' for MACs
    locations: list[Location] | None
    csv_safe: bool = True

    def name(self, format: Literal["JSON", "CSV"], signer: Signer) -> str:
        return f"{signer.seal(PURPOSE, msgspec.json.encode(self))}.{format.lower()}"


def read_name(text: str, signer: Signer) -> File:
    """The inverse of File.name, without its extension. Raises Problem not_found for anything else."""
    raw = signer.open(PURPOSE, text)
    if raw is None:
        raise Problem("not_found")
    return msgspec.json.decode(raw, type=File)


@router.get(
    "/V2/analytics/associationdata/{startdate}/{enddate}",
    summary="Association data: where the file is",
    response_class=PlainTextResponse,
)
async def association_data(
    request: Request,
    reader: AnyReader,
    startdate: Annotated[Date, InPath(description="Associations that began at or after this date or time")],
    enddate: Annotated[Date, InPath(description="And at or before this one; a date is meant whole")],
    format: Annotated[FileFormat, Query(description="Of the file")] = "CSV",
    tohashmac: Annotated[Flag, Query(description="Clients by a pseudonym in place of their MAC")] = False,
    location: Annotated[list[Integer] | None, Query(description="Location; repeat it for several")] = None,
    csv_safe: Annotated[Flag, Query(description=CSV_SAFE)] = True,
) -> PlainTextResponse:
    """The relative URI of a file of the associations of a period. It can be fetched for an hour unless the
    settings say otherwise, and holds what had been received when it was asked for."""
    period = first_moment(startdate), last_moment(enddate)
    if period[0] > period[1]:
        raise Problem(
            "out_of_range",
            "enddate lies before startdate",
            path="enddate",
            found=enddate,
            allowed="startdate or later",
        )
    hash_key = (await pseudonym_keys(request)).current if tohashmac else ""
    file = File(reader.fleet or "", *period, time.time_ns() // 1000, hash_key, location, csv_safe)
    base = links.path(request).partition("/V2/")[0]
    return PlainTextResponse(f"{base}{FILES}/{file.name(format, request.app.state.signer)}")


@router.get(
    f"{FILES}/{{name}}.csv",
    summary="Association data: the file, as CSV",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def csv_file(request: Request, reader: AnyReader, name: FileName) -> Response:
    """A line for each association, by client and start; the columns are named in the first line."""
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(COLUMNS)
    return await _answer(request, reader, name, "CSV", "text/csv; charset=utf-8", head.getvalue().encode())


@router.get(
    f"{FILES}/{{name}}.json",
    summary="Association data: the file, as JSON",
    response_class=StreamingResponse,
    responses={200: {"model": list[dict[str, str | int | None]]}},
)
async def json_file(request: Request, reader: AnyReader, name: FileName) -> Response:
    """A list of objects, by client and start; the keys are the columns of the CSV."""
    return await _answer(request, reader, name, "JSONEachRow", "application/json")


async def _answer(
    request: Request, reader: Reader, name: str, format: str, media_type: str, head: bytes = b""
) -> Response:
    settings: Settings = request.app.state.settings
    reading: Reading = request.app.state.reading
    files: Files = request.app.state.files
    keys, query = await _query(request, reader, name, is_csv=bool(head))
    limits = Limits(settings.api_association_file_seconds, settings.api_query_memory_bytes, 0)
    spill = {"max_bytes_before_external_sort": limits.memory_bytes // 2}
    pieces = reading.pieces(query, format, {**STREAMING, **spill}, limits)
    if keys is not None:
        pieces = pseudonymised.replaced(pieces, query.parameters["mark"], keys)
    with files.slot(request) as slot:
        return await slot.answer(
            request,
            pieces,
            name="associationdata",
            media_type=media_type,
            extension="csv" if head else "json",
            head=head,
        )


async def _query(
    request: Request, reader: Reader, name: str, *, is_csv: bool
) -> tuple[Keys | None, queries.Query]:
    """The rows of a file, and the keys if it has pseudonyms.

    Raises Problem `not_found` for one that this token may not have, or no longer.
    """
    file = read_name(name, request.app.state.signer)
    if reader.fleet is not None and file.fleet != reader.fleet:
        raise Problem("not_found")
    age = time.time_ns() // 1000 - file.made_at
    kept: int = request.app.state.settings.api_association_file_seconds
    if not -CLOCK_SECONDS * 1_000_000 <= age <= kept * 1_000_000:
        raise Problem("not_found", "the file has expired; ask for another one")
    lookup_files: LookupFiles = request.app.state.lookups
    lookups = await lookup_files.read()
    fleet = file.fleet or None
    keys = await pseudonym_keys(request) if file.hash_key else None
    if keys is not None:
        if file.hash_key not in keys.keys:
            raise Problem("not_found", "the file's key is gone; ask for another file")
        keys = keys._replace(current=file.hash_key)
    wanted = Associations(
        fleet=fleet,
        since=file.since,
        until=file.until,
        made_at=file.made_at,
        locations=file.locations,
        mark=pseudonymised.draw_mark() if keys else "",
        salt=keys.mac(b"order\n" + msgspec.json.encode(file), id=file.hash_key).hex() if keys else "",
        safe_text=is_csv and file.csv_safe,
    )
    return keys, associations(wanted, _zones(lookups.sites, fleet))


def _zones(sites: Sites, fleet: str | None) -> dict[tuple[str, int], str]:
    return {
        place: site.timezone
        for place, site in sites.by_location.items()
        if site.timezone and (fleet is None or place[0] == fleet)
    }
