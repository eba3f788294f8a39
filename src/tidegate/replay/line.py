"""A reject's line as it goes into the raw topic again: in an envelope with its first id and received time."""

from __future__ import annotations

import base64

import msgspec

from tidegate.contracts.rejects import Code
from tidegate.replay.choice import Refused

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
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
        fields = _FIELDS.decode(original)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if "event" not in fields:  # a bare event
        fields = {"event": msgspec.Raw(original.replace(b"\r", b" "))}
    for name, said in (("fleet", refused.fleet), ("device", refused.device)):
        if said and bytes(fields.get(name, b"null")) == b"null":
            fields[name] = msgspec.Raw(_ENCODE(said))
    if (refused.code, refused.path) != (Code.BAD_ENVELOPE, "received_at"):
        fields["received_at"] = msgspec.Raw(b"%d" % refused.received_at)
    fields["origin"] = msgspec.Raw(_ENCODE(refused.id))
    return _ENCODE(fields)
