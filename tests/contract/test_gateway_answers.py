"""Each answer of the gateway to a writer, from the running process with a real broker behind it."""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import native_decoder
import pytest
import zstandard
from gateways import (
    CLIENT_EVENTS,
    CONNECTION_LOGS,
    DEVICE_LOGS,
    ROUTES,
    GatewayProcess,
    position,
    running_gateway,
    total,
)

import builders
from tidegate.contracts.frames import BOM
from tidegate.contracts.topics import Stream
from tidegate.local.broker import Broker

PACK: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
}
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    name = {"embedded": "embedded_broker", "kafka": "apache_kafka"}[request.param]
    bootstrap = request.getfixturevalue(name).bootstrap
    with running_gateway(
        bootstrap,
        tmp_path_factory.mktemp("gateway"),
        gateway_max_body_bytes=200_000,
        gateway_max_decoded_bytes=1_000_000,
        gateway_max_event_bytes=50_000,
        gateway_max_batch_events=2000,
    ) as gateway:
        yield gateway


def problem(answer: httpx.Response, status: int, code: str, path: str = "") -> dict[str, Any]:
    """The problem document of a refusal, checked for its shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "path", "found", "allowed"} <= document.keys()
    assert (document["status"], document["code"], document["path"]) == (status, code, path)
    assert document["type"] == f"/problems/{code}"
    return document


# One good event: 201 with the reference's echo


def id_of(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].removeprefix("/api/v1/events/")


def test_a_network_log_is_echoed_with_the_sixteen_keys_of_the_document(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.sample("app_connection_log.request"))
    expected = builders.sample("app_connection_log.response")
    assert answer.json() == expected and len(expected) == 16
    assert list(answer.json()) == list(expected)
    assert '"quality_value":-45.0' in answer.text
    assert gateway.lines(id_of(answer))[0]["event"] == builders.sample("app_connection_log.request")


def test_coordinates_that_came_as_numbers_are_echoed_as_strings(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.network_log(latitude=40.5, longitude="-74.0060"))
    assert (answer.json()["latitude"], answer.json()["longitude"]) == ("40.5", "-74.0060")


def test_a_session_log_is_echoed_with_id_and_created_at(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.sample("app_connection_event.request"))
    expected = builders.sample("app_connection_event.response")
    found = answer.json()
    assert list(found) == list(expected)
    assert found["id"] == id_of(answer)
    moment = time.strptime(found["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert moment.tm_year >= 2025
    ours = {"id", "created_at"}
    assert {k: v for k, v in found.items() if k not in ours} == {
        k: v for k, v in expected.items() if k not in ours
    }


def test_the_legacy_wrapper_is_answered_as_its_sample(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.sample("app_connection_event.legacy_request"))
    found = answer.json()
    assert list(found) == list(builders.sample("app_connection_event.legacy_response"))
    assert (found["id"], found["status"]) == (id_of(answer), "created")


def test_a_wrapper_around_a_newer_form_is_answered_as_that_form(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.wrapped(builders.network_log()))
    assert answer.json() == builders.sample("app_connection_log.response")


@pytest.mark.parametrize("event", [builders.success(), builders.failure(), builders.intermediate()])
def test_a_client_event_is_echoed_with_its_id(gateway: GatewayProcess, event: dict[str, Any]) -> None:
    answer = gateway.post(CLIENT_EVENTS, event)
    assert answer.json() == event | {"id": id_of(answer)}


def test_fields_that_are_missing_are_echoed_as_null(gateway: GatewayProcess) -> None:
    answer = gateway.post(
        CLIENT_EVENTS, {"macAddress": "00:11:22:33:44:55", "eventType": "Success", "timestamp": 1505109958}
    )
    assert answer.status_code == 201
    assert answer.json().keys() == builders.success().keys() | {"id"}
    assert answer.json()["dhcpLatency"] is None


def test_a_device_log_is_echoed_with_an_id_and_the_senders_own(gateway: GatewayProcess) -> None:
    event = builders.device_log()
    answer = gateway.post(DEVICE_LOGS, event)
    assert answer.json() == event | {"id": id_of(answer), "source_id": event["id"]}


def test_unknown_fields_are_kept_in_the_log(gateway: GatewayProcess) -> None:
    event = builders.success(colour="blue", nested={"a": [1, None]})
    answer = gateway.post(CLIENT_EVENTS, event)
    assert gateway.lines(id_of(answer))[0]["event"] == event


@pytest.mark.parametrize("path", [path.rstrip("/") for path in ROUTES.values()])
def test_the_final_slash_may_be_missing(gateway: GatewayProcess, path: str) -> None:
    assert gateway.post(path, {}).status_code == 400


def test_the_envelope_names_fleet_time_and_device(gateway: GatewayProcess) -> None:
    before = time.time_ns() // 1000
    answer = gateway.post(CONNECTION_LOGS, builders.network_log(), headers={"x-device-id": "dev-1"})
    line = gateway.lines(id_of(answer))[0]
    assert (line["fleet"], line["device"]) == ("demo", "dev-1")
    assert before <= line["received_at"] <= time.time_ns() // 1000
    without = gateway.post(CONNECTION_LOGS, builders.network_log())
    assert "device" not in gateway.lines(id_of(without))[0]


def test_a_pretty_printed_event_is_one_line(gateway: GatewayProcess) -> None:
    event = builders.success(ssid="a\nb\r\nc")
    answer = gateway.post(CLIENT_EVENTS, json.dumps(event, indent=2).replace("\n", "\r\n").encode())
    assert gateway.lines(id_of(answer))[0]["event"] == event


def test_hostile_text_comes_back_as_it_went_in(gateway: GatewayProcess) -> None:
    for ssid in ("'; DROP TABLE x --", "\x00" * 32, "🛜", "\u2028", '"}\n{"'):
        answer = gateway.post(CLIENT_EVENTS, builders.success(ssid=ssid))
        assert answer.json()["ssid"] == ssid
        assert gateway.lines(id_of(answer))[0]["event"]["ssid"] == ssid


def test_no_content_type_is_json(gateway: GatewayProcess) -> None:
    answer = gateway.client.post(
        CLIENT_EVENTS,
        content=builders.body(builders.success()),
        headers={"authorization": f"bearer {gateway.token['ingest']}"},  # type: ignore[index]
    )
    assert answer.status_code == 201


# Batches


def events(count: int) -> list[dict[str, Any]]:
    seeded = random.Random(count)
    return [
        builders.success(macAddress=f"00:11:22:33:44:{seeded.randrange(256):02x}", channel=index % 200)
        for index in range(count)
    ]


def encoded(batch: list[dict[str, Any]], form: str) -> bytes:
    if form == "array":
        return json.dumps(batch).encode()
    if form == "pretty array":
        return json.dumps(batch, indent=1).encode()
    return "\r\n\r\n".join(json.dumps(event) for event in batch).encode() + b"\n\n"


@pytest.mark.parametrize("form", ["array", "pretty array", "ndjson"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_good_batch_is_201_with_count_and_ids_in_order(
    gateway: GatewayProcess, form: str, encoding: str
) -> None:
    batch = events(60)
    body = encoded(batch, form)
    packed = PACK[encoding](body)
    headers = {"content-encoding": encoding} | (NDJSON if form == "ndjson" else {})
    answer = gateway.post(CLIENT_EVENTS, packed, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json().keys() == {"count", "ids"}
    assert answer.json()["count"] == 60 == len(set(answer.json()["ids"]))
    assert [line["event"] for line in gateway.lines(*answer.json()["ids"])] == batch


@pytest.mark.parametrize("decoder", ["python", "native"])
def test_one_byte_order_mark_means_nothing_and_a_second_is_no_json(
    embedded_broker: Broker, tmp_path: Path, decoder: str
) -> None:
    if decoder == "native":
        native_decoder.decoders()
    event = json.dumps(builders.success()).encode()
    with running_gateway(embedded_broker.bootstrap, tmp_path, decoder=decoder) as gateway:
        for body, headers in ((event, {}), (b"[%b]" % event, {}), (event, NDJSON), (b"\n" + event, NDJSON)):
            assert gateway.post(CLIENT_EVENTS, BOM + body, headers=headers).status_code == 201
            assert gateway.post(CLIENT_EVENTS, BOM + BOM + body, headers=headers).status_code != 201
            assert gateway.post(CLIENT_EVENTS, b"\n" + BOM + body, headers=headers).status_code != 201
        two = gateway.post(CLIENT_EVENTS, BOM + BOM + event + b"\n" + event, headers=NDJSON)
        assert two.status_code == 207 and [error["index"] for error in two.json()["errors"]] == [0]


def test_ndjson_of_one_line_is_a_batch(gateway: GatewayProcess) -> None:
    answer = gateway.post(CLIENT_EVENTS, builders.body(builders.success()), headers=NDJSON)
    assert answer.status_code == 201
    assert answer.json()["count"] == 1


@pytest.mark.parametrize("kind", ["application/ndjson", "application/jsonl", "application/x-ndjson; a=b"])
def test_other_names_of_ndjson(gateway: GatewayProcess, kind: str) -> None:
    answer = gateway.post(CLIENT_EVENTS, encoded(events(3), "ndjson"), headers={"content-type": kind})
    assert answer.json()["count"] == 3


def test_a_batch_larger_than_a_frame_is_spread_over_frames(gateway: GatewayProcess) -> None:
    batch = [builders.success(macAddress="00:11:22:33:44:55", channel=n % 200) for n in range(1500)]
    answer = gateway.post(
        CLIENT_EVENTS, gzip.compress(encoded(batch, "ndjson")), headers=NDJSON | {"content-encoding": "gzip"}
    )
    assert answer.status_code == 201, answer.text
    places = [position(id) for id in answer.json()["ids"]]
    assert len({place.partition for place in places}) == 1
    assert max(place.index for place in places) == 999
    assert [line["event"]["channel"] for line in gateway.lines(*answer.json()["ids"])] == [
        event["channel"] for event in batch
    ]


def test_one_devices_events_stay_in_one_partition(gateway: GatewayProcess) -> None:
    spellings = ["AA:BB:CC:00:11:22", "aa-bb-cc-00-11-22", "aabb.cc00.1122", "aabbcc001122"]
    answers = [gateway.post(CLIENT_EVENTS, builders.success(macAddress=mac)) for mac in spellings]
    answers.append(gateway.post(CLIENT_EVENTS, builders.failure(macAddress=spellings[0])))
    assert len({position(id_of(answer)).partition for answer in answers}) == 1
    for headers in ({"x-device-id": "dev-9"}, {"x-device-id": "dev-9"}):
        answers = [gateway.post(CONNECTION_LOGS, builders.network_log(), headers=headers) for _ in range(3)]
        assert len({position(id_of(answer)).partition for answer in answers}) == 1


BAD: dict[str, tuple[dict[str, Any] | bytes, int, str, str]] = {
    "missing": (builders.success(macAddress=None), 400, "missing_field", "macAddress"),
    "wrong type": (builders.success(channel="11"), 422, "wrong_type", "channel"),
    "range": (builders.success(channel=999), 422, "out_of_range", "channel"),
    "enum": (builders.success(protocol="Z"), 422, "not_in_enum", "protocol"),
    "format": (builders.success(macAddress="nonsense"), 422, "bad_format", "macAddress"),
    "no object": (b"17", 400, "not_object", ""),
}


@pytest.mark.parametrize("form", ["array", "ndjson"])
def test_a_partly_good_batch_is_207_and_the_good_ones_are_in(gateway: GatewayProcess, form: str) -> None:
    good = events(3)
    mixed = [builders.body(good[0])]
    for body, _, _, _ in BAD.values():
        mixed.append(body if isinstance(body, bytes) else builders.body(body))
    mixed += [builders.body(event) for event in good[1:]]
    array = form == "array"
    body = b"[" + b",".join(mixed) + b"]" if array else b"\n".join(mixed)
    answer = gateway.post(CLIENT_EVENTS, body, headers={} if array else NDJSON)
    assert answer.status_code == 207, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found.keys() == {"count", "ids", "errors"}
    assert found["count"] == 3
    assert [id is None for id in found["ids"]] == [False, *[True] * len(BAD), False, False]
    expected = [(index, *case[1:]) for index, case in enumerate(BAD.values(), 1)]
    assert [(e["index"], e["status"], e["code"], e["path"]) for e in found["errors"]] == expected
    assert all(e.keys() >= {"found", "allowed", "detail"} for e in found["errors"])
    ids = [id for id in found["ids"] if id]
    assert [line["event"] for line in gateway.lines(*ids)] == good


def test_a_broken_ndjson_line_costs_only_itself(gateway: GatewayProcess) -> None:
    good = builders.body(builders.success())
    body = b"\n".join([good, b'{"macAddress": "00:11', b"", b"\xff\xfe", good, b"{}{}", good])
    answer = gateway.post(CLIENT_EVENTS, body, headers=NDJSON)
    assert answer.status_code == 207
    assert [(e["index"], e["code"]) for e in answer.json()["errors"]] == [
        (1, "not_json"),
        (2, "not_utf8"),
        (4, "not_json"),
    ]


def test_ndjson_lines_are_events_whatever_their_neighbours_would_complete(gateway: GatewayProcess) -> None:
    good = builders.body(builders.success()).decode()
    half, rest = good.split(",", 1)
    answer = gateway.post(CLIENT_EVENTS, f"{half},\n{rest}\n{good} {good}\n{good}".encode(), headers=NDJSON)
    assert answer.status_code == 207
    assert [e["index"] for e in answer.json()["errors"]] == [0, 1, 2]


def test_a_batch_without_a_good_event_is_422_with_the_errors(gateway: GatewayProcess) -> None:
    answer = gateway.post(CLIENT_EVENTS, [builders.success(channel=999), builders.success(macAddress=None)])
    document = problem(answer, 422, "invalid_events")
    assert [(e["index"], e["status"], e["path"]) for e in document["errors"]] == [
        (0, 422, "channel"),
        (1, 400, "macAddress"),
    ]


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"[]", {}), (b" [ ] ", {}), (b"", NDJSON), (b"\r\n\n", NDJSON), (b'{"clientEvents": []}', {})],
)
def test_an_empty_batch_is_400(gateway: GatewayProcess, body: bytes, headers: dict[str, str]) -> None:
    problem(gateway.post(CLIENT_EVENTS, body, headers=headers), 400, "empty_batch")


def test_an_array_cut_short_is_400_and_stores_nothing(gateway: GatewayProcess) -> None:
    before = total(gateway, "tidegate_gateway_events_total")
    body = encoded(events(3), "array")
    for cut in (body[:-1], body[:-40], body + b"]", body[:-1] + b",]"):
        problem(gateway.post(CLIENT_EVENTS, cut), 400, "not_json")
    assert total(gateway, "tidegate_gateway_events_total") == before


def test_the_documents_own_envelopes_are_batches(gateway: GatewayProcess) -> None:
    for name, path, keys in (
        ("client_events.response", CLIENT_EVENTS, ["clientEvents"]),
        ("client_connection_logs.response", CLIENT_EVENTS, ["successLogs", "failureLogs"]),
        ("inventory_device_log.list", DEVICE_LOGS, ["results"]),
    ):
        document = builders.sample(name)
        sent = [event for key in keys for event in document[key]]
        answer = gateway.post(path, document)
        assert answer.status_code == 201, answer.text
        assert answer.json()["count"] == len(sent)
        assert [line["event"] for line in gateway.lines(*answer.json()["ids"])] == sent


def test_errors_in_an_envelope_name_the_place(gateway: GatewayProcess) -> None:
    document = {
        "failureLogs": [builders.failure(), builders.failure(), builders.failure(channel=999)],
        "successLogs": [builders.success()],
    }
    answer = gateway.post(CLIENT_EVENTS, document)
    assert answer.status_code == 207
    (error,) = answer.json()["errors"]
    assert (error["index"], error["path"]) == (3, "failureLogs[2].channel")
    answer = gateway.post(CLIENT_EVENTS, {"successLogs": None, "failureLogs": 7})
    problem(answer, 400, "bad_envelope", "failureLogs")


# Refusals


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        (CONNECTION_LOGS, b"", "empty_record", ""),
        (CONNECTION_LOGS, b'{"network_type":', "not_json", ""),
        (CONNECTION_LOGS, b'"text"', "not_object", ""),
        (CONNECTION_LOGS, b'{"ssid": "\xff"}', "not_utf8", ""),
        (CONNECTION_LOGS, {"colour": "blue"}, "unknown_form", ""),
        (CONNECTION_LOGS, {"network_type": "wi"}, "missing_field", "network_security"),
        (CONNECTION_LOGS, {"device_id": "d", "timestamp": None}, "missing_field", "timestamp"),
        (CONNECTION_LOGS, {"data": '{"network_type": "wi"}'}, "missing_field", "data.network_security"),
        (CLIENT_EVENTS, {"eventType": "Success", "timestamp": 1}, "missing_field", "macAddress"),
        (DEVICE_LOGS, {"datetime": "2024-01-15", "action": "x"}, "missing_field", "parent"),
        (DEVICE_LOGS, builders.device_log(parent={"name": "x"}), "missing_field", "parent.id"),
        (CLIENT_EVENTS, b"[" * 100_000, "not_json", ""),
        (CLIENT_EVENTS, b'{"a":' * 9_000, "not_json", ""),
    ],
)
def test_no_json_or_a_missing_field_is_400(
    gateway: GatewayProcess, path: str, body: Any, code: str, field: str
) -> None:
    problem(gateway.post(path, body), 400, code, field)


@pytest.mark.parametrize(
    ("path", "event", "code", "field"),
    [
        (CONNECTION_LOGS, builders.network_log(network_type="xx"), "not_in_enum", "network_type"),
        (CONNECTION_LOGS, builders.network_log(frequency="5.0"), "wrong_type", "frequency"),
        (CONNECTION_LOGS, builders.network_log(latitude="91"), "out_of_range", "latitude"),
        (CONNECTION_LOGS, builders.network_log(inbytes=-1), "out_of_range", "inbytes"),
        (CONNECTION_LOGS, builders.session_log(timestamp="yesterday"), "bad_format", "timestamp"),
        (CLIENT_EVENTS, builders.success(locationId={"id": "x"}), "wrong_type", "locationId.id"),
        (DEVICE_LOGS, builders.device_log(is_applied="yes"), "wrong_type", "is_applied"),
    ],
)
def test_an_invalid_value_is_422(
    gateway: GatewayProcess, path: str, event: Any, code: str, field: str
) -> None:
    document = problem(gateway.post(path, event), 422, code, field)
    assert document["found"] and document["allowed"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer nonsense", "Basic Zm9vOmJhcg==", "Bearer \xff"]
)
def test_no_or_an_unknown_token_is_401(gateway: GatewayProcess, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = gateway.client.post(CLIENT_EVENTS, content=b"{}", headers=headers)  # type: ignore[arg-type]
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("role", "status"),
    [("ingest", 201), ("administrator", 201), ("superuser", 201), ("operator", 403), ("viewer", 403)],
)
def test_who_may_write(gateway: GatewayProcess, role: str, status: int) -> None:
    answer = gateway.post(CLIENT_EVENTS, builders.success(), role=role)
    assert answer.status_code == status
    if status == 403:
        problem(answer, 403, "forbidden")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_405(gateway: GatewayProcess, method: str) -> None:
    answer = gateway.client.request(method, CLIENT_EVENTS)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_other_paths_are_404(gateway: GatewayProcess) -> None:
    problem(gateway.post("/api/v1/nothing/", b"{}"), 404, "not_found")


def test_a_body_that_is_too_large_is_413(gateway: GatewayProcess) -> None:
    body = encoded(events(600), "array")
    assert len(body) > 200_000
    problem(gateway.post(CLIENT_EVENTS, body), 413, "too_large")


def test_a_chunked_body_that_is_too_large_is_413(gateway: GatewayProcess) -> None:
    headers = {"authorization": f"Bearer {gateway.token['ingest']}"}  # type: ignore[index]
    pieces = (b" " * 50_000 for _ in range(10))
    problem(gateway.client.post(CLIENT_EVENTS, content=pieces, headers=headers), 413, "too_large")


def test_a_chunked_body_is_taken(gateway: GatewayProcess) -> None:
    headers = {"authorization": f"Bearer {gateway.token['ingest']}"}  # type: ignore[index]
    body = encoded(events(100), "array")
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    answer = gateway.client.post(CLIENT_EVENTS, content=pieces, headers=headers)
    assert answer.json()["count"] == 100


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_413(gateway: GatewayProcess, encoding: str) -> None:
    pack = PACK[encoding]
    bomb = pack(b" " * 40_000_000)
    assert len(bomb) < 200_000
    problem(gateway.post(CLIENT_EVENTS, bomb, headers={"content-encoding": encoding}), 413, "too_large")


def test_a_single_event_that_is_too_large_is_413(gateway: GatewayProcess) -> None:
    long = builders.success(ssid="x" * 60_000)
    problem(gateway.post(CLIENT_EVENTS, long), 413, "too_large")
    answer = gateway.post(CLIENT_EVENTS, [builders.success(), long])
    assert answer.status_code == 207
    assert [(e["index"], e["status"]) for e in answer.json()["errors"]] == [(1, 413)]


def test_a_batch_of_too_many_events_is_413(gateway: GatewayProcess) -> None:
    problem(gateway.post(CLIENT_EVENTS, b"{}\n" * 2001, headers=NDJSON), 413, "too_large")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/jsonx", "multipart/form-data"]
)
def test_an_unknown_content_type_is_415(gateway: GatewayProcess, kind: str) -> None:
    answer = gateway.post(CLIENT_EVENTS, builders.success(), headers={"content-type": kind})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "gzip,zstd"])
def test_an_unknown_encoding_or_a_chain_is_415(gateway: GatewayProcess, encoding: str) -> None:
    body = gzip.compress(gzip.compress(builders.body(builders.success())))
    answer = gateway.post(CLIENT_EVENTS, body, headers={"content-encoding": encoding})
    problem(answer, 415, "unsupported_encoding")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_is_not_what_its_encoding_says_is_400(gateway: GatewayProcess, encoding: str) -> None:
    pack = PACK[encoding]
    for body in (b"{}", b"", pack(b"{}")[:-3]):
        answer = gateway.post(CLIENT_EVENTS, body, headers={"content-encoding": encoding})
        problem(answer, 400, "bad_encoding")


def test_a_refusal_leaves_the_connection_usable(gateway: GatewayProcess) -> None:
    with httpx.Client(base_url=gateway.url, timeout=30, limits=httpx.Limits(max_connections=1)) as client:
        headers = {"authorization": f"Bearer {gateway.token['ingest']}"}  # type: ignore[index]
        for _ in range(3):
            assert client.post(CLIENT_EVENTS, content=b" " * 250_000, headers=headers).status_code == 413
            assert client.post(CLIENT_EVENTS, content=b"x" * 250_000).status_code == 401
            answer = client.post(CLIENT_EVENTS, content=builders.body(builders.success()), headers=headers)
            assert answer.status_code == 201


def test_a_device_header_that_is_too_long_is_422(gateway: GatewayProcess) -> None:
    answer = gateway.post(CONNECTION_LOGS, builders.network_log(), headers={"x-device-id": "x" * 257})
    problem(answer, 422, "out_of_range", "X-Device-Id")


def test_headers_without_end_are_cut_off(gateway: GatewayProcess) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        with pytest.raises(OSError):  # the gateway closes while we still send
            for number in range(20_000):
                connection.sendall(b"x-%d: %s\r\n" % (number, b"y" * 1000))
    assert gateway.client.get("/healthz").status_code == 200


# What people and machines read


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_pages_need_no_token(gateway: GatewayProcess, path: str) -> None:
    assert gateway.client.get(path).status_code == 200


def test_a_problem_type_leads_to_a_page(gateway: GatewayProcess) -> None:
    document = problem(gateway.post(CLIENT_EVENTS, b"{"), 400, "not_json")
    page = gateway.client.get(document["type"])
    assert page.status_code == 200
    assert document["title"] in page.text


def test_every_request_and_event_is_counted(gateway: GatewayProcess) -> None:
    before = {
        name: total(gateway, f"tidegate_gateway_{name}_total")
        for name in ("requests", "events", "refused_events", "body_bytes")
    }
    gateway.post(CLIENT_EVENTS, [builders.success(), builders.failure(), {}])
    after = {name: total(gateway, f"tidegate_gateway_{name}_total") for name in before}
    assert after["requests"] - before["requests"] == 1
    assert after["events"] - before["events"] == 2
    assert after["refused_events"] - before["refused_events"] == 1
    assert after["body_bytes"] > before["body_bytes"]


@pytest.mark.parametrize("stream", list(ROUTES))
def test_a_batch_of_any_stream_lands_in_its_topic(gateway: GatewayProcess, stream: Stream) -> None:
    event = {
        "connection_logs": builders.network_log(),
        "client_events": builders.success(),
        "device_logs": builders.device_log(),
    }[stream]
    answer = gateway.post(ROUTES[stream], [event, event])
    assert {position(id).stream for id in answer.json()["ids"]} == {stream}
    assert [line["event"] for line in gateway.lines(*answer.json()["ids"])] == [event, event]
