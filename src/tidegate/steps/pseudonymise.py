"""pseudonymise: keyed pseudonyms in place of MACs of clients and of device ids. The last step on a frame.

What enrichment reads off a MAC (vendor, randomised) is known by then. In texts of a sender every MAC that is
spelled with separators gives way as well. One without any could be any number, unless it is the event's own:
Juniper Mist, for one, writes them so, and what it wrote is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.contracts.formats import parse_mac
from tidegate.contracts.rejects import Fault, Kind
from tidegate.contracts.topics import Stream
from tidegate.pseudonyms import LONGEST_MAC, Stored
from tidegate.steps.distinct_values import TEXT, Column, distinct

OWN: Mapping[Stream, str] = {
    "client_events": "mac",
    "connection_logs": "device_id",
    "device_logs": "device_id",
}
"""The column of each stream that says whose the event is."""

TEXTS: Mapping[Stream, tuple[str, ...]] = {
    "client_events": ("file_id", "extra"),
    "connection_logs": ("metadata", "extra"),
    "device_logs": ("source_id", "device_name", "old_value", "new_value", "notes", "extra"),
}
"""Columns with whatever a sender wrote."""

_MAC = r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(?:[.-][0-9A-Fa-f]{4}){2}"
_IN_TEXT = re.compile(rf"(?<![0-9A-Fa-f])(?<![0-9A-Fa-f][.:-])(?:{_MAC})(?![0-9A-Fa-f]|[.:-][0-9A-Fa-f])")
"""A part of a longer row of such groups, as a UUID is, is none."""

_BARE = r"[0-9A-Fa-f]{12}"
_BARE_IN_TEXT = re.compile(rf"(?<![0-9A-Fa-f]){_BARE}(?![0-9A-Fa-f])")

_WHOSE = frozenset(
    {"", "macAddress", "mac_address", "device_id", "deviceId", "device", "id", "data", "event"}
)


def pseudonymise(stream: Stream, batch: pa.RecordBatch, pseudonyms: Stored) -> pa.RecordBatch:
    """The batch with pseudonyms; the schema stays."""
    fleets = batch.column("fleet")
    columns = {OWN[stream]: _devices(fleets, batch.column(OWN[stream]), pseudonyms)}
    for name in TEXTS[stream]:
        column = batch.column(name)
        text = column.buffers()[-1]
        if text and text.size and pc.any(pc.match_substring_regex(column, f"{_MAC}|{_BARE}")).as_py():
            columns[name] = _texts(fleets, batch.column(OWN[stream]), column, pseudonyms)
    made = [columns.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(made, schema=batch.schema)


def in_text(text: str, fleet: str, pseudonyms: Stored) -> str:
    """A text with pseudonyms in place of the MACs in it."""
    return _IN_TEXT.sub(lambda found: pseudonyms.of(fleet, found[0]), text)


def faceless(fault: Fault, fleet: str, pseudonyms: Stored) -> Fault:
    """The fault without what may say whose the line is: a value that was found where a device's id stands,
    or that of no field in particular, is left out."""
    whose = fault.path.rpartition(".")[2] in _WHOSE and fault.kind is not Kind.SIZE
    return msgspec.structs.replace(
        fault,
        found="" if whose else in_text(fault.found, fleet, pseudonyms),
        detail=in_text(fault.detail, fleet, pseudonyms),
    )


def _devices(fleets: Column, devices: Column, pseudonyms: Stored) -> Column:
    codes, names = distinct(fleets)
    if len(names) == 1:
        return pa.array(map(pseudonyms.of_fleet(names[0]).__getitem__, devices.to_pylist()), TEXT)
    known = [pseudonyms.of_fleet(name) for name in names]
    rows = zip(codes.tolist(), devices.to_pylist(), strict=True)
    return pa.array([known[code][device] for code, device in rows], TEXT)


def _texts(fleets: Column, devices: Column, texts: Column, pseudonyms: Stored) -> Column:
    rows: Any = zip(fleets.to_pylist(), devices.to_pylist(), texts.to_pylist(), strict=True)
    return pa.array(
        [
            text and _without_own(in_text(text, fleet, pseudonyms), fleet, own, pseudonyms)
            for fleet, own, text in rows
        ],
        TEXT,
    )


def _without_own(text: str, fleet: str, own: str | None, pseudonyms: Stored) -> str:
    """The text with the pseudonym of the event's own device where its MAC stands without separators."""
    bare = _bare(own) if own else None
    if own is None or bare is None or bare not in text.lower():
        return text
    pseudonym = pseudonyms.of(fleet, own).replace(":", "")
    return _BARE_IN_TEXT.sub(lambda found: pseudonym if found[0].lower() == bare else found[0], text)


def _bare(device: str) -> str | None:
    """The twelve digits of a MAC in any spelling; None for another device id."""
    if len(device) > LONGEST_MAC:
        return None
    try:
        return parse_mac(device).replace(":", "")
    except ValueError:
        return None
