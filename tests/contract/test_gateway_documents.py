"""The write side of `docs/api-conformance.md`: each field, reply key, status and role of the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from document_fields import CASES, FIELDS, at, event_with, event_without, same
from gateways import CLIENT_EVENTS, CONNECTION_LOGS, DEVICE_LOGS, ROUTES, GatewayProcess, running_gateway

import builders
from tidegate.contracts.forms import FORMS
from tidegate.contracts.topics import Stream
from tidegate.local.broker import Broker
from tidegate.tokens import WRITERS, Role

PATHS = {
    "network": CONNECTION_LOGS,
    "session": CONNECTION_LOGS,
    "legacy": CONNECTION_LOGS,
    "success": CLIENT_EVENTS,
    "failure": CLIENT_EVENTS,
    "intermediate": CLIENT_EVENTS,
    "device_log": DEVICE_LOGS,
}
ISO_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def together() -> Iterator[ThreadPoolExecutor]:
    """Posts at once share a group commit: one after another each would wait for its own."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def post(gateway: GatewayProcess, form: str, event: dict[str, Any]) -> httpx.Response:
    """The legacy body stands in its wrapper, as the document has it."""
    return gateway.post(PATHS[form], builders.wrapped(event) if form == "legacy" else event)


def refused(answer: httpx.Response, status: int, code: str, path: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"], document["path"]) == (status, code, path), document
    return document


def test_the_table_of_fields_is_that_of_the_models() -> None:
    """No field is left out, here and so in the page that names these tests."""
    for form in (form for forms in FORMS.values() for form in forms):
        wires = {path.split(".")[0] for path in FIELDS[form.name]}
        assert wires == form.wire_set
        for nested in form.derived.nested.values():
            inner = {path.split(".")[1] for path in FIELDS[form.name] if path.startswith(f"{nested.wire}.")}
            assert inner == nested.wires


@pytest.mark.parametrize(("form", "path"), CASES)
def test_a_field(gateway: GatewayProcess, together: ThreadPoolExecutor, form: str, path: str) -> None:
    """Each value that may be sent is taken and echoed, each other one is refused with the field's path."""
    field = FIELDS[form][path]
    named = f"data.{path}" if form == "legacy" else path
    events = [event_with(form, path, value) for value in (*field.values, *(value for value, _ in field.bad))]
    answers = list(together.map(lambda event: post(gateway, form, event), events))
    ids = []
    for value, answer in zip(field.values, answers, strict=False):
        assert answer.status_code == 201, (value, answer.text)
        ids.append(answer.headers["location"].removeprefix("/api/v1/events/"))
        if form != "legacy":
            echo = "source_id" if (form, path) == ("device_log", "id") else path
            expected = value if value is None else field.echoed(value)
            found = at(answer.json(), echo)
            assert same(found, expected), (value, found)
    without = post(gateway, form, event_without(form, path))
    if field.required:
        assert refused(without, 400, "missing_field", named)["allowed"] not in ("", "a value")
        refused(post(gateway, form, event_with(form, path, None)), 400, "missing_field", named)
    else:
        assert without.status_code == 201, without.text
    for (value, code), answer in zip(field.bad, answers[len(field.values) :], strict=True):
        document = refused(answer, 422, code, named)
        assert document["allowed"] and (document["found"] or value == "")
    if form == "legacy":  # nothing is echoed: the log has it as it was sent
        sent = [builders.wrapped(event) for event in events[: len(ids)]]
        assert [line["event"] for line in gateway.lines(*ids)] == sent


REPLIES = {
    "network": ("app_connection_log.request", "app_connection_log.response"),
    "session": ("app_connection_event.request", "app_connection_event.response"),
    "legacy": ("app_connection_event.legacy_request", "app_connection_event.legacy_response"),
}
LEAST: dict[str, dict[str, Any]] = {
    "network": {"network_type": "mo", "network_security": "3gp"},
    "session": {"device_id": "d", "timestamp": "2024-01-15T14:30:25Z"},
}


@pytest.fixture(scope="module")
def replies(gateway: GatewayProcess) -> dict[str, httpx.Response]:
    """What the documents' requests are answered, and (`least …`) requests with the required fields alone."""
    found = {
        form: gateway.post(CONNECTION_LOGS, builders.sample(request))
        for form, (request, _) in REPLIES.items()
    }
    for form, event in LEAST.items():
        found[f"least {form}"] = gateway.post(CONNECTION_LOGS, event)
    return found


@pytest.mark.parametrize(
    ("form", "key"), [(form, key) for form, (_, name) in REPLIES.items() for key in builders.sample(name)]
)
def test_a_reply_key(replies: dict[str, httpx.Response], form: str, key: str) -> None:
    """Each key of the document's reply is there, has the sample's value, and is null for what is missing."""
    answer = replies[form]
    assert answer.status_code == 201
    sample = builders.sample(REPLIES[form][1])
    found = answer.json()
    assert list(found) == list(sample)
    if key == "id":
        assert answer.headers["location"] == f"/api/v1/events/{found[key]}"
    elif key == "created_at" or (form, key) == ("legacy", "timestamp"):
        assert ISO_SECONDS.fullmatch(found[key])
    else:
        assert same(found[key], sample[key])
    if form in LEAST and key not in ("id", "created_at"):
        least = replies[f"least {form}"].json()
        assert list(least) == list(sample)
        assert same(least[key], LEAST[form].get(key))


# Statuses and roles

STATUSES: dict[str, tuple[Any, str | None, int]] = {
    "rev4-201": (builders.sample("app_connection_log.request"), "ingest", 201),
    "rev4-400-format": (b'{"network_type": ', "ingest", 400),
    "rev4-400-missing": ({"network_type": "wi"}, "ingest", 400),
    "rev4-401-missing": (builders.sample("app_connection_log.request"), None, 401),
    "rev4-401-invalid": (builders.sample("app_connection_log.request"), "", 401),
    "rev4-422": (builders.network_log(network_type="WiFi"), "ingest", 422),
    "rev3-201": (builders.sample("app_connection_event.request"), "ingest", 201),
    "rev3-400-format": (b'{"device_id": "DEV-001-XR7H9",}', "ingest", 400),
    "rev3-400-missing": ({"device_id": "DEV-001-XR7H9"}, "ingest", 400),
    "rev3-401-missing": (builders.sample("app_connection_event.request"), None, 401),
    "rev3-401-invalid": (builders.sample("app_connection_event.request"), "", 401),
    "rev3-422": (builders.session_log(timestamp="15/01/2024"), "ingest", 422),
    "legacy-201": (builders.sample("app_connection_event.legacy_request"), "ingest", 201),
    "legacy-400-format": ({"data": '{"device_id": '}, "ingest", 400),
    "legacy-400-missing": ({"data": None}, "ingest", 400),
    "legacy-401-missing": (builders.sample("app_connection_event.legacy_request"), None, 401),
    "legacy-401-invalid": (builders.sample("app_connection_event.legacy_request"), "", 401),
    "legacy-422": ({"data": {"device_id": "dev_12345"}}, "ingest", 422),
}


@pytest.mark.parametrize("case", STATUSES)
def test_a_status(gateway: GatewayProcess, case: str) -> None:
    body, role, status = STATUSES[case]
    if role is None:
        answer = gateway.client.post(CONNECTION_LOGS, json=body)
    elif role == "":
        answer = gateway.post(CONNECTION_LOGS, body, token="YOUR_API_TOKEN")
    else:
        answer = gateway.post(CONNECTION_LOGS, body, role=role)
    assert answer.status_code == status, answer.text
    if status != 201:
        document = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (document["status"], document["type"]) == (status, f"/problems/{document['code']}")
    assert ("www-authenticate" in answer.headers) == (status == 401)


EVENTS = {
    "connection_logs": builders.network_log(),
    "client_events": builders.success(),
    "device_logs": builders.device_log(),
}


@pytest.mark.parametrize("stream", list(ROUTES))
@pytest.mark.parametrize("role", [role.value for role in Role])
def test_a_role_and_a_call(gateway: GatewayProcess, role: str, stream: Stream) -> None:
    answer = gateway.post(ROUTES[stream], EVENTS[stream], role=role)
    if Role(role) in WRITERS:
        assert answer.status_code == 201, answer.text
    else:
        document = refused(answer, 403, "forbidden", "")
        assert all(writer in document["detail"] for writer in WRITERS)


@pytest.mark.parametrize("stream", list(ROUTES))
def test_the_call_with_and_without_its_final_slash(gateway: GatewayProcess, stream: Stream) -> None:
    path = ROUTES[stream]
    for spelling in (path, path.rstrip("/")):
        assert gateway.post(spelling, EVENTS[stream]).status_code == 201
    refused(gateway.post(path + "x", EVENTS[stream]), 404, "not_found", "")
