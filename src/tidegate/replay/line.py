"""A reject's line as it goes into the raw topic again: in an envelope with its first id and received time."""

from __future__ import annotations

import base64

import msgspec

from tidegate.contracts import json_text
from tidegate.contracts.frames import without_breaks
from tidegate.contracts.rejects import Code
from tidegate.replay.choice import Refused

_ENCODE = msgspec.json.Encoder().encode


def original_of(refused: Refused) -> bytes:
    """The line as it came first."""
    if refused.original_encoding == "base64":
        return base64.b64decode(refused.original)
    return refused.original.encode("utf-8")


def line_of(refused: Refused) -> bytes | None:
    """The envelope; None for a line that is no JSON object, which nothing can stand around.

    What an envelope said stays as it was said, also where it was refused for that. What its record's
    headers said stands in the envelope now.
    """
    original = original_of(refused)
    try:
        found = json_text.fields(original)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    fields = {name: msgspec.Raw(bytes(value)) for name, value in found.items()}
    says_when = "received_at" in fields
    if "event" not in fields:  # a bare event
        fields = {"event": msgspec.Raw(original)}
    for name, said in (("fleet", refused.fleet), ("device", refused.device)):
        if said and bytes(fields.get(name, msgspec.Raw(b"null"))) == b"null":
            fields[name] = msgspec.Raw(_ENCODE(said))
    if not says_when or (refused.code, refused.path) != (Code.BAD_ENVELOPE, "received_at"):
        fields["received_at"] = msgspec.Raw(b"%d" % refused.received_at)
    fields["origin"] = msgspec.Raw(_ENCODE(refused.id))
    return without_breaks(_ENCODE(fields))  # a record that was refused whole may have had lines
