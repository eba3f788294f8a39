"""decode: a raw frame's bytes into columns of normal values, and the lines that were refused.

Three tiers, each slower and more exact than the one before: the whole frame with one
struct decoder; line by line with each of them; the model, which says what is wrong. A frame falls to the
next tier only for what the tier before could not take.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.formats import MICROS_LIMIT, MILLIS_LIMIT, micros_by_magnitude, parse_time
from tidegate.contracts.forms import EVENT_TYPES, FORM_OF, FORMS, NETWORK, Event, Form, examine, holds, unions
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream

MAX_LINE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class RefusedLine:
    index: int  # of the line in its frame, blank lines not counted
    fault: Fault
    line: bytes  # as it came, without its line break
    fleet: str  # empty where the line does not say
    received_at: int  # µs


class Decoded(NamedTuple):
    columns: dict[str, pa.Array[Any]]  # of equal length: one row an accepted line, in any order
    refused: list[RefusedLine]
    lines: int  # accepted + refused


@dataclass(frozen=True, slots=True)
class _Taken:
    """An accepted line."""

    index: int
    fleet: str
    received_at: int
    device: str | None
    event: Event


def decode_frame(
    stream: Stream,
    value: bytes,
    *,
    fleet: str | None,
    device: str | None,
    received_at: int,
    fleets: Container[str] | None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Decoded:
    """Decode one raw record.

    `fleet`, `device` and `received_at` (µs; the record's timestamp where no header says) come from the
    record and hold for lines that do not say. `fleets` are the known ones; None takes any.
    """
    whole = _whole_frame(stream, value, fleet, device, received_at, fleets, max_line_bytes)
    if whole is not None:
        return whole
    taken: list[_Taken] = []
    refused: list[RefusedLine] = []
    lines = _lines(value)
    for index, line in enumerate(lines):
        found: _Taken | RefusedLine | None = None
        if len(line) <= max_line_bytes:
            found = _good_line(stream, index, line, received_at, fleets)
        if found is None:
            found = _line(stream, index, line, fleet, device, received_at, fleets, max_line_bytes)
        if isinstance(found, RefusedLine):
            refused.append(found)
        else:
            taken.append(found)
    return Decoded(_columns_of(stream, taken), refused, len(lines))


def _lines(value: bytes) -> list[bytes]:
    """The lines that count. A record with none is one empty line, so that it has an outcome."""
    return [line for line in value.split(b"\n") if line.strip()] or [value]


# --- the whole frame at once


def _envelope(event: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        "Envelope",
        [
            ("fleet", Annotated[str, msgspec.Meta(min_length=1)]),
            ("event", event),
            ("received_at", Annotated[int, msgspec.Meta(ge=0, le=MICROS_LIMIT)] | None, None),
            ("device", str | None, None),
        ],
        frozen=True,
        gc=False,
        forbid_unknown_fields=True,
    )


_ENVELOPES: dict[Stream, list[msgspec.json.Decoder[Any]]] = {
    stream: [msgspec.json.Decoder(_envelope(union)) for union in unions(stream)] for stream in STREAMS
}
_BARE: dict[Stream, list[msgspec.json.Decoder[Any]]] = {
    stream: [msgspec.json.Decoder(union) for union in unions(stream)] for stream in STREAMS
}


def _whole_frame(
    stream: Stream,
    value: bytes,
    fleet: str | None,
    device: str | None,
    received_at: int,
    fleets: Container[str] | None,
    max_line_bytes: int,
) -> Decoded | None:
    """The frame if every line is good and of one decoder; None leaves it to the next tier."""
    # Not `decode_lines`: it reads JSON values wherever lines break, and a line is what an index counts.
    lines = value.rstrip(b"\n").split(b"\n")
    if len(value) > max_line_bytes and max(map(len, lines)) > max_line_bytes:
        return None
    for decoder in _ENVELOPES[stream]:
        try:
            found = list(map(decoder.decode, lines))
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        senders = [item.fleet for item in found]
        times = [item.received_at for item in found]
        events = [item.event for item in found]
        devices = [item.device for item in found] if stream == "connection_logs" else []
        return _frame_of(stream, events, senders, times, devices, received_at, fleets)
    if fleet is None:
        return None
    for decoder in _BARE[stream]:
        try:
            events = list(map(decoder.decode, lines))
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        count = len(events)
        return _frame_of(
            stream, events, [fleet] * count, [received_at] * count, [device] * count, received_at, fleets
        )
    return None


def _frame_of(
    stream: Stream,
    events: list[Any],
    senders: list[str],
    times: list[int | None],
    devices: list[str | None],
    received_at: int,
    fleets: Container[str] | None,
) -> Decoded | None:
    count = len(events)
    known = set(senders)
    if count == 0 or (fleets is not None and not all(sender in fleets for sender in known)):
        return None
    received = [received_at if time is None else time for time in times]
    if min(received) <= MILLIS_LIMIT:
        received = [micros_by_magnitude(time) for time in received]
    groups: dict[type, list[int]] = {}
    for index, event in enumerate(events):
        groups.setdefault(type(event), []).append(index)
    parts: list[tuple[Form, list[Any], list[str | None]]] = []
    order: list[int] = []
    for kind, indexes in groups.items():
        members = events if len(groups) == 1 else [events[i] for i in indexes]
        parts.append((FORM_OF[kind], members, [devices[i] for i in indexes] if devices else []))
        order += indexes
    try:
        columns = _columns(stream, parts, count)
    except ValueError:  # a text format does not hold: the next tier finds the line
        return None
    if len(groups) > 1:
        senders = [senders[i] for i in order]
        received = [received[i] for i in order]
    columns["fleet"] = _constant(senders[0], count) if len(known) == 1 else pa.array(senders, pa.string())
    columns["received_at"] = pa.array(received, pa.int64())
    columns["index"] = pa.array(order, pa.uint32())
    columns["extra"] = _constant("", count)
    return Decoded(columns, [], count)


# --- line by line


def _good_line(
    stream: Stream,
    index: int,
    line: bytes,
    received_at: int,
    fleets: Container[str] | None,
) -> _Taken | None:
    """A line in an envelope that a strict struct takes; None leaves it to the next tier."""
    decoders = _ENVELOPES[stream]
    # A wrong guess costs one more try and never changes the verdict.
    if len(decoders) > 1 and b'"network_security"' not in line:
        decoders = decoders[::-1]
    for decoder in decoders:
        try:
            found = decoder.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            continue
        form = FORM_OF[type(found.event)]
        if (fleets is not None and found.fleet not in fleets) or not holds(form, found.event):
            return None
        if found.received_at is not None:
            received_at = found.received_at
            if received_at <= MILLIS_LIMIT:
                received_at = micros_by_magnitude(received_at)
        return _Taken(index, found.fleet, received_at, found.device, Event(form, found.event))
    return None


_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_TIME_ALLOWED = "ISO 8601 or epoch seconds, milliseconds or microseconds"


def _line(
    stream: Stream,
    index: int,
    line: bytes,
    fleet: str | None,
    device: str | None,
    received_at: int,
    fleets: Container[str] | None,
    max_line_bytes: int,
) -> _Taken | RefusedLine:
    if len(line) > max_line_bytes:
        fault = Fault(
            Code.TOO_LARGE, "", f"{len(line)} bytes", f"at most {max_line_bytes} bytes", "line too long"
        )
        return RefusedLine(index, fault, line, fleet or "", received_at)
    event: bytes | msgspec.Raw = line
    envelope = _open_envelope(line)
    if envelope is not None:
        event = envelope["event"]
        opened = _envelope_fields(envelope, fleet, device, received_at)
        if isinstance(opened, Fault):
            return RefusedLine(index, opened, line, fleet or "", received_at)
        fleet, device, received_at = opened
    if fleet is None:
        verdict = examine(stream, event)
        fault = verdict if isinstance(verdict, Fault) and verdict.kind == "syntax" else _NO_FLEET
        return RefusedLine(index, fault, line, "", received_at)
    if fleets is not None and fleet not in fleets:
        fault = Fault(Code.UNKNOWN_FLEET, "fleet", fleet[:80], "a fleet of the tokens file", "unknown fleet")
        return RefusedLine(index, fault, line, fleet, received_at)
    verdict = examine(stream, event)
    if isinstance(verdict, Fault):
        return RefusedLine(index, verdict, line, fleet, received_at)
    return _Taken(index, fleet, received_at, device, verdict)


_NO_FLEET = Fault(
    Code.MISSING_FLEET,
    "fleet",
    "",
    "an envelope with fleet and event, or a record header fleet",
    "nothing says whose event this is",
)


def _open_envelope(line: bytes) -> dict[str, Any] | None:
    """The fields of an envelope; None for a line that is none: no form of an event has a field `event`."""
    try:
        found: dict[str, Any] = _RAW_FIELDS.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if "event" in found else None


def _envelope_fields(
    envelope: Mapping[str, Any], fleet: str | None, device: str | None, received_at: int
) -> tuple[str | None, str | None, int] | Fault:
    for name in ("fleet", "device", "received_at"):
        if name not in envelope:
            continue
        try:
            field = _ANY.decode(envelope[name])
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Fault(Code.BAD_ENVELOPE, name, "", "JSON", str(error)[:200])
        if field is None:
            continue
        found = bytes(envelope[name])[:80].decode("utf-8", "replace")
        if name == "received_at":
            try:
                received_at = _received(field)
            except ValueError:
                return Fault(Code.BAD_ENVELOPE, name, found, _TIME_ALLOWED, "not a time")
        elif not isinstance(field, str) or (name == "fleet" and not field):
            return Fault(Code.BAD_ENVELOPE, name, found, "a string", f"{name} is not a string")
        elif name == "fleet":
            fleet = field
        else:
            device = field
    return fleet, device, received_at


def _received(field: Any) -> int:
    if isinstance(field, str):
        return parse_time(field)
    if isinstance(field, int | float) and not isinstance(field, bool):
        return micros_by_magnitude(field)
    raise ValueError("neither text nor number")


def _columns_of(stream: Stream, taken: Sequence[_Taken]) -> dict[str, pa.Array[Any]]:
    groups: dict[Form, list[_Taken]] = {}
    for item in taken:
        groups.setdefault(item.event.form, []).append(item)
    rows = [item for members in groups.values() for item in members]
    parts = [
        (form, [item.event.value for item in members], [item.device for item in members])
        for form, members in groups.items()
    ]
    columns = _columns(stream, parts, len(rows))
    columns["fleet"] = pa.array([item.fleet for item in rows], pa.string())
    columns["received_at"] = pa.array([item.received_at for item in rows], pa.int64())
    columns["index"] = pa.array([item.index for item in rows], pa.uint32())
    columns["extra"] = pa.array([item.event.extra.decode("utf-8") for item in rows], pa.string())
    return columns


# --- structs into columns

_ENCODE = msgspec.json.Encoder().encode


def _text(value: Any) -> str | None:
    """A JSON value that its column keeps as text."""
    return value if value is None or type(value) is str else _ENCODE(value).decode("utf-8")


_AS_TEXT = frozenset({"metadata", "old_value", "new_value", "source_id"})
_CONSTANTS: dict[Form, tuple[str, str]] = {
    **{form: ("form", form.name) for form in FORMS["connection_logs"]},
    **{form: ("event_type", event_type) for event_type, form in EVENT_TYPES.items()},
}


def _constant(text: str, count: int) -> pa.Array[Any]:
    return pa.repeat(pa.scalar(text, pa.string()), count)


class _Source(NamedTuple):
    """Where a form's column comes from: the struct's field, a field of a nested struct, and its parse."""

    field: int
    inner: int | None
    parse: Callable[[Any], Any] | None


def _sources(form: Form) -> dict[str, _Source]:
    sources: dict[str, _Source] = {}
    for number, name in enumerate(form.fields):
        nested = form.derived.nested.get(name)
        if nested is not None:
            for inner, inner_name in enumerate(nested.fields):
                sources[nested.prefix + inner_name] = _Source(number, inner, None)
        else:
            parse = _text if name in _AS_TEXT else form.derived.checks.get(name)
            sources[name] = _Source(number, None, parse)
    return sources


_SOURCES: dict[Form, dict[str, _Source]] = {
    form: _sources(form) for forms in FORMS.values() for form in forms
}


def _types(stream: Stream) -> dict[str, Any]:
    """The sender's columns of a stream and their types: as in its table, times as integers."""
    schema = SCHEMAS[stream]
    names: dict[str, Any] = {}
    for form in FORMS[stream]:
        constant = _CONSTANTS.get(form)
        for name in (*_SOURCES[form], *(constant[:1] if constant else ())):
            known = name in schema.names and not pa.types.is_timestamp(schema.field(name).type)
            names[name] = schema.field(name).type if known else pa.int64()
    return names


TYPES: dict[Stream, dict[str, Any]] = {stream: _types(stream) for stream in STREAMS}


def _columns(
    stream: Stream, parts: Sequence[tuple[Form, list[Any], list[str | None]]], count: int
) -> dict[str, pa.Array[Any]]:
    """The sender's columns of all parts, one after another. Raises ValueError where a text format fails."""
    types = TYPES[stream]
    pieces: dict[str, list[tuple[int, Sequence[Any]]]] = {}  # column -> (rows before it, its values)
    before = 0
    for form, values, devices in parts:
        fields: list[tuple[Any, ...]] = list(zip(*map(astuple, values), strict=True))
        for name, (field, inner, parse) in _SOURCES[form].items():
            column: Sequence[Any] = fields[field]
            if column[0] is None and column.count(None) == len(column):
                continue
            if inner is not None:
                column = [None if item is None else astuple(item)[inner] for item in column]
            elif parse is not None:
                column = [None if item is None else parse(item) for item in column]
            pieces.setdefault(name, []).append((before, column))
        if form is NETWORK and any(device is not None for device in devices):
            pieces.setdefault("device_id", []).append((before, devices))
        if (constant := _CONSTANTS.get(form)) is not None:
            pieces.setdefault(constant[0], []).append((before, [constant[1]] * len(values)))
        before += len(values)
    columns: dict[str, pa.Array[Any]] = {}
    for name, type_ in types.items():
        found = pieces.get(name)
        if found is None:
            columns[name] = pa.nulls(count, type_)
            continue
        column = found[0][1]
        if len(parts) > 1:
            rows: list[Any] = [None] * count
            for start, piece in found:
                rows[start : start + len(piece)] = piece
            column = rows
        columns[name] = pa.array(column, type_)
    return columns
