"""JSON Schemas of the events, written from the models: parts of the OpenAPI and AsyncAPI documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from tidegate.contracts import forms
from tidegate.contracts.forms import CONNECTION_MARKS, Form
from tidegate.contracts.topics import Stream

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schemas(ref_template: str) -> dict[str, Schema]:
    """The schema of each form by its model's name, and of what they refer to; ``{model}`` in the template
    is the name. They hold for an event by itself: what is valid is accepted."""
    every = [form for stream in forms.FORMS.values() for form in stream]
    _, generated = models_json_schema(
        [(form.model, "validation") for form in every], by_alias=True, ref_template=ref_template
    )
    schemas: dict[str, Schema] = generated["$defs"]
    earlier: list[str] = []
    for marks, form in CONNECTION_MARKS:
        schema = schemas[form.model.__name__]
        if not marks & set(schema.get("required", ())):
            schema["anyOf"] = [{"required": [name]} for name in sorted(marks)]
        if earlier:  # the fields that make it an earlier form
            schema["not"] = has_one_of(earlier)
        earlier += sorted(marks)
    schemas["Wrapper"] = _wrapper(ref_template)
    return schemas


def names(stream: Stream) -> list[str]:
    """The schemas of `event_schemas` that an event of the stream may have."""
    found = [form.model.__name__ for form in forms.FORMS[stream]]
    return [*found, "Wrapper"] if stream == "connection_logs" else found


def has_one_of(fields: Iterable[str]) -> Schema:
    """An object with at least one of the fields."""
    return {"anyOf": [{"required": [name]} for name in fields]}


def _wrapper(ref_template: str) -> Schema:
    forms_inside: tuple[Form, ...] = forms.FORMS["connection_logs"]
    inside = [{"$ref": ref_template.format(model=form.model.__name__)} for form in forms_inside]
    return {
        "type": "object",
        "title": "Wrapper",
        "description": "The legacy wrapper: a connection log as a string of JSON, alone in its body",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "string",
                "format": "connection-log",
                "description": "A connection log, written as JSON",
                "contentMediaType": "application/json",
                "contentSchema": {"anyOf": inside},
            }
        },
        "additionalProperties": False,
    }
