"""Reads a refused event again, with the values that its sender means in place of those it sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidegate.contracts import json_text
from tidegate.contracts.forms import REFUSALS, Event, examine
from tidegate.contracts.rejects import Fault, Kind
from tidegate.contracts.topics import Stream
from tidegate.lookups.aliases import Aliases

MOST_FIELDS = 64  # of one event that are put right

_TEXT = msgspec.json.Decoder(str)
_ENCODE = msgspec.json.Encoder().encode


def reread(stream: Stream, event: bytes | msgspec.Raw, fault: Fault, aliases: Aliases) -> Event | Fault:
    """The verdict on an event that was refused for `fault`, by what its values mean.

    Field by field, as the faults name them; the other values stay byte for byte. The fault of a value that
    has no alias is the verdict. Never raises for what the bytes say.
    """
    text = bytes(event)
    for _ in range(MOST_FIELDS):
        if fault.kind is not Kind.VALUE:
            return fault
        path = fault.path
        if stream == "connection_logs" and path.startswith("data."):
            text, path = _unwrapped(text), path.removeprefix("data.")
        values = aliases.get((stream, path))
        meant = None if values is None else _replaced(text, path.split("."), values)
        if meant is None:
            return fault
        text = meant
        verdict = examine(stream, text)
        if isinstance(verdict, Event):
            return verdict
        fault = verdict
    return fault


def _unwrapped(text: bytes) -> bytes:
    """The text inside the legacy wrapper; as it is where there is none."""
    try:
        return _TEXT.decode(json_text.fields(text)["data"]).encode("utf-8")
    except (*REFUSALS, KeyError):
        return text


def _replaced(text: bytes, names: Sequence[str], values: Mapping[str, bytes]) -> bytes | None:
    """The object with another value where `names` lead to; None where that value has no alias."""
    try:
        fields = json_text.fields(text)
        found = bytes(fields[names[0]])
    except (*REFUSALS, KeyError):
        return None
    meant = values.get(_said(found)) if len(names) == 1 else _replaced(found, names[1:], values)
    if meant is None:
        return None
    return _ENCODE(
        {name: msgspec.Raw(bytes(value)) for name, value in fields.items()} | {names[0]: msgspec.Raw(meant)}
    )


def _said(value: bytes) -> str:
    """A JSON text as the text that it is, any other value as its JSON text."""
    try:
        return _TEXT.decode(value).strip()
    except REFUSALS:
        return value.decode("utf-8", "replace")
