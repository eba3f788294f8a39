"""The contracts for machines under docs/: valid by their specifications, and true of what the code writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import asyncapi_specification
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import builders
from tidegate import lookups
from tidegate.contracts import pauses
from tidegate.contracts import topics as names
from tidegate.contracts.counts import CountBlock
from tidegate.contracts.forms import Event, examine
from tidegate.contracts.frames import read_arrow
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.kafka import control, topics
from tidegate.steps.aggregate import aggregate
from tidegate.steps.frame import FrameSteps, Outputs, Record
from tidegate.worker.minutes import Minutes, split_by_site
from tidegate.worker.transform import Transform

EPOCH = topics.mint_epoch()
LOOKUPS = lookups.load()
EVENT: dict[Stream, str] = {
    "connection_logs": "ConnectionLog",
    "client_events": "ClientEvent",
    "device_logs": "DeviceLogEntry",
}
EVENTS: dict[Stream, list[dict[str, Any]]] = {
    "connection_logs": [
        builders.network_log(),
        builders.session_log(),
        builders.legacy_log(),
        builders.wrapped(builders.network_log()),
        builders.sample("app_connection_event.legacy_request"),
    ],
    "client_events": [
        *builders.sample("client_events.response")["clientEvents"],
        *builders.sample("client_connection_logs.response")["successLogs"],
        *builders.sample("client_connection_logs.response")["failureLogs"],
    ],
    "device_logs": [
        builders.sample("inventory_device_log.detail"),
        *builders.sample("inventory_device_log.list")["results"],
    ],
}


@cache
def validator(repository: Path, name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((repository / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def holds(repository: Path, name: str, document: Any, *, whole: bool = False) -> None:
    """`document` is valid; with `whole` it has no field, either, that the schema does not name."""
    found = validator(repository, name)
    found.validate(document)
    if whole:
        assert document.keys() <= found.schema["properties"].keys()  # type: ignore[index]


# --- the documents


@pytest.mark.parametrize("name", ["openapi-gateway", "openapi-api"])
def test_the_openapi_documents_are_valid(repository: Path, name: str) -> None:
    document = json.loads((repository / "docs" / f"{name}.json").read_text(encoding="utf-8"))
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("name", ["openapi-gateway", "openapi-api"])
def test_every_example_of_an_answer_is_valid(repository: Path, name: str) -> None:
    document = json.loads((repository / "docs" / f"{name}.json").read_text(encoding="utf-8"))
    checked = 0
    for schema, example in examples(document):
        rooted = {"components": document["components"], **schema}
        jsonschema.Draft202012Validator(rooted).validate(example)
        checked += 1
    assert checked > 15


def examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every example in a document with the schema that it stands beside."""
    if isinstance(node, dict):
        schema = node.get("schema")
        if isinstance(schema, dict):
            if "example" in node:
                yield schema, node["example"]
            for example in node.get("examples", {}).values():
                yield schema, example["value"]
        for value in node.values():
            yield from examples(value)
    elif isinstance(node, list):
        for item in node:
            yield from examples(item)


@pytest.fixture(scope="module")
def asyncapi(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((repository / "docs" / "asyncapi.json").read_text(encoding="utf-8"))
    return document


def test_the_asyncapi_document_is_valid(asyncapi: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(asyncapi_specification.schema()).validate(asyncapi)


def test_every_reference_of_the_asyncapi_document_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for item in node:
                yield from references(item)

    found = set(references(asyncapi))
    assert len(found) > 30
    for reference in found:
        node: Any = asyncapi
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


INTERNAL = {names.PARTIALS, getattr(names, "KEYS", "")}


def test_the_asyncapi_document_has_every_topic_that_is_not_internal(asyncapi: dict[str, Any]) -> None:
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}
    assert addresses == {*names.PARTITIONED, names.CONTROL} - INTERNAL


def test_the_examples_of_the_asyncapi_document_are_valid(asyncapi: dict[str, Any]) -> None:
    checked = 0
    for message in asyncapi["components"]["messages"].values():
        for example in message.get("examples", ()):
            for part in ("payload", "headers"):
                if part in example:
                    rooted = {"components": asyncapi["components"], **message[part]}
                    jsonschema.Draft202012Validator(rooted).validate(example[part])
                    checked += 1
    assert checked >= 6


# --- what senders write


@pytest.mark.parametrize("stream", STREAMS)
def test_the_documents_samples_are_valid(repository: Path, stream: Stream) -> None:
    for event in EVENTS[stream]:
        holds(repository, EVENT[stream], event)
        holds(repository, f"{EVENT[stream]}Envelope", json.loads(builders.envelope(event)))


AWKWARD: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.0, 0.5, 234, 2**63, -(2**63) - 1, "", "1", "5GHz", "wi", [], {}),
    *("2024-01-15T14:30:25Z", "2024-13-01", "00:1A:2B:3C:4D:5E", "40.7128", "-181", "31026", {"id": 1}),
    *("Success", "success", "BG", {"id": "a"}, {"id": None}, 10_413_791_999_999_999, 10_413_792_000_000_000),
]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_schema_and_the_verdict_agree(repository: Path, stream: Stream) -> None:
    """Of each field, left out or with each of the values that senders get wrong."""
    schema = validator(repository, EVENT[stream])
    both: set[bool] = set()
    forms = {frozenset(event): event for event in EVENTS[stream]}  # one of each
    for event in forms.values():
        for name in event:
            changed = [event | {name: value} for value in AWKWARD]
            changed.append({key: value for key, value in event.items() if key != name})
            for candidate in changed:
                if "data" in candidate and isinstance(candidate["data"], str):
                    continue  # JSON Schema does not look into a string
                accepted = isinstance(examine(stream, json.dumps(candidate).encode()), Event)
                assert schema.is_valid(candidate) == accepted, candidate
                both.add(accepted)
    assert both == {True, False}


# --- what the code writes


def transformed(stream: Stream, *events: Any) -> Outputs:
    transform = Transform(
        FrameSteps(
            stream,
            LOOKUPS,
            epoch=EPOCH,
            transform_version="1",
            geohash_precision=6,
            clock_skew_seconds=86_400,
            max_record_bytes=1_000_000,
        )
    )
    record = Record(2, 41, 39, builders.frame(*events), [], builders.RECEIVED_AT)
    return transform(record, {"demo"})


BROKEN: list[Any] = [b"{", {"macAddress": "x"}, {"a": 1}, b"\xff", []]


@pytest.mark.parametrize("stream", STREAMS)
def test_enriched_frames_are_valid(repository: Path, stream: Stream) -> None:
    outputs = transformed(stream, *EVENTS[stream], *BROKEN)
    headers = {name: value.decode("utf-8") for name, value in outputs.headers}
    holds(repository, "EnrichedHeaders", headers, whole=True)
    refused = [json.loads(line) for line in headers["rejects"].splitlines()]
    assert len(refused) == len(BROKEN)
    for reject in refused:
        holds(repository, "Reject", reject, whole=True)
    rows = read_arrow(outputs.enriched).to_pylist()
    assert len(rows) == len(EVENTS[stream])
    for row in rows:
        document = json.loads(msgspec.json.encode(row))
        holds(repository, f"{EVENT[stream]}Row", document, whole=True)
        assert list(document) == list(validator(repository, f"{EVENT[stream]}Row").schema["properties"])  # type: ignore[index]


@pytest.mark.parametrize("stream", STREAMS)
def test_rejects_and_failures_are_valid(repository: Path, stream: Stream) -> None:
    failed = {
        "connection_logs": builders.session_log(status="failed"),
        "client_events": builders.failure(),
        "device_logs": builders.device_log(is_applied=False, is_pending=False),
    }
    outputs = transformed(stream, failed[stream], *BROKEN)
    assert outputs.rejects and outputs.failures
    for headers, value in outputs.rejects:
        holds(repository, "Reject", json.loads(value), whole=True)
        holds(repository, "RejectHeaders", {name: text.decode() for name, text in headers}, whole=True)
    for _, value in outputs.failures:
        holds(repository, "Failure", json.loads(value), whole=True)


def test_minutes_are_valid(repository: Path) -> None:
    batch = transformed("client_events", *EVENTS["client_events"]).batch
    minutes = Minutes({})
    [record] = split_by_site([CountBlock("client_events", 0, 0, 1, aggregate("client_events", batch))], 1)
    minutes.merge(0, record, builders.RECEIVED_AT)
    published = [json.loads(value) for _, _, value in minutes.publish()]
    assert published and any(document["latencies"] for document in published)
    for document in published:
        holds(repository, "MinuteCounts", document, whole=True)


def test_pauses_and_their_alerts_are_valid(repository: Path) -> None:
    now = "2025-11-21T08:00:00+00:00"
    pause = pauses.Pause("demo", "client_events", now, 1000, 700)
    holds(repository, "Pause", json.loads(msgspec.json.encode(pause)), whole=True)
    for state in ("open", "resolved"):
        alert = pauses.alert(pause, state=state, at=now)
        holds(repository, "Alert", json.loads(msgspec.json.encode(alert)), whole=True)


def test_the_epochs_record_is_valid(repository: Path) -> None:
    record = control.EpochRecord(EPOCH, "2025-11-21T08:00:00Z")
    holds(repository, "EpochRecord", json.loads(msgspec.json.encode(record)), whole=True)
