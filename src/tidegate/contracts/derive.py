"""The structs of the hot path, derived from the models by code.

A derived struct has the model's fields under the model's names, reads the documents' spelling, holds the
same types, enums and ranges, and refuses unknown fields (the strict struct: a frame that it takes whole
needs no second look) or skips them (the lenient struct). Text formats are checked after decoding, by the
`parse` that the model uses: `checks` lists them by field.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel

from tidegate.contracts.formats import Format
from tidegate.contracts.models import Prefix

Parse = Callable[[Any], Any]


class Derived(NamedTuple):
    strict: type[msgspec.Struct]
    lenient: type[msgspec.Struct]
    checks: dict[str, Parse]  # field -> parse of its text format
    required: tuple[tuple[str, Parse], ...]  # the checks of fields that always have a value
    present: tuple[tuple[str, Parse], ...]  # those of the others, for a value that is neither None nor empty
    nested: dict[str, NestedField]  # field -> the object inside it


class NestedField(NamedTuple):
    prefix: str  # of its columns
    wire: str  # the field's name on the wire
    fields: tuple[str, ...]  # field names of the inner struct
    wires: frozenset[str]  # their names on the wire


def wire_names(model: type[BaseModel]) -> dict[str, str]:
    """Field name to the documents' spelling, in the documents' order."""
    return {name: field.alias or name for name, field in model.model_fields.items()}


def derive(model: type[BaseModel], *, tag_field: str | None = None) -> Derived:
    """The structs of a model. `tag_field` names the Literal field that tells forms of one stream apart."""
    hints = get_type_hints(model, include_extras=True)
    checks: dict[str, Parse] = {}
    required: list[tuple[str, Parse]] = []
    present: list[tuple[str, Parse]] = []
    nested: dict[str, NestedField] = {}
    for name in model.model_fields:
        for part in _parts(hints[name]):
            if isinstance(part, Format):
                checks[name] = part.parse
                if part.of_present is not None:
                    present.append((name, part.of_present))
                elif model.model_fields[name].is_required():
                    required.append((name, part.parse))
                else:
                    raise TypeError(f"{name}: the format of a field that may be left out is an optional one")
            elif isinstance(part, Prefix):
                inner = _inner_model(hints[name])
                wires = wire_names(inner)
                nested[name] = NestedField(
                    part.text, wire_names(model)[name], tuple(wires), frozenset(wires.values())
                )
    strict = _struct(model, hints, tag_field, forbid_unknown=True)
    lenient = _struct(model, hints, tag_field, forbid_unknown=False)
    return Derived(strict, lenient, checks, tuple(required), tuple(present), nested)


def _struct(
    model: type[BaseModel], hints: dict[str, Any], tag_field: str | None, *, forbid_unknown: bool
) -> type[msgspec.Struct]:
    fields: list[Any] = []
    tag: str | None = None
    for name, info in model.model_fields.items():
        if name == tag_field:
            (tag,) = get_args(hints[name])
            continue
        type_ = _convert(hints[name], forbid_unknown)
        fields.append((name, type_) if info.is_required() else (name, type_, None))
    return msgspec.defstruct(
        model.__name__ + ("" if forbid_unknown else "Lenient"),
        fields,
        module=__name__,
        kw_only=True,
        frozen=True,
        gc=False,
        forbid_unknown_fields=forbid_unknown,
        rename={k: v for k, v in wire_names(model).items() if k != tag_field},
        tag_field=wire_names(model)[tag_field] if tag_field else None,
        tag=tag,
    )


def _convert(hint: Any, forbid_unknown: bool) -> Any:
    """A model's annotation as msgspec reads it: ranges become Meta, formats and prefixes fall away."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, *metadata = get_args(hint)
        limits: dict[str, Any] = {}
        for item in metadata:
            if isinstance(item, Ge):
                limits["ge"] = item.ge
            elif isinstance(item, Le):
                limits["le"] = item.le
            elif isinstance(item, MinLen):
                limits["min_length"] = item.min_length
            elif not isinstance(item, Format | Prefix):
                raise TypeError(f"no rule derives {item!r}")
        converted = _convert(base, forbid_unknown)
        return Annotated[converted, msgspec.Meta(**limits)] if limits else converted
    if origin in (Union, types.UnionType):
        return Union[tuple(_convert(part, forbid_unknown) for part in get_args(hint))]  # noqa: UP007
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _struct(hint, get_type_hints(hint, include_extras=True), None, forbid_unknown=forbid_unknown)
    if origin in (Literal, dict) or hint in (str, int, float, bool, type(None)):
        return hint
    raise TypeError(f"no rule derives {hint!r}")


def _parts(hint: Any) -> list[Any]:
    """Every piece of metadata in an annotation, at any depth of its unions."""
    if get_origin(hint) is Annotated:
        base, *metadata = get_args(hint)
        return [*metadata, *_parts(base)]
    if get_origin(hint) in (Union, types.UnionType):
        return [part for item in get_args(hint) for part in _parts(item)]
    return []


def _inner_model(hint: Any) -> type[BaseModel]:
    if get_origin(hint) is Annotated:
        return _inner_model(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return next(_inner_model(item) for item in get_args(hint) if item is not type(None))
    assert isinstance(hint, type) and issubclass(hint, BaseModel)
    return hint
