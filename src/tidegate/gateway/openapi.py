"""The gateway's OpenAPI 3.1 document, written from the models and from the tables that answer requests."""

from __future__ import annotations

import json
from typing import Any

import tidegate
from tidegate.contracts import examples, forms, schemas
from tidegate.contracts.forms import Event, Form, examine
from tidegate.contracts.position import ID_PATTERN, STREAM_LETTERS
from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import Stream
from tidegate.gateway import replies
from tidegate.gateway.examine import ENVELOPES
from tidegate.gateway.ingest import DEVICE_CHARACTERS, KEY_BYTES, PATHS
from tidegate.gateway.problems import MEANINGS, Problem
from tidegate.service import openapi
from tidegate.settings import Settings

Schema = dict[str, Any]

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
RECEIVED_AT = 1_705_329_026_000_000
REFS = "#/components/schemas/{model}"
ID: Schema = {"type": "string", "pattern": f"^{ID_PATTERN}$", "description": "Where the event is in the log"}
INSTANT: Schema = {"type": "string", "format": "date-time"}

WORDS: dict[Stream, tuple[str, str]] = {
    "connection_logs": (
        "Register connection logs",
        "A network log (rev 4 of the document), a session log (rev 3), or the older body, bare or as a "
        "string of JSON in `data`. What a body is shows in its fields: `network_type` or "
        "`network_security` network; `app_id` or `connection_status` the older body; `device_id` or "
        "`application_id` session.",
    ),
    "client_events": (
        "Register Wi-Fi client events and client connection logs",
        "Success, Failure and Intermediate events, told apart by `eventType`. The documents' own answers "
        "are taken whole: `clientEvents`, `successLogs`, `failureLogs`.",
    ),
    "device_logs": (
        "Register device operation and configuration logs",
        "The list's and the detail's form, or the document's own answer with `results`.",
    ),
}

STATUSES: dict[int, tuple[str, str]] = {
    400: ("Not JSON, an unknown form, a required field missing, or an empty batch", Code.MISSING_FIELD),
    401: ("No token, or none that is known", "unauthorized"),
    403: ("The token's role may not write: ingest, administrator and superuser may", "forbidden"),
    405: ("Not a POST", "method_not_allowed"),
    408: ("Head or body took too long to come", "timeout"),
    413: ("The body, what it decompresses to, an event, or the batch is too large", Code.TOO_LARGE),
    415: ("A media type or content encoding that is not taken; chains are refused", "unsupported_media_type"),
    417: ("An expectation other than 100-continue", "expectation_failed"),
    422: ("An invalid value; of a batch: no event is good, `errors` lists why", Code.OUT_OF_RANGE),
    429: ("Over the token's rate; `Retry-After` says when to come back", "rate_limited"),
    431: ("The head of the request is longer than 64 KiB, or has too many headers", "head_too_large"),
    500: ("The gateway failed; its log says why", "internal"),
    503: (
        "The broker is away or too slow. `broker_away` and `queue_full`: nothing was accepted. "
        "`outcome_unknown`: the ack did not come in time; sending again under the same `Idempotency-Key` "
        "stores the events once, without a key perhaps twice",
        "broker_away",
    ),
}


def document(settings: Settings) -> Schema:
    """The whole contract. `settings` gives the limits that it names."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate gateway",
            "version": tidegate.__version__,
            "description": "Takes events in and answers once they are safe in the log.\n\n"
            + _limits(settings),
            "license": openapi.LICENSE,
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [
            {"name": "write", "description": "Events in"},
            openapi.TAG,
        ],
        "paths": {
            **{path: {"post": _write(stream, settings)} for path, stream in PATHS.items()},
            **openapi.pages("Events can be taken", MEANINGS, _refusal(404, "No such code", "not_found")),
        },
        "components": {
            "securitySchemes": openapi.SECURITY_SCHEMES,
            "schemas": openapi.without_titles(_schemas()),
            "headers": _headers(),
            "responses": _refusals(),
        },
    }


def _limits(settings: Settings) -> str:
    return (
        f"Limits: a body of {settings.gateway_max_body_bytes:,} bytes as sent and "
        f"{settings.gateway_max_decoded_bytes:,} bytes decompressed, "
        f"{settings.gateway_max_batch_events:,} events in a request, "
        f"{settings.gateway_max_event_bytes:,} bytes in an event."
    )


def _write(stream: Stream, settings: Settings) -> Schema:
    summary, description = WORDS[stream]
    one, array, envelopes = _body_schemas(stream, settings)
    ndjson = {
        "schema": array | {"description": "One event a line, here as an array; blank lines are skipped"},
        "example": list(_samples(stream).values()),
    }
    return {
        "tags": ["write"],
        "operationId": f"write_{stream}",
        "summary": summary,
        "description": f"{description}\n\nThe final slash may be missing. A JSON array that is cut short is "
        "a 400 and stores nothing; in NDJSON a broken line costs only itself.\n\n"
        f"A request that is sent again under its `Idempotency-Key` within "
        f"{settings.idempotency_window_hours:g} hours lands once, and so does an event that carries an "
        "`event_id` of its own (text or a whole number).",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Names the request, so that a retry lands once. The retry repeats the body "
                "byte for byte; another body under the same key is a 422",
                "schema": {"type": "string", "maxLength": KEY_BYTES, "pattern": "^[!-~]([ -~]*[!-~])?$"},
            },
            {
                "name": "X-Device-Id",
                "in": "header",
                "required": False,
                "description": "The device that a network log is about; its events stay in order",
                "schema": {"type": "string", "maxLength": DEVICE_CHARACTERS},
                "example": "DEV-001-XR7H9",
            },
            {
                "name": "Content-Encoding",
                "in": "header",
                "required": False,
                "description": "Compression of the body",
                "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [one, array, *envelopes]},
                    "examples": {name: {"value": value} for name, value in _examples(stream).items()},
                },
                "application/x-ndjson": ndjson,
            },
        },
        "responses": {"201": _created(stream), "207": _mixed(stream)}
        | {str(status): {"$ref": f"#/components/responses/{status}"} for status in STATUSES},
    }


def _body_schemas(stream: Stream, settings: Settings) -> tuple[Schema, Schema, list[Schema]]:
    """One event, an array of them, and the documents' envelopes. What is valid is accepted."""
    event = {"anyOf": [{"$ref": REFS.format(model=name)} for name in schemas.names(stream)]}
    array = {
        "type": "array",
        "items": event,
        "minItems": 1,
        "maxItems": settings.gateway_max_batch_events,
    }
    lists = ENVELOPES[stream]
    if not lists:
        return event, array, []
    many = {"type": "array", "items": event}  # may be empty where another one is not
    filled = {"type": "array", "minItems": 1}
    envelope = {
        "type": "object",
        # JSON Schema cannot add up the lists.
        "description": "The document's own answer: "
        + ", ".join(f"`{name}`" for name in lists)
        + f"; {array['maxItems']:,} events at most, all lists together",
        "properties": {name: {"anyOf": [many, {"type": "null"}]} for name in lists},
        "anyOf": [{"required": [name], "properties": {name: filled}} for name in lists],
    }
    return event | {"not": schemas.has_one_of(lists)}, array, [envelope]


def _samples(stream: Stream) -> dict[str, Schema]:
    return {
        form.name: examples.OF_FORM[form.name]
        for form in forms.FORMS[stream]
        if form.name in examples.OF_FORM
    }


def _examples(stream: Stream) -> dict[str, Any]:
    singles: dict[str, Any] = dict(_samples(stream))
    if stream == "connection_logs":
        singles["wrapper"] = examples.WRAPPER
    batch = {"batch": list(_samples(stream).values())}
    envelopes = {
        "client_events": {
            "clientEvents": {"clientEvents": list(_samples("client_events").values())},
            "connectionLogs": {"successLogs": [examples.SUCCESS], "failureLogs": [examples.FAILURE]},
        },
        "device_logs": {"results": {"results": [examples.DEVICE_LOG]}},
    }
    return singles | batch | envelopes.get(stream, {})


def _id(stream: Stream, index: int = 0) -> str:
    return f"{EPOCH}-{STREAM_LETTERS[stream]}3-1042-{index}"


def _echo(stream: Stream, event: Schema) -> Any:
    found = examine(stream, json.dumps(event).encode())
    assert isinstance(found, Event), found
    return json.loads(replies.single(found, _id(stream), RECEIVED_AT))


def _created(stream: Stream) -> Schema:
    events = dict(_samples(stream))
    if stream == "connection_logs":
        events["wrapper"] = examples.WRAPPER
    shown = {name: {"value": _echo(stream, event)} for name, event in events.items()}
    ids = [_id(stream, index) for index in range(len(_samples(stream)))]
    shown["batch"] = {"value": {"count": len(ids), "ids": ids}}
    names = [_reply_name(form) for form in forms.FORMS[stream]] + ["BatchCreated"]
    return {
        "description": "All in. A single event is echoed with every field of its form, missing ones null, "
        "and `Location` names it; a batch answers its ids in order",
        "headers": {
            "Location": {
                "description": "Of a single event: where its id leads",
                "schema": {"type": "string", "pattern": f"^/api/v1/events/{ID_PATTERN}$"},
            },
            **_taken_headers(),
        },
        "content": {
            "application/json": {
                "schema": {"anyOf": [{"$ref": REFS.format(model=name)} for name in names]},
                "examples": shown,
            }
        },
    }


def _mixed(stream: Stream) -> Schema:
    failed = {
        "index": 1,
        "status": 422,
        "code": Code.OUT_OF_RANGE,
        "path": "channel",
        "found": "999",
        "allowed": "at most 233",
        "detail": "Input should be less than or equal to 233",
    }
    return {
        "description": "Partly good: what has an id is in, `errors` says why the others are not",
        "headers": _taken_headers(),
        "content": {
            "application/json": {
                "schema": {"$ref": REFS.format(model="BatchMixed")},
                "example": {"count": 1, "ids": [_id(stream), None], "errors": [failed]},
            }
        },
    }


def _refusals() -> Schema:
    return {str(status): _refusal(status, words, code) for status, (words, code) in STATUSES.items()}


def _refusal(status: int, words: str, code: str) -> Schema:
    answer: Schema = {
        "description": words,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": REFS.format(model="Problem")},
                "example": json.loads(Problem(status, code, "").body()),
            }
        },
    }
    headers = openapi.headers_of(*HEADERS_OF.get(status, ()))
    if status in (400, 413, 422, 429):  # what is refused before the rate was looked at has none
        headers |= _rate_headers()
    if headers:
        answer["headers"] = headers
    return answer


HEADERS_OF: dict[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding", "Accept-Post"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def _rate_headers() -> Schema:
    return openapi.headers_of("RateLimit", "RateLimit-Policy")


def _taken_headers() -> Schema:
    return openapi.headers_of("Idempotent-Replayed") | _rate_headers()


def _reply_name(form: Form) -> str:
    return f"{form.model.__name__}Reply"


def _schemas() -> Schema:
    every = [form for stream in forms.FORMS.values() for form in stream]
    found = schemas.event_schemas(REFS)
    for form in every:
        found[_reply_name(form)] = _reply_schema(form, found[form.model.__name__])
    text = {"type": "string"}
    failed = {"index": {"type": "integer", "minimum": 0}, "status": {"type": "integer"}} | {
        name: text for name in ("code", "path", "found", "allowed", "detail")
    }
    found["Failed"] = {
        "type": "object",
        "description": "Why one event of a batch is not in; `index` counts the events from 0",
        "required": list(failed),
        "properties": failed,
    }
    errors = {"type": "array", "items": {"$ref": REFS.format(model="Failed")}}
    found["BatchCreated"] = _object({"count": {"type": "integer", "minimum": 1}, "ids": _array(ID)})
    found["BatchMixed"] = _object(
        {
            "count": {"type": "integer", "minimum": 1},
            "ids": _array(ID | {"type": ["string", "null"]}),
            "errors": errors,
        }
    )
    found["Problem"] = _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "enum": sorted(map(str, MEANINGS))},
            "path": {"type": "string", "description": "The field, in the sender's spelling"},
            "found": {"type": "string", "description": "What stood there, shortened"},
            "allowed": {"type": "string", "description": "What may stand there"},
        }
    )
    found["Problem"]["properties"]["errors"] = errors
    return found


def _reply_schema(form: Form, model: Schema) -> Schema:
    """A form's answer: its fields, none of them missing, and what the gateway adds."""
    if form is forms.LEGACY:
        return _object({"id": ID, "status": {"const": "created"}, "timestamp": INSTANT})
    properties = dict(model["properties"])
    if form is forms.NETWORK:
        for name in ("latitude", "longitude"):
            properties[name] = {"type": ["string", "null"]}
    else:
        properties["id"] = ID
    if form is forms.SESSION:
        properties["created_at"] = INSTANT
    if form is forms.DEVICE_LOG:
        properties["source_id"] = model["properties"]["id"]
    return _object(properties)


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _headers() -> Schema:
    return {
        "Accept-Encoding": {
            "description": "Where the encoding was refused: those that are taken",
            "schema": {"type": "string"},
            "example": "gzip, zstd, identity",
        },
        "Accept-Post": {
            "description": "Where the media type was refused: those that are taken",
            "schema": {"type": "string"},
            "example": "application/json, application/x-ndjson",
        },
        "Idempotent-Replayed": {
            "description": "The request had been here before under its key, and is answered as it was then",
            "schema": {"type": "string", "const": "true"},
            "example": "true",
        },
        **openapi.HEADERS,
        "RateLimit": {
            "description": "For a token with a rate: what is left (r), seconds until all is back (t)",
            "schema": {"type": "string"},
            "example": '"events";r=4;t=1',
        },
        "RateLimit-Policy": {
            "description": "For a token with a rate: the quota (q) of a window (w, seconds)",
            "schema": {"type": "string"},
            "example": '"events";q=5;w=1',
        },
    }
