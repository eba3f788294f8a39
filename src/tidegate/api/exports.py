"""A list as a file for analysts: NDJSON, CSV, Arrow or Parquet, by `format` or by the `Accept` header.

ClickHouse writes the format, this process hands the pieces on as they come. What goes wrong before the first
piece has its status; what goes wrong behind it breaks the connection off, so that no part passes for the
whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Query
from fastapi.responses import Response
from pydantic import BeforeValidator
from starlette.requests import Request

from tidegate.api.parameters import Flag, choice
from tidegate.api.problems import Problem
from tidegate.api.reading import Limits, Reading
from tidegate.api.streamed_files import Files
from tidegate.settings import Settings
from tidegate.store.exports import SETTINGS, Export


class Format(NamedTuple):
    """A format of exports; `written_as` is its name in ClickHouse."""

    name: str
    written_as: str
    media_type: str
    extension: str
    csv_safe: bool = True

    @property
    def safe_text(self) -> bool:
        """Whether text must be no formula."""
        return self.name == "csv" and self.csv_safe


CSV_SAFE = (
    "In CSV, text that a spreadsheet would take for a formula gets an apostrophe in front; false: as sent"
)

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("ndjson", "JSONEachRow", "application/x-ndjson", "ndjson"),
        Format("csv", "CSVWithNames", "text/csv; charset=utf-8; header=present", "csv"),
        Format("arrow", "ArrowStream", "application/vnd.apache.arrow.stream", "arrows"),
        Format("parquet", "Parquet", "application/vnd.apache.parquet", "parquet"),
    )
}
BY_MEDIA_TYPE: Mapping[str, str] = {
    "application/json": "json",
    "*/*": "json",
    "application/*": "json",
    "application/ndjson": "ndjson",
    **{each.media_type.partition(";")[0]: each.name for each in FORMATS.values()},
}

FormatName = Annotated[
    Literal["json", "ndjson", "csv", "arrow", "parquet"], BeforeValidator(choice("json", *FORMATS))
]


async def wanted_format(
    request: Request,
    format: Annotated[
        FormatName | None,
        Query(
            description="`json` is the document's answer. The others export the same rows as a file, without"
            " a page's limit; else the `Accept` header decides"
        ),
    ] = None,
    csv_safe: Annotated[Flag, Query(description=CSV_SAFE)] = True,
) -> Format | None:
    """The format of the export; None is no export, but the document's answer."""
    name = format or accepted(request.headers.get("accept", ""))
    found = FORMATS.get(name)
    return found and found._replace(csv_safe=csv_safe)


Wanted = Annotated[Format | None, Depends(wanted_format)]


def accepted(header: str) -> str:
    """The format that an `Accept` header prefers; `json` where it names none that there is."""
    weighed: list[tuple[float, str]] = []
    for item in header.split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        try:
            weight = float(next((part[2:] for part in parameters if part.startswith("q=")), "1"))
            weighed.append((weight, media_type))
        except ValueError:
            continue
    for weight, media_type in sorted(weighed, key=lambda each: -each[0]):
        if weight > 0 and media_type in BY_MEDIA_TYPE:
            return BY_MEDIA_TYPE[media_type]
    return "json"


def responses(model: Any) -> dict[int | str, dict[str, Any]]:
    """The 200 of a list that can be exported, for the OpenAPI document."""
    text: dict[str, Any] = {"schema": {"type": "string"}}
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    content = {
        each.media_type.partition(";")[0]: text if each.name in ("ndjson", "csv") else binary
        for each in FORMATS.values()
    }
    return {200: {"model": model, "content": content, "description": "The list, or its export"}}


async def export(request: Request, format: Format, rows: Export, name: str) -> Response:
    """The answer. Raises Problem as Reading does, and `exports_busy`; `query_too_large` before the first row
    where there are more than `api_export_rows`."""
    settings: Settings = request.app.state.settings
    reading: Reading = request.app.state.reading
    files: Files = request.app.state.files
    limits = Limits(settings.api_export_seconds, settings.api_query_memory_bytes, settings.api_export_rows)
    # Half for sorting leaves half for the rest; what is more goes to the disk.
    spill = {"max_bytes_before_external_sort": limits.memory_bytes // 2}
    with files.slot(request) as slot:
        [[size]] = await reading.rows(rows.size)
        if size > limits.rows:
            raise Problem("query_too_large", allowed=f"{limits.rows} rows")
        pieces = reading.pieces(rows.rows, format.written_as, {**SETTINGS, **spill}, limits)
        return await slot.answer(
            request, pieces, name=name, media_type=format.media_type, extension=format.extension
        )
