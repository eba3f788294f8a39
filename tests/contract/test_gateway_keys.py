"""A request that comes again under its key: answered again, and put into the log once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateways import (
    CLIENT_EVENTS,
    CONNECTION_LOGS,
    DEVICE_LOGS,
    GatewayProcess,
    position,
    prepare_topics,
    read_headers,
    total,
)

import builders
from tidegate.contracts import keys
from tidegate.tokens import Role

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def gateways(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[GatewayProcess]]:
    name = {"embedded": "embedded_broker", "kafka": "apache_kafka"}[request.param]
    bootstrap = request.getfixturevalue(name).bootstrap
    prepare_topics(bootstrap)
    processes = [GatewayProcess(bootstrap, tmp_path_factory.mktemp("gateway")).start() for _ in range(2)]
    yield processes
    for process in processes:
        assert process.stop() == 0, process.child.tail()


@pytest.fixture
def gateway(gateways: list[GatewayProcess]) -> GatewayProcess:
    return gateways[0]


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def events(count: int) -> list[dict[str, Any]]:
    return [builders.success(macAddress=mac(number), ssid=f"n{number}") for number in range(count)]


def network(number: int) -> dict[str, Any]:
    return builders.network_log(inbytes=number)


SENDINGS = {
    "single": (CLIENT_EVENTS, builders.success(), {}),
    "single without a device": (CONNECTION_LOGS, network(1), {}),
    "legacy": (CONNECTION_LOGS, builders.sample("app_connection_event.legacy_request"), {}),
    "array": (CLIENT_EVENTS, events(40), {}),
    "array without devices": (CONNECTION_LOGS, [network(number) for number in range(7)], {}),
    "ndjson": (
        DEVICE_LOGS,
        builders.body(builders.device_log()) + b"\r\n" + builders.body(builders.device_log()),
        NDJSON,
    ),
    "envelope": (
        CLIENT_EVENTS,
        {"successLogs": [builders.success()], "failureLogs": [builders.failure(), builders.failure()]},
        {},
    ),
    "partly good": (CLIENT_EVENTS, [*events(5), {"macAddress": "no"}, *events(3)], {}),
    "more than a piece": (CLIENT_EVENTS, events(1200) + events(1200), {}),
}


@pytest.mark.parametrize("name", SENDINGS)
def test_the_second_answer_is_the_first(gateway: GatewayProcess, name: str) -> None:
    path, content, headers = SENDINGS[name]
    headers = headers | {"idempotency-key": str(uuid4())}
    first = gateway.post(path, content, headers=headers)
    assert first.status_code == (207 if name == "partly good" else 201), first.text
    assert "idempotent-replayed" not in first.headers
    before = total(gateway, "tidegate_gateway_events_total")
    again = gateway.post(path, content, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("location") == first.headers.get("location")
    assert total(gateway, "tidegate_gateway_events_total") == before
    ids = first.json().get("ids")
    if ids is not None:
        sent = content if isinstance(content, list) else []
        for id, event, envelope in zip(ids, sent, gateway.lines(*filter(None, ids)), strict=False):
            if name != "partly good":
                assert envelope["event"] == event, id


def test_the_same_key_of_another_stream_or_fleet_is_another_key(gateway: GatewayProcess) -> None:
    key = {"idempotency-key": str(uuid4())}
    one = gateway.post(CLIENT_EVENTS, builders.success(), headers=key)
    other = gateway.post(CONNECTION_LOGS, network(1), headers=key)
    assert (one.status_code, other.status_code) == (201, 201)
    assert "idempotent-replayed" not in other.headers
    assert keys.request_key("demo", b"a") != keys.request_key("other", b"a")


@pytest.mark.parametrize("changed", ["body", "device", "form"])
def test_another_content_under_the_same_key_is_refused_by_name(gateway: GatewayProcess, changed: str) -> None:
    key = {"idempotency-key": str(uuid4())}
    assert gateway.post(CONNECTION_LOGS, network(1), headers=key).status_code == 201
    content: Any = {"body": network(2), "device": network(1), "form": [network(1)]}[changed]
    device = {"x-device-id": "another"} if changed == "device" else {}
    answer = gateway.post(CONNECTION_LOGS, content, headers=key | device)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["code"], document["path"]) == ("key_reused", "Idempotency-Key")
    assert document["found"] == key["idempotency-key"]
    assert gateway.post(CONNECTION_LOGS, network(1), headers=key).headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none_is_refused(gateway: GatewayProcess, key: str) -> None:
    answer = gateway.post(CLIENT_EVENTS, builders.success(), headers={"idempotency-key": key})
    assert (answer.status_code, answer.json()["path"]) == (422, "Idempotency-Key")


def test_a_refused_request_leaves_its_key_free(gateway: GatewayProcess) -> None:
    key = {"idempotency-key": str(uuid4())}
    assert gateway.post(CLIENT_EVENTS, {"macAddress": "no"}, headers=key).status_code == 400
    mended = gateway.post(CLIENT_EVENTS, builders.success(), headers=key)
    assert mended.status_code == 201
    assert "idempotent-replayed" not in mended.headers


def test_requests_at_once_under_one_key_land_once(gateway: GatewayProcess) -> None:
    key, content = {"idempotency-key": str(uuid4())}, events(30)
    before = total(gateway, "tidegate_gateway_events_total")

    def post(_: int) -> httpx.Response:
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            token = {
                "authorization": f"Bearer {gateway.token[Role.INGEST]}",
                "content-type": "application/json",
            }
            return client.post(CLIENT_EVENTS, content=json.dumps(content), headers=token | key)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
    assert total(gateway, "tidegate_gateway_events_total") == before + 30


def test_another_gateway_sends_the_pieces_to_the_same_partitions(gateways: list[GatewayProcess]) -> None:
    """It does not know the ids, and the worker knows the pieces."""
    for content in (events(60), [network(number) for number in range(9)]):
        path = CLIENT_EVENTS if len(content) == 60 else CONNECTION_LOGS
        headers = {"idempotency-key": str(uuid4())}
        first, second = (gateway.post(path, content, headers=headers) for gateway in gateways)
        assert "idempotent-replayed" not in second.headers
        partitions = [[position(id).partition for id in answer.json()["ids"]] for answer in (first, second)]
        assert partitions[0] == partitions[1]
        assert pieces(gateways[0], first) == pieces(gateways[0], second)


def pieces(gateway: GatewayProcess, answer: httpx.Response) -> set[tuple[int, bytes, bytes, int]]:
    """Partition, key, digest and length of every piece in the frames of an answer's events."""
    places = {(position(id).partition, position(id).offset): id for id in answer.json()["ids"]}
    return {
        (position(id).partition, piece.key, piece.digest, piece.lines)
        for id in places.values()
        for piece in keys.read_pieces(read_headers(gateway.bootstrap, id)["keys"])
    }


def test_an_event_with_an_id_of_its_own_is_answered_again(gateway: GatewayProcess) -> None:
    event = builders.success(event_id=str(uuid4()))
    first = gateway.post(CLIENT_EVENTS, event)
    again = gateway.post(CLIENT_EVENTS, event)
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = gateway.post(CLIENT_EVENTS, event | {"ssid": "other"})
    assert (other.status_code, other.json()["path"]) == (422, "event_id")


def test_events_with_the_same_id_go_to_the_same_partition(gateway: GatewayProcess) -> None:
    content = [builders.network_log(inbytes=1, event_id="same")] * 20
    ids = [gateway.post(CONNECTION_LOGS, [event]).json()["ids"][0] for event in content]
    assert len({position(id).partition for id in ids}) == 1


def test_requests_without_a_key_have_no_header_in_the_log(gateway: GatewayProcess) -> None:
    answer = gateway.post(CLIENT_EVENTS, events(3))
    assert read_headers(gateway.bootstrap, answer.json()["ids"][0]) == {}
