"""The AsyncAPI 3 document of the topics and the JSON Schemas of their documents, written from the models.

Imported by `generate.py`, which knows what the fields of the records mean (`described`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
import pyarrow as pa

import tidegate
from tidegate.contracts import examples, schemas
from tidegate.contracts.alerts import Alert, Cause, Impact, Scope
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.counts import MinuteCounts, MinutesClosed
from tidegate.contracts.failures import Failure
from tidegate.contracts.formats import MICROS_LIMIT, TIME_PATTERN
from tidegate.contracts.frames import EnrichedHeaders
from tidegate.contracts.pauses import Pause
from tidegate.contracts.position import ID_PATTERN
from tidegate.contracts.rejects import Reject
from tidegate.contracts.topics import (
    ALERTS,
    CONTROL,
    FAILURES,
    HEALTH,
    REJECTS,
    STREAMS,
    Stream,
    enriched,
    raw,
)
from tidegate.contracts.trace import TRACEPARENT
from tidegate.kafka import control
from tidegate.service import openapi
from tidegate.settings import Settings

Schema = dict[str, Any]
Described = Callable[[type], dict[str, str]]
"""The fields of a record's class with a line on each, for people."""

REFS = "#/components/schemas/{model}"
NAMES: dict[Stream, str] = {
    "connection_logs": "ConnectionLog",
    "client_events": "ClientEvent",
    "device_logs": "DeviceLogEntry",
}
TEXT: Schema = {"type": "string"}
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
TRACE_SCHEMA: Schema = TEXT | {
    "description": "There where it is part of a trace: the span that wrote it, in the W3C's form"
}


# --- schemas


def components(described: Described) -> dict[str, Schema]:
    """Every schema by name; they refer to each other as components of one document."""
    found: dict[str, Schema] = openapi.without_titles(schemas.event_schemas(REFS))
    for stream in STREAMS:
        found[NAMES[stream]] = {
            "description": f"An event of {stream}, in one of its forms, as a sender writes it",
            "anyOf": [{"$ref": REFS.format(model=name)} for name in schemas.names(stream)],
        }
        found[f"{NAMES[stream]}Envelope"] = _envelope(stream)
        found[f"{NAMES[stream]}Row"] = _row(stream)
    found["RawHeaders"] = _raw_headers()
    found["EnrichedHeaders"] = _enriched_headers(described(EnrichedHeaders))
    found["RejectHeaders"] = _reject_headers()
    found |= _structs(described)
    return found


def _structs(described: Described) -> dict[str, Schema]:
    """The documents that are msgspec structs, with what their fields mean."""
    classes = (
        Failure,
        Reject,
        MinuteCounts,
        MinutesClosed,
        control.EpochRecord,
        Pause,
        Alert,
        Scope,
        Impact,
        Cause,
    )
    _, generated = msgspec.json.schema_components(classes, ref_template=REFS.replace("model", "name"))
    found: dict[str, Schema] = openapi.without_titles(generated)
    for class_ in classes:
        schema = found[class_.__name__]
        schema["description"] = " ".join((class_.__doc__ or "").split())
        for name, words in described(class_).items():
            field = schema["properties"][name]
            schema["properties"][name] = ({"allOf": [field]} if "$ref" in field else field) | {
                "description": words
            }
    for name in ("event_time", "received_at"):
        found["Failure"]["properties"][name] |= {"format": "date-time"}
    found["Failure"]["properties"]["id"] |= {"pattern": f"^{ID_PATTERN}$"}
    for name in ("started_at", "updated_at"):
        found["Alert"]["properties"][name] |= {"format": "date-time"}
    found["MinutesClosed"]["properties"]["closed"] |= {"format": "date-time"}
    found["MinuteCounts"]["properties"]["minute"] |= {"format": "date-time"}
    found["EpochRecord"]["properties"]["epoch"] |= {"pattern": "^[0-9A-HJKMNP-TV-Z]{26}$"}
    return found


def _envelope(stream: Stream) -> Schema:
    return {
        "type": "object",
        "description": "One line of a raw frame",
        "required": ["fleet", "event"],
        "properties": {
            "fleet": TEXT
            | {"minLength": 1, "description": "Whose event it is; one that the token file names"},
            "received_at": {
                "description": "ISO 8601, or epoch seconds, milliseconds or microseconds, told apart by "
                "magnitude; missing: the record's timestamp",
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": MICROS_LIMIT},
                    TEXT | {"pattern": TIME_PATTERN},
                    {"type": "null"},
                ],
            },
            "device": {
                "type": ["string", "null"],
                "description": "The device, for forms that name none",
            },
            "event": {"$ref": REFS.format(model=NAMES[stream])},
        },
    }


def _raw_headers() -> Schema:
    return {
        "type": "object",
        "description": "All optional. With `fleet` a line is a bare event; an envelope wins over the headers",
        "properties": {
            "fleet": TEXT | {"minLength": 1, "description": "Whose events they are"},
            "device": TEXT | {"description": "The device, for forms that name none"},
            "received_at": TEXT | {"description": "As in the envelope"},
            "keys": TEXT
            | {
                "contentMediaType": "application/octet-stream",
                "description": "The gateway's own: which lines came under an `Idempotency-Key`",
            },
            TRACEPARENT: TRACE_SCHEMA,
        },
    }


def _enriched_headers(words: dict[str, str]) -> Schema:
    """Kafka's headers are bytes: numbers stand in them as ASCII text."""
    fields: Schema = {}
    for name, type_ in get_type_hints(EnrichedHeaders).items():
        fields[name] = TEXT | ({"pattern": "^-?[0-9]+$"} if type_ is int else {})
        fields[name]["description"] = words[name]
    fields["stream"] |= {"enum": list(STREAMS)}
    required = list(fields)
    fields["rejects"] = TEXT | {
        "contentMediaType": NDJSON,
        "contentSchema": {"$ref": REFS.format(model="Reject")},
        "description": "There where `rejected` is above 0: the documents of the refused lines, one a line",
    }
    fields[TRACEPARENT] = TRACE_SCHEMA
    return {
        "type": "object",
        "description": "`lines` = `accepted` + `rejected` + `duplicates`",
        "required": required,
        "properties": fields,
    }


def _reject_headers() -> Schema:
    number = TEXT | {"pattern": "^[0-9]+$"}
    fields = {
        "epoch": TEXT | {"description": "Life of the topics"},
        "stream": TEXT | {"enum": list(STREAMS)},
        "source_partition": number | {"description": "Partition of the raw topic"},
        "source_offset": number | {"description": "Offset of the raw record"},
        "index": number | {"description": "Line in the raw frame, counted from 0"},
    }
    return {
        "type": "object",
        "description": "Which line it was",
        "required": list(fields),
        "properties": fields,
    }


_ROW_TYPES: dict[pa.DataType, Schema] = {
    pa.string(): TEXT,
    pa.int64(): {"type": "integer"},
    pa.uint32(): {"type": "integer", "minimum": 0},
    pa.float64(): {"type": "number"},
    pa.bool_(): {"type": "boolean"},
    pa.timestamp("us", tz="UTC"): TEXT | {"format": "date-time"},
}


def _row(stream: Stream) -> Schema:
    """A row of an enriched frame as a JSON object: a column is a property, `x-arrow-type` its Arrow type."""
    fields: Schema = {}
    for column in SCHEMAS[stream]:
        schema = dict(_ROW_TYPES[column.type])
        if column.nullable:
            schema["type"] = [schema["type"], "null"]
        fields[column.name] = schema | {"x-arrow-type": str(column.type)}
    return {
        "type": "object",
        "description": "A row of an enriched frame; its columns are all there, in this order",
        "required": list(fields),
        "properties": fields,
    }


# --- the document


def document(schemas_: dict[str, Schema], settings: Settings) -> Schema:
    """The whole AsyncAPI document."""
    channels: Schema = {}
    messages: Schema = {}
    operations: Schema = {}

    def channel(key: str, address: str, words: str, kinds: list[str], *, partitions: bool = True) -> None:
        channels[key] = {
            "address": address,
            "description": words,
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
            "servers": [{"$ref": "#/servers/kafka"}],
            "bindings": {"kafka": _topic(settings, partitions=partitions)},
        }

    def operation(name: str, action: str, key: str, words: str) -> None:
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{key}"},
            "summary": words,
            "messages": [{"$ref": f"#/channels/{key}/messages/{kind}"} for kind in channels[key]["messages"]],
        }

    for stream in STREAMS:
        name = NAMES[stream]
        messages[f"{name}Frame"] = _raw_message(stream, "Envelope", "An envelope a line")
        messages[f"{name}BareFrame"] = _raw_message(stream, "", "A bare event a line, with a header `fleet`")
        messages[f"{name}Enriched"] = _enriched_message(stream)
        key = f"{stream}_raw"
        kinds = [f"{name}Frame", f"{name}BareFrame"]
        channel(key, raw(stream), f"Raw frames of {stream}: from the gateway and from your producers", kinds)
        operation(f"send_{stream}", "receive", key, "Tidegate takes what producers append")
        key = f"{stream}_enriched"
        channel(
            key,
            enriched(stream),
            f"Enriched frames of {stream}, partition for partition",
            [f"{name}Enriched"],
        )
        operation(f"follow_{stream}", "send", key, "Tidegate appends one frame for each raw frame, in order")

    documents = (
        (
            "failures",
            FAILURES,
            "Failure",
            "One document a failed attempt. At least once: drop repeats by `id`",
        ),
        ("rejects", REJECTS, "Reject", "One document a refused line. At least once"),
        (
            "health",
            HEALTH,
            "MinuteCounts",
            "One minute of one stream at one site so far; a newer document replaces the one before",
        ),
        (
            "alerts",
            ALERTS,
            "Alert",
            "One change of an alert's state. At least once: drop repeats by `id` and `sequence`",
        ),
    )
    keys = {"failures": SITE_KEY, "health": SITE_KEY, "alerts": SITE_KEY}
    for key, address, name, words in documents:
        messages[name] = _json_message(name, words, key=keys.get(key))
        channel(key, address, words, [name])
        operation(f"follow_{key}", "send", key, f"Tidegate appends to {address}")
    words = "In each partition: its minutes up to this one are complete"
    messages["MinutesClosed"] = _json_message("MinutesClosed", words, key=None)
    channels["health"]["messages"]["MinutesClosed"] = {"$ref": "#/components/messages/MinutesClosed"}
    operations["follow_health"]["messages"].append({"$ref": "#/channels/health/messages/MinutesClosed"})
    epoch = "The epoch of these topics, written once"
    pause = "Why a fleet's stream is paused; without a value: it is no longer"
    messages["EpochRecord"] = _json_message("EpochRecord", epoch, key=TEXT | {"const": "epoch"})
    messages["Pause"] = _json_message("Pause", pause, key=TEXT | {"pattern": "^pause/[a-z_]+/"})
    words = "The epoch and the paused streams; signed, kept for ever"
    channel("control", CONTROL, words, ["EpochRecord", "Pause"], partitions=False)
    operation("follow_control", "send", "control", f"Tidegate appends to {CONTROL}")
    messages["Reject"]["headers"] = {"$ref": REFS.format(model="RejectHeaders")}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidegate topics",
            "version": tidegate.__version__,
            "description": "What producers append and consumers follow. An operation says what Tidegate "
            "does: where it receives, you send. `tidegate.partials`, `tidegate.keys` and the topics of the "
            "worker's tables are internal.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": settings.kafka_bootstrap,
                "protocol": "kafka",
                "description": "Setting `kafka_bootstrap`",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas_},
    }


SITE_KEY: Schema = TEXT | {"description": "`fleet/site`, so that one site's documents stay in order"}


def _topic(settings: Settings, *, partitions: bool) -> Schema:
    return {
        "partitions": settings.kafka_partitions if partitions else 1,
        "replicas": settings.kafka_replication,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "max.message.bytes": settings.kafka_max_record_bytes,
        },
        "bindingVersion": "0.5.0",
    }


def _raw_message(stream: Stream, kind: str, words: str) -> Schema:
    lines = [examples.OF_FORM[name] for name in EXAMPLES[stream]]
    if kind:
        lines = [{"fleet": "demo", "received_at": 1763712000000000, "event": event} for event in lines]
    headers: Schema = {"$ref": REFS.format(model="RawHeaders")}
    if not kind:
        headers = {"allOf": [headers, {"type": "object", "required": ["fleet"]}]}
    return {
        "title": f"Raw frame of {stream}",
        "summary": words,
        "contentType": NDJSON,
        "headers": headers,
        "payload": {
            "type": "array",
            "description": "The lines of the record, here as an array; blank ones do not count",
            "items": {"$ref": REFS.format(model=f"{NAMES[stream]}{kind}")},
            "minItems": 1,
        },
        "examples": [{"name": "lines", "payload": lines} | ({} if kind else {"headers": {"fleet": "demo"}})],
    }


EXAMPLES: dict[Stream, tuple[str, ...]] = {
    "connection_logs": ("network", "session"),
    "client_events": ("success", "failure", "intermediate"),
    "device_logs": ("device_log",),
}


def _enriched_message(stream: Stream) -> Schema:
    return {
        "title": f"Enriched frame of {stream}",
        "summary": "One Arrow IPC stream of one record batch; its coordinates stand in the headers",
        "contentType": ARROW,
        "headers": {"$ref": REFS.format(model="EnrichedHeaders")},
        "payload": {
            "type": "array",
            "description": "The rows of the record batch, here as objects; there may be none",
            "items": {"$ref": REFS.format(model=f"{NAMES[stream]}Row")},
        },
    }


def _json_message(name: str, words: str, *, key: Schema | None) -> Schema:
    message: Schema = {
        "title": name,
        "summary": words,
        "contentType": "application/json",
        "payload": {"$ref": REFS.format(model=name)},
    }
    if key is not None:
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    return message


# --- schemas by themselves


def standing_alone(name: str, schemas_: dict[str, Schema]) -> Schema:
    """One schema with all that it refers to."""
    needed: list[str] = []

    def moved(node: Any) -> Any:
        if isinstance(node, list):
            return [moved(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = node["$ref"].rpartition("/")[2]
            if target not in needed:
                needed.append(target)
            return node | {"$ref": f"#/$defs/{target}"}
        return {key: moved(value) for key, value in node.items()}

    alone: Schema = {"$schema": schemas.DIALECT, "title": name} | moved(schemas_[name])
    definitions: dict[str, Schema] = {}
    while missing := [target for target in needed if target not in definitions]:
        for target in missing:
            definitions[target] = moved(schemas_[target])
    if definitions:
        alone["$defs"] = dict(sorted(definitions.items()))
    return alone
