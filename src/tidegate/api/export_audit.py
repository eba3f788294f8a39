"""Exports in the audit log: who took what away. An export that cannot be noted there is not made."""

from __future__ import annotations

from starlette.requests import Request

from tidegate.api.access import Reader
from tidegate.api.reading import Reading
from tidegate.store import audit

TIMES = ("window", "from", "to", "fromtime", "totime", "datetime__gte", "datetime__lte")
LONGEST = 64  # characters of a time


async def note_export(request: Request, format: str) -> None:
    """Note who has an export of which call, in which format and window. Of other parameters it notes that
    they were given and not what they say, which may be whose device. Raises Problem as Reading does."""
    reader: Reader = request.state.reader
    reading: Reading = request.app.state.reading
    asked = {name: request.query_params[name][:LONGEST] for name in TIMES if name in request.query_params}
    filters = sorted({*request.query_params} - {*TIMES, "format", "csv_safe", "fleet"})
    entry = audit.made(
        "export",
        id=audit.new_id(),
        by=reader.name,
        fleet=reader.fleet or request.query_params.get("fleet", ""),
        subject=request.scope["route"].path_format,
        details={"format": format, "asked": asked, "filters": filters},
    )
    await reading.note(entry)
