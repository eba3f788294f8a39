"""The native decoder: the table that it parses by, derived from the event models by code, and its loading.

`src/native` is a package of its own, `tidegate_native`, which is there or not. It knows no field: what may
stand where, and the column that it goes to, is said here. A field whose type no rule below knows is of kind
``never``: events that have a value there are left to Python, and so is everything that the decoder is not
sure of, so that a verdict and its words are always the model's.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel

import tidegate
from tidegate.contracts.derive import wire_names
from tidegate.contracts.formats import _MICROS_FLOOR, MICROS_LIMIT, MILLIS_LIMIT, SECONDS_LIMIT, Format
from tidegate.contracts.forms import CONNECTION_MARKS, FORMS, LEGACY, NETWORK, Form
from tidegate.contracts.models import INT64, Prefix
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import UsageError

CHOICES = ("auto", "native", "python")
MODULE = "tidegate_native"

KEY_COLUMNS: dict[Stream, str] = {
    "connection_logs": "device_id",
    "client_events": "mac",
    "device_logs": "device_id",
}
"""What names the device of an event, as `gateway.partition.device_key` has it."""


class Frame(Protocol):
    """The lines of a frame that the decoder took: a struct array, in the order of the lines."""

    @property
    def lines(self) -> int:
        """Lines that count."""

    @property
    def fleets(self) -> list[str]:
        """Those of the lines, each once."""

    @property
    def left(self) -> list[tuple[int, int, int]]:
        """Number, begin and end of each line that is left to Python."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


class Decoder(Protocol):
    """`tidegate_native.Decoder`: one stream's. It lets other threads run while it works."""

    def decode(self, value: bytes, received_at: int, longest: int) -> Frame: ...

    def route(
        self,
        body: bytes,
        *,
        array: bool,
        seed: int,
        header: bytes | None,
        partitions: int,
        longest: int,
        most: int,
    ) -> tuple[list[bytes], dict[int | None, list[int]], list[int]] | None: ...

    def text(self, kind: str, text: bytes) -> Any: ...


Decoders = Mapping[Stream, Decoder]


class Chosen(NamedTuple):
    """The decoders of a process, empty for Python alone, and what it says of them at its start."""

    decoders: Decoders
    line: str


def choose(choice: str) -> Chosen:
    """The decoder of the setting `decoder`: auto, native or python. Raises UsageError for another word, and
    where native is asked for and is not here."""
    if choice not in CHOICES:
        raise UsageError(f"decoder: {choice!r} is none of {', '.join(CHOICES)}")
    if choice == "python":
        return Chosen({}, "decoder: Python")
    found = load()
    if isinstance(found, str):
        if choice == "native":
            raise UsageError(f"decoder: native was asked for, but {found}")
        return Chosen({}, f"decoder: Python ({found})")
    return Chosen(found, f"decoder: native {tidegate.__version__}")


@cache
def load() -> Decoders | str:
    """The native decoders, or why there are none."""
    try:
        module: Any = importlib.import_module(MODULE)
    except ImportError as error:
        return f"{MODULE} is not installed" if error.name == MODULE else f"{MODULE} does not load: {error}"
    version = getattr(module, "__VERSION__", "?")
    if version != tidegate.__version__:  # its formats may be those of other models
        return f"{MODULE} is of version {version}"
    try:
        return {stream: module.Decoder(table(stream)) for stream in STREAMS}
    except (ValueError, TypeError, AttributeError) as error:
        return f"{MODULE} does not know the table: {error}"


# --- the table, as `src/native/src/lib.rs` reads it


@dataclass(frozen=True, slots=True)
class FieldSpec:
    wire: str
    kind: str
    column: int | None = None
    nullable: bool = False
    empty: bool = True  # whether a text may be
    object: int = 0  # of kind object: which
    values: Sequence[
        tuple[str, int]
    ] = ()  # of kind enum and tag: with the number of the form that each tells
    least: int = -(2**63)
    most: int = INT64
    least_real: float = float("-inf")
    most_real: float = float("inf")


@dataclass(frozen=True, slots=True)
class FormSpec:
    """Numbers of fields; `any_of`: one of them at least, empty for no matter which."""

    allowed: Sequence[int]
    required: Sequence[int]
    any_of: Sequence[int] = ()
    copy: tuple[int, int] | None = None  # the text of a column to another
    constant: tuple[int, str] | None = None  # the text of a column


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    fields: Sequence[FieldSpec]
    forms: Sequence[FormSpec]
    wrapper: int | None = None  # a field that may hold the object as text, alone


@dataclass(frozen=True, slots=True)
class TableSpec:
    objects: Sequence[ObjectSpec]  # the event first, the envelope last
    columns: Sequence[tuple[str, str]]  # name and type: text, int, real or flag
    hidden: int  # as many of the first columns do not go out
    fleet: int
    received: int
    key: int
    first_moment: int = _MICROS_FLOOR
    last_moment: int = MICROS_LIMIT
    seconds_limit: int = SECONDS_LIMIT
    millis_limit: int = MILLIS_LIMIT


_COLUMN_OF = {
    "int": "int",
    "epoch": "int",
    "time": "int",
    "real": "real",
    "degrees": "real",
    "flag": "flag",
}  # the type of a kind's column; text for the others
_FORMATS = {"mac": "mac", "time": "time", "mccmnc": "mccmnc", "latitude": "degrees", "longitude": "degrees"}
_DEVICE, _DATA = "(device)", "(data)"  # columns that do not go out


def table(stream: Stream) -> TableSpec:
    return _Builder(stream).table()


@dataclass
class _Builder:
    stream: Stream
    columns: dict[str, str] = field(default_factory=dict)  # name -> type
    objects: list[ObjectSpec] = field(default_factory=list)

    def table(self) -> TableSpec:
        device, _ = self._column(_DEVICE, "text"), self._column(_DATA, "text")
        self.objects.append(ObjectSpec([], []))  # the event's place
        self.objects[0] = self._event()
        fleet, received = self._column("fleet", "text"), self._column("received_at", "int")
        envelope = [
            FieldSpec("fleet", "text", fleet, empty=False),
            FieldSpec("event", "object"),
            FieldSpec("received_at", "epoch", received, nullable=True, least=0, most=MICROS_LIMIT),
            FieldSpec("device", "text", device, nullable=True, empty=False),  # an empty one is none
        ]
        self.objects.append(ObjectSpec(envelope, [FormSpec([0, 1, 2, 3], [0, 1])]))
        return TableSpec(
            self.objects,
            list(self.columns.items()),
            hidden=2,
            fleet=list(self.columns).index("fleet"),
            received=list(self.columns).index("received_at"),
            key=list(self.columns).index(KEY_COLUMNS[self.stream]),
        )

    def _event(self) -> ObjectSpec:
        """The fields of all forms of the stream as one object."""
        fields: dict[str, FieldSpec] = {}
        for number, form in enumerate(FORMS[self.stream]):
            for name, spec in self._fields(form.model):
                if name == form.tag_field:
                    spec = replace(spec, kind="tag", values=[(text, number) for text, _ in spec.values])
                known = fields.get(spec.wire)
                fields[spec.wire] = spec if known is None else _both(known, spec)
        forms = [self._form(form, list(fields)) for form in FORMS[self.stream]]
        wrapper = None
        if self.stream == "connection_logs":
            wrapper = len(fields)
            fields["data"] = FieldSpec("data", "text", self._column(_DATA, "text"))
        return ObjectSpec(list(fields.values()), forms, wrapper)

    def _form(self, form: Form, wires: list[str]) -> FormSpec:
        own = wire_names(form.model)
        model = form.model.model_fields
        marks = {mark for names, of in CONNECTION_MARKS if of is form for mark in names}
        copy = constant = None
        if self.stream == "connection_logs":
            constant = (self._place("form"), form.name)
        if form is NETWORK:  # its device is the envelope's
            copy = (self._place(_DEVICE), self._place("device_id"))
        return FormSpec(
            [wires.index(wire) for wire in own.values()],
            [wires.index(wire) for name, wire in own.items() if model[name].is_required()],
            # nothing in a legacy body is required, so a mark must be there
            [wires.index(mark) for mark in sorted(marks)] if form is LEGACY else [],
            copy,
            constant,
        )

    def _fields(self, model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldSpec]]:
        """Name and spec of each field of a model; the columns of a nested one begin with `prefix`."""
        hints = get_type_hints(model, include_extras=True)
        for name, wire in wire_names(model).items():
            said = _Said()
            said.read(hints[name])
            spec = said.spec(wire)
            if spec.kind == "object" and said.inner is not None:
                spec = replace(spec, object=self._inner(said.inner, said.prefix))
            elif spec.kind != "never":
                column = self._column(prefix + name, _COLUMN_OF.get(spec.kind, "text"))
                spec = replace(spec, column=column) if column is not None else replace(spec, kind="never")
            yield name, spec

    def _inner(self, model: type[BaseModel], prefix: str) -> int:
        """The number of the object of a nested model."""
        found = dict(self._fields(model, prefix))
        required = [n for n, name in enumerate(found) if model.model_fields[name].is_required()]
        inner = ObjectSpec(list(found.values()), [FormSpec(list(range(len(found))), required)])
        if inner not in self.objects:
            self.objects.append(inner)
        return self.objects.index(inner)

    def _place(self, column: str) -> int:
        self.columns.setdefault(column, "text")
        return list(self.columns).index(column)

    def _column(self, name: str, type_: str) -> int | None:
        """The place of a column; None where it holds another type."""
        if self.columns.setdefault(name, type_) != type_:
            return None
        return list(self.columns).index(name)


def _both(one: FieldSpec, other: FieldSpec) -> FieldSpec:
    """A field of two forms: nullable and empty as far as either is, of kind never where they differ more."""
    if one.kind == other.kind == "tag":
        return replace(one, values=[*one.values, *other.values])
    nullable = one.nullable or other.nullable  # whether a form needs it, the form says
    empty = one.empty and other.empty
    alike = replace(one, nullable=nullable, empty=empty)
    return alike if alike == replace(other, nullable=nullable, empty=empty) else replace(alike, kind="never")


_PLAIN: dict[frozenset[Any], str] = {
    frozenset({str}): "text",
    frozenset({int}): "int",
    frozenset({int, float}): "int",  # a number with a fraction is left to Python
    frozenset({float}): "real",
    frozenset({bool}): "flag",
    frozenset({dict[str, Any]}): "json_object",
    frozenset({str, int, float, bool}): "json_scalar",
    frozenset({int, str}): "json_int_or_text",
}


@dataclass
class _Said:
    """What an annotation says of a field."""

    plain: set[Any] = field(default_factory=set)
    formats: list[Format] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    nullable: bool = False
    literals: tuple[Any, ...] = ()
    inner: type[BaseModel] | None = None
    prefix: str = ""

    def read(self, hint: Any) -> None:
        origin = get_origin(hint)
        if origin is Annotated:
            base, *metadata = get_args(hint)
            for item in metadata:
                self._constraint(item)
            self.read(base)
        elif origin in (Union, types.UnionType):
            for part in get_args(hint):
                self.read(part)
        elif origin is Literal:
            self.literals = get_args(hint)
            self.plain.add(Literal)
        elif hint is type(None):
            self.nullable = True
        elif isinstance(hint, type) and issubclass(hint, BaseModel):
            self.inner = hint
            self.plain.add(BaseModel)
        else:
            self.plain.add(hint)

    def _constraint(self, item: Any) -> None:
        if isinstance(item, Ge):
            self.limits["least" if isinstance(item.ge, int) else "least_real"] = item.ge
        elif isinstance(item, Le):
            self.limits["most" if isinstance(item.le, int) else "most_real"] = item.le
        elif isinstance(item, MinLen) and item.min_length == 1:
            self.limits["empty"] = False
        elif isinstance(item, Format):
            self.formats.append(item)
        elif isinstance(item, Prefix):
            self.prefix = item.text
        else:  # no rule: the field is left to Python
            self.plain.add(repr(item))

    def spec(self, wire: str) -> FieldSpec:
        values = [(text, 0) for text in self.literals]
        limits = dict(self.limits)
        if self.formats and self.formats[0].limit is not None:
            limits |= {"least_real": -self.formats[0].limit, "most_real": self.formats[0].limit}
        return FieldSpec(wire, self._kind(), nullable=self.nullable, values=values, **limits)

    def _kind(self) -> str:
        if self.formats:
            kind = _FORMATS.get(self.formats[0].name, "never") if len(self.formats) == 1 else "never"
            return kind if self.plain == ({str, float} if kind == "degrees" else {str}) else "never"
        if self.plain == {Literal}:
            return "enum" if all(isinstance(value, str) for value in self.literals) else "never"
        if self.plain == {BaseModel}:
            return "object"
        return _PLAIN.get(frozenset(self.plain), "never")
