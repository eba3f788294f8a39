"""Rejects: lines that cannot be taken, as records. The kinds and codes are closed lists.

A reject is bad input, never infrastructure trouble. It keeps the original bytes, so that it can be
replayed once a lookup, a transform or the sender is mended.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Literal

import msgspec

from tidegate.contracts.topics import Stream


class Kind(StrEnum):
    """Why a line was refused, coarse: what an operator filters by."""

    SYNTAX = "syntax"  # not a JSON object
    FORM = "form"  # JSON, but none of the stream's forms
    REQUIRED = "required"  # a required field is missing or null
    VALUE = "value"  # a field has a value that its type, enum or range does not allow
    ENVELOPE = "envelope"  # the envelope around the event is broken
    FLEET = "fleet"  # no fleet, or one that the tokens file does not name
    SIZE = "size"  # longer than the settings allow
    KEY = "key"  # another content under an Idempotency-Key or event_id that was there before
    CRASH = "crash"  # a fault of Tidegate's own: a step failed on this line


class Code(StrEnum):
    """Why a line was refused, fine: stable, for scripts and for `replay`."""

    NOT_JSON = "not_json"
    NOT_UTF8 = "not_utf8"
    NOT_OBJECT = "not_object"
    EMPTY_RECORD = "empty_record"
    UNKNOWN_FORM = "unknown_form"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_IN_ENUM = "not_in_enum"
    OUT_OF_RANGE = "out_of_range"
    BAD_FORMAT = "bad_format"
    BAD_ENVELOPE = "bad_envelope"
    MISSING_FLEET = "missing_fleet"
    UNKNOWN_FLEET = "unknown_fleet"
    TOO_LARGE = "too_large"
    KEY_REUSED = "key_reused"
    CRASH = "crash"


KIND_OF: dict[Code, Kind] = {
    Code.NOT_JSON: Kind.SYNTAX,
    Code.NOT_UTF8: Kind.SYNTAX,
    Code.NOT_OBJECT: Kind.SYNTAX,
    Code.EMPTY_RECORD: Kind.SYNTAX,
    Code.UNKNOWN_FORM: Kind.FORM,
    Code.MISSING_FIELD: Kind.REQUIRED,
    Code.WRONG_TYPE: Kind.VALUE,
    Code.NOT_IN_ENUM: Kind.VALUE,
    Code.OUT_OF_RANGE: Kind.VALUE,
    Code.BAD_FORMAT: Kind.VALUE,
    Code.BAD_ENVELOPE: Kind.ENVELOPE,
    Code.MISSING_FLEET: Kind.FLEET,
    Code.UNKNOWN_FLEET: Kind.FLEET,
    Code.TOO_LARGE: Kind.SIZE,
    Code.KEY_REUSED: Kind.KEY,
    Code.CRASH: Kind.CRASH,
}

STATUS_OF: dict[Kind, Literal[400, 413, 422, 500]] = {
    Kind.SYNTAX: 400,
    Kind.FORM: 400,
    Kind.REQUIRED: 400,
    Kind.VALUE: 422,
    Kind.ENVELOPE: 400,
    Kind.FLEET: 422,
    Kind.SIZE: 413,
    Kind.KEY: 422,
    Kind.CRASH: 500,  # the worker's alone: the gateway runs no step
}
"""What the gateway answers for an event of that kind (DESIGN: 400 not JSON or missing, 422 invalid value)."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one event: a value, returned and never raised.

    `path` names the field in the sender's spelling (``locationId.id``), empty for the whole event;
    `found` is what stood there, shortened to 80 characters; `allowed` is what may stand there.
    """

    code: Code
    path: str = ""
    found: str = ""
    allowed: str = ""
    detail: str = ""

    @property
    def kind(self) -> Kind:
        return KIND_OF[self.code]

    @property
    def status(self) -> int:
        return STATUS_OF[self.kind]


class Reject(msgspec.Struct, frozen=True):
    """One refused line on its way to table and topic. Times in microseconds since 1970 UTC."""

    epoch: str
    stream: Stream
    partition: int
    offset: int
    index: int
    fleet: str  # empty where the line does not say
    received_at: int
    stage: Literal["decode", "enrich"]
    kind: Kind
    code: Code
    path: str
    found: str
    allowed: str
    detail: str
    original: str  # the line as it came; base64 where it is not UTF-8; empty where the raw topic alone has it
    original_encoding: Literal["utf8", "base64", "raw"]
    id: str = ""
    device: str = ""  # header `device` of its record; the envelope in `original` may name another
    origin: str = ""  # of a replayed line: the id under which it was refused first
    replayed_under: str = ""  # of a replayed line: the transform_version by which it was to pass


def original_text(line: bytes) -> tuple[str, Literal["utf8", "base64", "raw"]]:
    """The bytes of a line as text that JSON can carry, and how they were written."""
    try:
        return line.decode("utf-8"), "utf8"
    except UnicodeDecodeError:
        return base64.b64encode(line).decode("ascii"), "base64"
