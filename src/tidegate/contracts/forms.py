"""The forms of each stream, and the verdict on an event's bytes.

Two speeds, one verdict. The strict struct takes an event whole; where it refuses, the event is looked at
again: `_precise` parses it to plain JSON, tells its form, and asks the model, whose word is final. So the
fast path may refuse too much (an unknown field, a repeated key) and never too little; the property test
`tests/properties/test_contracts.py` holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError

from tidegate.contracts import json_text, models
from tidegate.contracts.derive import Derived, derive, wire_names
from tidegate.contracts.formats import Format
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream

SHORT = 80  # characters of a value that a fault quotes


def _flat(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _flat(argument)


class Form:
    """One form of a stream: its model, and the structs and decoders derived from it."""

    def __init__(
        self, name: str, stream: Stream, model: type[BaseModel], *, tag_field: str | None = None
    ) -> None:
        self.name = name
        self.stream: Stream = stream
        self.model = model
        self.tag_field = tag_field
        self.wires: dict[str, str] = wire_names(model)
        self.wire_set = frozenset(self.wires.values())
        self.derived: Derived = derive(model, tag_field=tag_field)
        self.struct = self.derived.strict
        self.fields: tuple[str, ...] = self.struct.__struct_fields__
        self.free = frozenset(  # fields that hold any object
            name
            for name, field in model.model_fields.items()
            if any(get_origin(part) is dict for part in _flat(field.annotation))
        )

    def __repr__(self) -> str:
        return f"<form {self.name} of {self.stream}>"


NETWORK = Form("network", "connection_logs", models.NetworkLog)
SESSION = Form("session", "connection_logs", models.SessionLog)
LEGACY = Form("legacy", "connection_logs", models.LegacyLog)
SUCCESS = Form("success", "client_events", models.SuccessEvent, tag_field="event_type")
FAILURE = Form("failure", "client_events", models.FailureEvent, tag_field="event_type")
INTERMEDIATE = Form("intermediate", "client_events", models.IntermediateEvent, tag_field="event_type")
DEVICE_LOG = Form("device_log", "device_logs", models.DeviceLog)

FORMS: dict[Stream, tuple[Form, ...]] = {
    "connection_logs": (NETWORK, SESSION, LEGACY),
    "client_events": (SUCCESS, FAILURE, INTERMEDIATE),
    "device_logs": (DEVICE_LOG,),
}
EVENT_TYPES: dict[str, Form] = {"Success": SUCCESS, "Failure": FAILURE, "Intermediate": INTERMEDIATE}
FORM_OF: dict[type[msgspec.Struct], Form] = {
    struct: form
    for forms in FORMS.values()
    for form in forms
    for struct in (form.derived.strict, form.derived.lenient)
}


class Event(NamedTuple):
    """A good event. `value` has the model's fields as sent; `extra` is the JSON object of the fields that
    the model does not know, values byte for byte as sent, empty for none. A field that holds any object is a
    msgspec.Raw, its text, where no value of Python's is what was sent."""

    form: Form
    value: msgspec.Struct
    extra: bytes = b""


def unions(stream: Stream) -> list[Any]:
    """The strict types of a stream that one decoder can tell apart: a union by tag, or a form each.

    The legacy form is left out: nothing in it is required, so its struct would take what is no form at all.
    """
    forms = FORMS[stream]
    if forms[0].tag_field is not None:
        union: Any = forms[0].struct
        for form in forms[1:]:
            union = union | form.struct
        return [union]
    return [form.struct for form in forms if form is not LEGACY]


class Wrapper(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The legacy wrapper around any form of a connection log."""

    data: str


_STRICT: dict[Stream, list[msgspec.json.Decoder[Any]]] = {
    stream: [msgspec.json.Decoder(union) for union in unions(stream)] for stream in STREAMS
}
_LEGACY: msgspec.json.Decoder[Any] = msgspec.json.Decoder(LEGACY.struct)
_WRAPPER = msgspec.json.Decoder(Wrapper)
_OBJECT = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
REFUSALS = (msgspec.DecodeError, ValueError, RecursionError)
"""What a decoder raises for bytes that it does not take."""


def examine(stream: Stream, line: bytes | msgspec.Raw) -> Event | Fault:
    """The verdict on one event. Never raises for what the bytes say."""
    text = bytes(line)
    return strict(stream, text) or precise(stream, text)


def strict(stream: Stream, line: bytes) -> Event | None:
    """The event, if strict structs take it; None says nothing yet."""
    if (event := _strict_form(stream, line)) is not None or stream != "connection_logs":
        return event
    try:
        wrapper = _WRAPPER.decode(line)
    except REFUSALS:
        return None
    return _strict_form(stream, wrapper.data.encode("utf-8"))


NETWORK_MARK = b'"network_security"'
"""Stands in a network form. It only orders the tries: a wrong guess costs one more, never the verdict."""


def _strict_form(stream: Stream, line: bytes) -> Event | None:
    decoders = _STRICT[stream]
    if len(decoders) > 1 and NETWORK_MARK not in line:
        decoders = decoders[::-1]
    for decoder in decoders:
        try:
            value = decoder.decode(line)
        except REFUSALS:
            continue
        form = FORM_OF[type(value)]
        return Event(form, value) if holds(form, value) else None
    if stream != "connection_logs":
        return None
    try:
        older = _LEGACY.decode(line)
    except REFUSALS:
        return None
    # one of its two marks must be there, as `classify` has it
    marked = older.application_id is not None or older.status is not None
    return Event(LEGACY, older) if marked and holds(LEGACY, older) else None


def holds(form: Form, value: msgspec.Struct) -> bool:
    """Whether the text formats of a decoded event hold."""
    try:
        for name, parse in form.derived.required:
            parse(getattr(value, name))
        for name, parse in form.derived.present:
            if field := getattr(value, name):  # a zero is a good coordinate
                parse(field)
    except ValueError:
        return False
    return True


def precise(stream: Stream, line: bytes) -> Event | Fault:
    """The model's verdict, with the field and the reason; the fields it does not know are kept."""
    found = _parse(line)
    if isinstance(found, Fault):
        return found
    if stream == "connection_logs" and found.keys() == {"data"}:
        return _unwrap(found["data"])
    form = classify(stream, found)
    if isinstance(form, Fault):
        return form
    return _examine(form, found, line)


def _parse(line: bytes, path: str = "") -> dict[str, Any] | Fault:
    """One JSON object, or what is wrong with the bytes."""
    if not line.strip():
        return Fault(Code.EMPTY_RECORD, path, "", "one JSON object", "the line is empty")
    try:
        found = _OBJECT.decode(line)
    except RecursionError:
        return Fault(Code.NOT_JSON, path, _short(line), "one JSON object", "nested too deeply")
    except (msgspec.DecodeError, ValueError):
        return _read(line, path)
    if not isinstance(found, dict):
        return _no_object(line, path)
    return found


class _Unreadable(NamedTuple):
    """A value that is JSON, and that no field of a model can have."""

    fault: Fault


def _read(line: bytes, path: str) -> dict[str, Any] | Fault:
    """The fields of an object some of whose values cannot be read, or why it is no JSON object."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(Code.NOT_UTF8, path, _short(line), "UTF-8", f"byte {error.start} is not UTF-8")
    try:
        if not isinstance(json_text.check(text), dict):
            return _no_object(line, path)
        return {name: _value(value, _path("", name)) for name, value in json_text.members(line).items()}
    except RecursionError:
        return Fault(Code.NOT_JSON, path, _short(line), "one JSON object", "nested too deeply")
    except ValueError as error:
        return Fault(Code.NOT_JSON, path, _short(line), "one JSON object", str(error)[:200])


def _path(path: str, name: str) -> str:
    """The path of a field as UTF-8 can hold it: a sender's key may have half a surrogate pair, or be long."""
    return f"{path}.{_short(name)}" if path else _short(name)


def _value(text: bytes, path: str, *, of_event: bool = True) -> Any:
    """A field's value; of an object that cannot be read its fields, if it is a field `of_event`: no model
    goes deeper, and each level is one more look through the whole text."""
    try:
        return _OBJECT.decode(text)
    except (msgspec.DecodeError, ValueError):
        pass
    if of_event and text[:1] == b"{":  # one of its fields may be the only one that cannot be read
        fields = json_text.members(text)
        return {name: _value(value, _path(path, name), of_event=False) for name, value in fields.items()}
    lone = json_text.lone_surrogate(json_text.check(text.decode("utf-8")))
    if lone is None:
        return _Unreadable(
            Fault(Code.OUT_OF_RANGE, path, _short(text), "a number of 64 bits", "no such number can be kept")
        )
    detail = f"{lone} is half of a surrogate pair"
    return _Unreadable(Fault(Code.BAD_FORMAT, path, _short(text), "text that UTF-8 can hold", detail))


def _no_object(line: bytes, path: str) -> Fault:
    return Fault(Code.NOT_OBJECT, path, _short(line), "one JSON object", "JSON, but not an object")


def _unreadable(value: Any) -> Fault | None:
    """What is wrong with a known field's value, or with one of the values inside it."""
    if isinstance(value, _Unreadable):
        return value.fault
    if isinstance(value, dict):
        return next((fault for one in value.values() if (fault := _unreadable(one)) is not None), None)
    return None


def _is_plain(value: dict[str, Any]) -> bool:
    """Whether an object can be written as JSON again."""
    return _unreadable(value) is None and json_text.lone_surrogate(value) is None


def _unwrap(data: Any) -> Event | Fault:
    """The event inside the legacy wrapper; faults name its fields behind ``data.``."""
    if data is None:
        return Fault(Code.MISSING_FIELD, "data", "null", "a string of JSON", "data is required")
    if isinstance(data, _Unreadable):
        return data.fault
    if not isinstance(data, str):
        return Fault(Code.WRONG_TYPE, "data", _short(data), "a string of JSON", "data is not a string")
    inner = data.encode("utf-8")
    found = _parse(inner, "data")
    if isinstance(found, Fault):
        return found
    form = classify("connection_logs", found)
    verdict = form if isinstance(form, Fault) else _examine(form, found, inner)
    if isinstance(verdict, Fault):
        path = f"data.{verdict.path}" if verdict.path else "data"
        return msgspec.structs.replace(verdict, path=path)
    return verdict


CONNECTION_MARKS: tuple[tuple[frozenset[str], Form], ...] = (
    (frozenset({"network_type", "network_security"}), NETWORK),
    (frozenset({"app_id", "connection_status"}), LEGACY),
    (frozenset({"device_id", "application_id"}), SESSION),
)


def classify(stream: Stream, found: Mapping[str, Any]) -> Form | Fault:
    """Which form of the stream a JSON object is, by the fields it has."""
    if stream == "connection_logs":
        for marks, form in CONNECTION_MARKS:
            if not marks.isdisjoint(found):
                return form
        return Fault(
            Code.UNKNOWN_FORM,
            "",
            _short(", ".join(found)),
            "network_type and network_security, or device_id and timestamp, or data alone",
            "the fields fit none of the forms of a connection log",
        )
    if stream == "client_events":
        kind = found.get("eventType")
        if kind is None:
            return Fault(
                Code.MISSING_FIELD,
                "eventType",
                "null" if "eventType" in found else "",
                "Success, Failure or Intermediate",
                "eventType is required",
            )
        if isinstance(kind, _Unreadable):
            return kind.fault
        form_of_kind = EVENT_TYPES.get(kind) if isinstance(kind, str) else None
        if form_of_kind is None:
            code = Code.NOT_IN_ENUM if isinstance(kind, str) else Code.WRONG_TYPE
            return Fault(
                code, "eventType", _short(kind), "Success, Failure or Intermediate", "no such type of event"
            )
        return form_of_kind
    return DEVICE_LOG


def _examine(form: Form, found: dict[str, Any], line: bytes) -> Event | Fault:
    kept: dict[str, msgspec.Raw] = {}
    for name in found.keys() & form.wire_set:
        known = found[name]
        if name in form.free and isinstance(known, dict) and not _is_plain(known):
            kept[name] = msgspec.Raw(bytes(json_text.fields(line)[name]))
            found = found | {name: {}}  # any object will do for the model
            continue
        inner = next((one for one in form.derived.nested.values() if one.wire == name), None)
        if inner is not None and isinstance(known, dict):
            known = {key: value for key, value in known.items() if key in inner.wires}
        if (fault := _unreadable(known)) is not None:
            return fault
    found = models.whole(form.model, found)
    try:
        form.model.model_validate(found)
    except ValidationError as error:
        return _fault(error, form.model)
    known = {key: value for key, value in found.items() if key in form.wire_set}
    for inner in form.derived.nested.values():
        if isinstance(part := known.get(inner.wire), dict):
            known[inner.wire] = {key: value for key, value in part.items() if key in inner.wires}
    # Not `strict` of the line itself: there, a key given twice is checked twice; plain JSON keeps the last.
    try:
        value = msgspec.convert(known, form.derived.lenient)
    except msgspec.ValidationError as error:  # the property test knows of no such event
        return Fault(Code.WRONG_TYPE, "", "", "", str(error)[:200])
    if kept:
        value = msgspec.structs.replace(value, **kept)
    return Event(form, value, _extra(form, found, line))


def _extra(form: Form, found: Mapping[str, Any], line: bytes) -> bytes:
    """The unknown fields as a JSON object, their values byte for byte as sent."""
    nested = [
        inner
        for inner in form.derived.nested.values()
        if isinstance(part := found.get(inner.wire), dict) and not part.keys() <= inner.wires
    ]
    if found.keys() <= form.wire_set and not nested:
        return b""
    raw = json_text.fields(line)
    parts = {key: bytes(value) for key, value in raw.items() if key not in form.wire_set}
    for inner in nested:
        fields = json_text.fields(raw[inner.wire])
        parts[inner.wire] = _object({k: bytes(v) for k, v in fields.items() if k not in inner.wires})
    return _object(parts)


def _object(parts: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(_key(name) + b":" + value for name, value in parts.items()) + b"}"


def _key(name: str) -> bytes:
    try:
        return _ENCODER.encode(name)
    except ValueError:
        return json_text.key(name)


_CODES: dict[str, Code] = {
    "missing": Code.MISSING_FIELD,
    "literal_error": Code.NOT_IN_ENUM,
    "greater_than_equal": Code.OUT_OF_RANGE,
    "less_than_equal": Code.OUT_OF_RANGE,
    "out_of_range": Code.OUT_OF_RANGE,
    "finite_number": Code.OUT_OF_RANGE,
    "string_too_short": Code.BAD_FORMAT,
    "bad_format": Code.BAD_FORMAT,
}


def _fault(error: ValidationError, model: type[BaseModel]) -> Fault:
    """The first thing the model says, in our words: code, path, what was found, what is allowed.

    What is missing comes before what is wrong: the first answers 400, the second 422. null in a required
    field is missing.
    """
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda item: not _missing(item))
    # a union tells one problem a member: the path ends where the member's name begins
    path = ".".join(str(part) for part in problem["loc"] if not _member(part))
    found = problem.get("input")
    detail = problem["msg"]
    if _missing(problem):
        allowed = _expected(model, path.split("."))
        return Fault(
            Code.MISSING_FIELD, path, "null" if found is None else "", allowed, f"{path} is required"
        )
    code = _CODES.get(problem["type"], Code.WRONG_TYPE)
    context = problem.get("ctx", {})
    if code is Code.NOT_IN_ENUM and not isinstance(found, str):  # all enums are of strings
        return Fault(Code.WRONG_TYPE, path, _short(found), str(context.get("expected", "")), detail)
    allowed = {
        Code.NOT_IN_ENUM: str(context.get("expected", "")),
        Code.OUT_OF_RANGE: _range(problem["type"], context),
        Code.BAD_FORMAT: str(context.get("reason", "at least one character")),
    }.get(code, detail.removeprefix("Input should be "))
    return Fault(code, path, _short(found), allowed, detail)


def _expected(model: type[BaseModel], path: Sequence[str]) -> str:
    """What a required field may have."""
    field = next(field for name, field in model.model_fields.items() if path[0] == (field.alias or name))
    inner = next(
        (one for one in _flat(field.annotation) if isinstance(one, type) and issubclass(one, BaseModel)), None
    )
    if inner is not None:
        return "an object" if len(path) == 1 else _expected(inner, path[1:])
    for constraint in field.metadata:
        if isinstance(constraint, Format):
            return constraint.allowed
    if get_origin(field.annotation) is Literal:
        *values, last = map(repr, get_args(field.annotation))
        return f"{', '.join(values)} or {last}" if values else last
    kinds = {object, *(one for one in _flat(field.annotation) if isinstance(one, type))}
    return next(words for kind, words in _KINDS if kind in kinds)


_KINDS = ((str, "a string"), (float, "a number"), (int, "an integer"), (object, "a value"))


def _missing(problem: Any) -> bool:
    if problem["type"] == "missing":
        return True
    # a required field's null: the optional ones allow None, so a problem with a None input is a required one
    return problem.get("input", ...) is None


_MEMBERS = frozenset(
    {"str", "int", "float", "bool", "constrained-int", "constrained-float", "constrained-str"}
)


def _member(part: Any) -> bool:
    return isinstance(part, str) and (part in _MEMBERS or part.startswith("function-after"))


def _range(type_: str, context: Mapping[str, Any]) -> str:
    if type_ == "greater_than_equal":
        return f"at least {context['ge']}"
    if type_ == "less_than_equal":
        return f"at most {context['le']}"
    return str(context.get("reason", "a finite number"))


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        text = value[: SHORT * 4].decode("utf-8", "replace")
    elif isinstance(value, str):
        text = value[: SHORT + 1].encode("utf-8", "backslashreplace").decode("utf-8")
    else:
        try:
            text = _ENCODER.encode(value)[: SHORT * 4].decode("utf-8", "replace")
        except (TypeError, ValueError, OverflowError, RecursionError):
            text = type(value).__name__
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def echo(event: Event) -> dict[str, Any]:
    """Every field of the form in the document's spelling and order, missing ones None.

    Coordinates are echoed as strings, however they came.
    """
    value = event.value
    kept = {name: text for name in event.form.free if type(text := getattr(value, name)) is msgspec.Raw}
    plain = msgspec.to_builtins(msgspec.structs.replace(value, **dict.fromkeys(kept)) if kept else value)
    answer = {wire: plain.get(wire) for wire in event.form.wires.values()} | kept
    if event.form is NETWORK:
        for name in ("latitude", "longitude"):
            if isinstance(answer[name], float):
                answer[name] = format(Decimal(repr(answer[name])), "f")
    return answer
