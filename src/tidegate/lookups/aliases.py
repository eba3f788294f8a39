"""Value aliases: what a sender means by a value that the contract refuses, e.g. frequency "5GHz" for 5.

Looked at for refused lines alone, so what is taken as it stands costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tidegate.contracts.forms import FORMS
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups.table import Row

COLUMNS = ("stream", "field", "value", "means")

Aliases = Mapping[tuple[str, str], Mapping[str, bytes]]
"""(stream, field in the sender's spelling, nested ones with dots) -> value as text -> JSON that it means."""


def read_aliases(rows: Iterable[Row]) -> Aliases:
    """`value` is a text as sent, or any other JSON value as its JSON text; `means` is JSON, else a text."""
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    for row in rows:
        stream = row.text("stream", required=True, allowed=STREAMS)
        field = row.text("field", required=True)
        if field.partition(".")[0] not in _FIELDS[stream]:
            row.wrong("field", f"{field!r} is no field of {stream}")
        values = found.setdefault((stream, field), {})
        value = row.text("value")
        if value in values:
            row.wrong("value", f"{value!r} has a meaning already")
        values[value] = _json(row.text("means", required=True))
    return found


def _fields(stream: Stream) -> frozenset[str]:
    return frozenset().union(*(form.wire_set for form in FORMS[stream]))


_FIELDS: dict[str, frozenset[str]] = {stream: _fields(stream) for stream in STREAMS}


def _json(text: str) -> bytes:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return msgspec.json.encode(text)
    return text.encode("utf-8")
