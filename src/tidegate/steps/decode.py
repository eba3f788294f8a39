"""decode: a raw frame's bytes into columns of normal values, and the lines that were refused.

Two tiers: all lines at once with the strict structs, which take nearly everything; then those that are
left one by one, each with every struct and, at last, with the model, which says what is wrong.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import astuple

from tidegate.contracts import json_text
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.formats import MICROS_LIMIT, MILLIS_LIMIT, micros_by_magnitude, parse_moment
from tidegate.contracts.forms import (
    EVENT_TYPES,
    FORM_OF,
    FORMS,
    NETWORK,
    NETWORK_MARK,
    REFUSALS,
    Event,
    Form,
    examine,
    unions,
)
from tidegate.contracts.frames import BOM, lines_of
from tidegate.contracts.keys import EventKey, digest, event_id, event_key
from tidegate.contracts.native import Decoder
from tidegate.contracts.position import is_id_of
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups.aliases import Aliases
from tidegate.steps.aliases import reread

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that becomes a reject, and why."""

    index: int  # of the line in its frame, blank lines not counted
    fault: Fault
    line: bytes  # as it came, without its line break
    fleet: str  # empty where the line does not say
    received_at: int  # µs
    device: str = ""  # of the record's header; an envelope may name another
    origin: str = ""  # of a replayed line: the id under which it was refused first


class Decoded(NamedTuple):
    """A frame as columns, and the lines that are not among them."""

    columns: dict[str, pa.Array[Any]]  # of equal length: one row an accepted line, in any order
    refused: list[RefusedLine]
    lines: int  # accepted + refused
    keys: Mapping[int, EventKey] = {}  # of the accepted lines that have an event_id, by index


class _Taken(NamedTuple):
    """Accepted lines, one entry each in every list. Line numbers are indexes."""

    numbers: list[int]
    fleets: list[str]
    received: list[int]  # µs
    devices: list[str | None]
    events: list[Any]  # structs
    extras: dict[int, bytes]  # line number -> unknown fields, for the lines that have some
    origins: dict[int, str]  # line number -> origin, for the lines that are replayed
    keys: dict[int, EventKey]  # for the lines that have an event_id

    def add(
        self, number: int, fleet: str, received_at: int, device: str | None, origin: str, event: Event
    ) -> None:
        self.numbers.append(number)
        self.fleets.append(fleet)
        self.received.append(received_at)
        self.devices.append(device)
        self.events.append(event.value)
        if event.extra:
            self.extras[number] = event.extra
        if origin:
            self.origins[number] = origin


def decode_frame(
    stream: Stream,
    value: bytes,
    *,
    fleet: str | None,
    device: str | None,
    received_at: int,
    fleets: Container[str] | None,
    max_event_bytes: int = sys.maxsize,
    no_time: Fault | None = None,
    aliases: Aliases | None = None,
    native: Decoder | None = None,
) -> Decoded:
    """Decode one raw record.

    `fleet`, `device` and `received_at` (µs; the record's timestamp where no header says) come from the
    record and hold for lines that do not say. `fleets` are the known ones; None takes any. A longer event
    than `max_event_bytes`, its envelope not counted, is refused. `no_time` is what is wrong with the record's
    own received time: a line that does not say its own is refused for it. `aliases` say what values mean
    that would be refused. `native` takes the lines that it can, if it is here.
    """
    record = _Record(stream, fleet, device, received_at, fleets, max_event_bytes, no_time, aliases or {})
    if no_time is not None:
        return _decode_singly(record, lines_of(value))
    value = value.removeprefix(BOM)
    if native is not None and (decoded := _decode_natively(native, record, value)) is not None:
        return decoded
    return _decode_lines(record, value.split(b"\n"))


def _decode_lines(record: _Record, lines: list[bytes]) -> Decoded:
    taken = _nothing()
    left = _take_all(record, lines, taken)
    if left and not all(map(bytes.strip, lines)):  # blank lines do not count: their numbers go to others
        lines, taken = [line for line in lines if line.strip()] or [b"\n".join(lines)], _nothing()
        left = _take_all(record, lines, taken)
    found = [_line(record, number, lines[number], taken) for number in sorted(left)]
    try:
        columns = _columns_of(record.stream, taken)
    except ValueError:  # a text format does not hold
        return _decode_singly(record, lines)
    return Decoded(columns, [line for line in found if line is not None], len(lines), taken.keys)


def _decode_singly(record: _Record, lines: list[bytes]) -> Decoded:
    taken = _nothing()
    found = [_line(record, number, line, taken) for number, line in enumerate(lines)]
    refused = [line for line in found if line is not None]
    return Decoded(_columns_of(record.stream, taken), refused, len(lines), taken.keys)


def _nothing() -> _Taken:
    return _Taken([], [], [], [], [], {}, {}, {})


class _Record(NamedTuple):
    """What holds for every line of a record; see decode_frame."""

    stream: Stream
    fleet: str | None
    device: str | None
    received_at: int
    fleets: Container[str] | None
    max_event_bytes: int
    no_time: Fault | None
    aliases: Aliases


# --- the native decoder, and what it leaves


def _decode_natively(native: Decoder, record: _Record, value: bytes) -> Decoded | None:
    """What the native decoder takes, and of the other lines what Python does; None for Python alone."""
    if record.device is not None:
        return None
    try:
        frame = native.decode(value, record.received_at, record.max_event_bytes)
    except RuntimeError:
        log.exception("the native decoder failed at a frame of %s; Python decodes it", record.stream)
        return None
    batch = pa.record_batch(frame)
    rows = batch.num_rows
    if not rows:
        return None
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    if record.fleets is not None and not all(fleet in record.fleets for fleet in frame.fleets):
        return None
    columns = {
        name: found[name] if name in found else pa.nulls(rows, t) for name, t in TYPES[record.stream].items()
    }
    columns |= {name: found[name] for name in ("fleet", "received_at", "index")}
    columns["origin"] = columns["extra"] = _constant("", rows)
    if not frame.left:
        return Decoded(columns, [], frame.lines)
    numbers = [number for number, _, _ in frame.left]
    rest = _decode_lines(record, [value[begin:end] for _, begin, end in frame.left])
    if len(rest.refused) < rest.lines:
        own = np.array(numbers, np.uint32)[rest.columns["index"].to_numpy()]
        others = {**rest.columns, "index": pa.array(own, pa.uint32())}
        columns = {name: pa.concat_arrays([column, others[name]]) for name, column in columns.items()}
    return Decoded(
        columns,
        [replace(line, index=numbers[line.index]) for line in rest.refused],
        frame.lines,
        {numbers[number]: key for number, key in rest.keys.items()},
    )


# --- all lines with one decoder


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


def _take_all(record: _Record, lines: list[bytes], taken: _Taken) -> list[int]:
    """Take the lines that are envelopes of strict events; the numbers of the others are left.

    Not with msgspec's `decode_lines`: it reads JSON values wherever lines break, and an index counts lines.
    """
    most = record.max_event_bytes
    left: list[int] = []
    numbers: Sequence[int] = range(len(lines))
    if max(map(len, lines)) > most:  # whether the event is as long, or its envelope makes it so, `_line` says
        left = [number for number, line in enumerate(lines) if len(line) > most]
        numbers = [number for number, line in enumerate(lines) if len(line) <= most]
        lines = [lines[number] for number in numbers]
    decoders = _ENVELOPES[record.stream]
    if len(decoders) == 1:
        return left + _take(record, decoders[0], numbers, lines, taken)
    network = [NETWORK_MARK in line for line in lines]
    for decoder, marked in zip(decoders, (True, False), strict=True):
        places = [place for place, mark in enumerate(network) if mark is marked]
        if places:
            own = [lines[place] for place in places]
            left += _take(record, decoder, [numbers[place] for place in places], own, taken)
    return left


def _take(
    record: _Record,
    decoder: msgspec.json.Decoder[Any],
    numbers: Sequence[int],
    lines: list[bytes],
    taken: _Taken,
) -> list[int]:
    left: list[int] = []
    try:
        found = list(map(decoder.decode, lines))
    except REFUSALS:
        found, good = [], []
        for number, line in zip(numbers, lines, strict=True):
            try:
                found.append(decoder.decode(line))
                good.append(number)
            except REFUSALS:
                left.append(number)
        numbers = good
    fleets = record.fleets
    senders = [item.fleet for item in found]
    if fleets is not None and not all(sender in fleets for sender in set(senders)):
        left += [number for number, sender in zip(numbers, senders, strict=True) if sender not in fleets]
        kept = [place for place, sender in enumerate(senders) if sender in fleets]
        found, senders = [found[place] for place in kept], [senders[place] for place in kept]
        numbers = [numbers[place] for place in kept]
    if not found:
        return left
    said = [item.received_at for item in found]  # in any unit; the record's is in µs whatever it is
    received = [
        record.received_at if time is None else time if time > MILLIS_LIMIT else micros_by_magnitude(time)
        for time in said
    ]
    taken.numbers.extend(numbers)
    taken.fleets.extend(senders)
    taken.received.extend(received)
    taken.devices.extend([item.device for item in found])
    taken.events.extend([item.event for item in found])
    return left


# --- line by line

_ANY = msgspec.json.Decoder()
_TEXT = msgspec.json.Decoder(str)
_TIME_ALLOWED = "ISO 8601 or epoch seconds, milliseconds or microseconds"


def not_a_time(found: str) -> Fault:
    """What is wrong with a received time, of an envelope or of a record's header."""
    return Fault(Code.BAD_ENVELOPE, "received_at", found, _TIME_ALLOWED, "not a time")


def _line(record: _Record, number: int, line: bytes, taken: _Taken) -> RefusedLine | None:
    """Take one line, or say what is wrong with it."""
    fleet, device, received_at, origin = record.fleet, record.device, record.received_at, ""

    def refuse(fault: Fault) -> RefusedLine:
        return RefusedLine(number, fault, line, fleet or "", received_at, record.device or "", origin)

    event: bytes | msgspec.Raw = line
    envelope = _open_envelope(line)
    if envelope is not None:
        event = envelope["event"]
        opened = _envelope_fields(record, envelope)
        if isinstance(opened, Fault):
            fleet = _fleet_of(envelope) or fleet
            return refuse(opened)
        fleet, device, received_at, origin = opened
    if record.no_time is not None and (envelope is None or _is_null(envelope.get("received_at"))):
        return refuse(record.no_time)
    if (size := len(event)) > record.max_event_bytes:
        allowed = f"at most {record.max_event_bytes} bytes"
        return refuse(Fault(Code.TOO_LARGE, "", f"{size} bytes", allowed, "the event is too long"))
    if fleet is None:
        verdict = examine(record.stream, event)
        return refuse(verdict if isinstance(verdict, Fault) and verdict.kind == "syntax" else _NO_FLEET)
    if record.fleets is not None and fleet not in record.fleets:
        return refuse(
            Fault(Code.UNKNOWN_FLEET, "fleet", fleet[:80], "a fleet of the tokens file", "unknown fleet")
        )
    verdict = examine(record.stream, event)
    if isinstance(verdict, Fault) and record.aliases:
        verdict = reread(record.stream, event, verdict, record.aliases)
    if isinstance(verdict, Fault):
        return refuse(verdict)
    taken.add(number, fleet, received_at, device, origin, verdict)
    # No form knows the field, so only lines that come this way can have it.
    if verdict.extra and (own := event_id(verdict.extra)) is not None:
        content = digest((device or "").encode(), bytes(event))
        taken.keys[number] = EventKey(event_key(fleet, own), content, line, bool(origin))
    return None


_NO_FLEET = Fault(
    Code.MISSING_FLEET,
    "fleet",
    "",
    "an envelope with fleet and event, or a record header fleet",
    "nothing says whose event this is",
)


def _open_envelope(line: bytes) -> Mapping[str, bytes | msgspec.Raw] | None:
    """The fields of an envelope; None for a line that is none: no form of an event has a field `event`."""
    try:
        found = json_text.fields(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if "event" in found else None


class _Fields(NamedTuple):
    """What an envelope says beside the event, or its record where the envelope does not."""

    fleet: str | None
    device: str | None
    received_at: int
    origin: str


def _envelope_fields(record: _Record, envelope: Mapping[str, bytes | msgspec.Raw]) -> _Fields | Fault:
    fleet, device, received_at, origin = record.fleet, record.device, record.received_at, ""
    for name in _Fields._fields:
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
                received_at = parse_moment(field)
            except ValueError:
                return not_a_time(found)
        elif not isinstance(field, str) or (name == "fleet" and not field):
            return Fault(Code.BAD_ENVELOPE, name, found, "a string", f"{name} is not a string")
        elif name == "fleet":
            fleet = field
        elif name == "device":
            device = field
        elif not is_id_of(record.stream, field):
            return Fault(Code.BAD_ENVELOPE, name, found, "an id of this stream", "origin is not an id")
        else:
            origin = field
    return _Fields(fleet, device, received_at, origin)


def _fleet_of(envelope: Mapping[str, bytes | msgspec.Raw]) -> str:
    """The fleet of an envelope that is refused for another of its fields; empty where that is none either."""
    try:
        return _TEXT.decode(envelope.get("fleet", b'""'))
    except REFUSALS:
        return ""


def _is_null(value: bytes | msgspec.Raw | None) -> bool:
    return value is None or bytes(value) == b"null"


def _columns_of(stream: Stream, taken: _Taken) -> dict[str, pa.Array[Any]]:
    """The columns of all accepted lines. Raises ValueError where a text format does not hold."""
    events = taken.events
    count = len(events)
    forms = {FORM_OF[kind] for kind in set(map(type, events))}  # the strict struct's and the lenient one's
    whole = len(forms) <= 1
    order: list[int] = []
    parts = [(form, events, taken.devices) for form in forms]
    if not whole:
        groups: dict[Form, list[int]] = {}
        for place, event in enumerate(events):
            groups.setdefault(FORM_OF[type(event)], []).append(place)
        order = [place for places in groups.values() for place in places]
        parts = [
            (form, [events[place] for place in places], [taken.devices[place] for place in places])
            for form, places in groups.items()
        ]

    def arranged(values: list[Any]) -> list[Any]:
        return values if whole else [values[place] for place in order]

    columns = _columns(stream, parts, count)
    columns["fleet"] = (
        _constant(taken.fleets[0], count)
        if len(set(taken.fleets)) == 1
        else pa.array(arranged(taken.fleets), pa.string())
    )
    columns["received_at"] = pa.array(arranged(taken.received), pa.int64())
    numbers = arranged(taken.numbers)
    columns["index"] = pa.array(numbers, pa.uint32())
    extras = taken.extras
    columns["origin"] = (
        pa.array([taken.origins.get(number, "") for number in numbers], pa.string())
        if taken.origins
        else _constant("", count)
    )
    columns["extra"] = (
        pa.array([extras.get(number, b"").decode("utf-8") for number in numbers], pa.string())
        if extras
        else _constant("", count)
    )
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
            if form.stream == "client_events" and name.endswith("timestamp"):
                parse = micros_by_magnitude
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
            elif parse is micros_by_magnitude:  # whole numbers keep their unit until `steps.time`
                if float in set(map(type, column)):
                    column = [micros_by_magnitude(one) if type(one) is float else one for one in column]
            elif parse is not None:
                column = [None if item is None else parse(item) for item in column]
            pieces.setdefault(name, []).append((before, column))
        if form is NETWORK and any(devices):
            pieces.setdefault("device_id", []).append((before, [device or None for device in devices]))
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
