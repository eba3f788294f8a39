"""The same events by every way, over HTTP and straight into Kafka, through the real roles into ClickHouse.

Every column of every row is held to what the models say of the event by itself (`expected.py`), and each id
to the answer that its sender got.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import native_decoder
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from confluent_kafka import Message, Producer
from expected import Line, Refusal, expected, row_of
from row_differences import micros, unlike, unlike_reject
from up_rig import Up, await_

import builders
from tidegate.contracts.forms import Event, precise
from tidegate.contracts.position import Position
from tidegate.contracts.topics import STREAMS, Stream, raw
from tidegate.settings import Settings

PATHS: dict[Stream, str] = {
    "connection_logs": "device_app_connection_log",
    "client_events": "client_events",
    "device_logs": "inventory_device_log",
}
MOST = Settings().gateway_max_event_bytes
RECORD_BYTES = Settings().kafka_max_record_bytes
LIMITED: Any = {"record_bytes": RECORD_BYTES, "fleets": {"demo"}}


def long(event: dict[str, Any], field: str) -> bytes:
    """An event of exactly as many bytes as the gateway takes."""
    size = len(builders.body(event | {field: ""}))
    return builders.body(event | {field: "x" * (MOST - size)})


GOOD: dict[Stream, list[bytes]] = {
    "connection_logs": [
        builders.body(builders.network_log(latitude=0.0, longitude=-0.0)),
        builders.body(builders.network_log(latitude=-0.0, longitude=0.0, shoe_size=7)),
        builders.body(builders.network_log(bssid="", network_name="Café 😀")),
        builders.body(builders.network_log())[:-1] + b',"more":1e400,"half":"caf\\ud83d"}',
        builders.body(builders.session_log(timestamp="2016-12-31T23:59:60Z", more={"a": [1, None]})),
        builders.body(builders.wrapped(builders.legacy_log())),
        builders.body(builders.network_log(bssid="00-1A-2B-3C-4D-5E:Corp")),
        long(builders.session_log(), "user_agent"),
    ],
    "client_events": [
        builders.body(builders.success(macAddress="6805-71a4-ef0e", timestamp=1505109958.25)),
        builders.body(builders.failure(shoe_size=-0.0)),
        builders.body(builders.intermediate(bssid="")),
        builders.body(builders.success())[:-1] + b',"channel":6,"channel":11}',
        long(builders.failure(), "failure"),
    ],
    "device_logs": [
        builders.body(builders.device_log(id=2**63 - 1, old_value=2**80, new_value=-0.0)),
        builders.body(builders.device_log(notes="", parent={"id": "a", "rack": 7}, applied_at="")),
        builders.body(builders.device_log(new_value=True, user="\u0001\u2028")),
        long(builders.device_log(), "notes"),
    ],
}
BAD: dict[Stream, bytes] = {
    "connection_logs": builders.body(builders.network_log(bssid="zz")),
    "client_events": builders.body(builders.success(ssid="@")).replace(b'"@"', b'"caf\\ud83d"'),
    "device_logs": builders.body(builders.device_log(datetime="soon")),
}


class Running:
    def __init__(self, up: Up) -> None:
        self.gateway = f"http://{up.listens['gateway']}"
        self.token = up.tokens()["ingest"]
        self.bootstrap = up.listens["kafka"]
        self.clickhouse = up.clickhouse_url
        self.sent: dict[str, tuple[Stream, Line]] = {}  # by id
        self.refused: dict[str, tuple[Stream, Line, bool]] = {}  # whether it is a bare event
        self.epoch = ""

    def post(self, stream: Stream, content: bytes, **headers: str) -> httpx.Response:
        named = {"Authorization": f"Bearer {self.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        url = f"{self.gateway}/api/v1/{PATHS[stream]}/"
        return httpx.post(url, content=content, headers=named, timeout=60.0)

    def produce(self, stream: Stream, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        offsets: list[tuple[int, int]] = []

        def landed(error: object, message: Message) -> None:
            assert error is None
            offsets.append((message.partition() or 0, message.offset() or 0))

        producer = Producer({"bootstrap.servers": self.bootstrap, "message.max.bytes": 16_000_000})
        producer.produce(raw(stream), value, headers=headers, on_delivery=landed)
        producer.flush(60)
        return offsets[0]


@pytest.fixture(scope="module", params=native_decoder.NAMES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if request.param == "native":
        native_decoder.decoders()
    folder: Path = tmp_path_factory.mktemp("every-way")
    up = Up(folder, "--simulate", "0")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIDEGATE_DECODER", request.param)
        try:
            up.start()
            yield Running(up)
            assert up.stop() == 0, up.said()
        finally:
            up.end()


def test_every_row_is_what_was_sent_by_whichever_way(running: Running) -> None:
    before = now()
    for stream in STREAMS:
        for number, event in enumerate(GOOD[stream]):
            answer = running.post(stream, event, X_Device_Id=f"single-{number}")
            assert answer.status_code == 201, (event[:200], answer.text[:500])
            id = answer.headers["location"].rpartition("/")[2]
            running.sent[id] = stream, Line(event, device=f"single-{number}")
        batches(running, stream)
        straight(running, stream)
    client = clickhouse_connect.get_client(dsn=running.clickhouse, database="tidegate")
    for stream in STREAMS:
        wanted = {id: line for id, (of, line) in running.sent.items() if of == stream}

        def stored(stream: Stream = stream) -> int:
            return int(client.query(f"SELECT count() FROM {stream}").result_rows[0][0])

        await_(lambda wanted=wanted, stored=stored: stored() == len(wanted))  # type: ignore[misc]
        rows = by_id(client, stream)
        assert rows.keys() == wanted.keys()
        for id, line in wanted.items():
            check(stream, rows[id], line, before)
    refused = by_id(client, "rejects")
    client.close()
    assert refused.keys() == running.refused.keys()
    for id, (stream, line, bare) in running.refused.items():
        written = micros(refused[id]["received_at"])
        assert before <= written <= now()
        told = expected(stream, line, written=written, bare=bare, **LIMITED)
        assert isinstance(told, Refusal)
        assert unlike_reject(refused[id], told, line, bare=bare) == {}


def by_id(client: Client, table: str) -> dict[str, dict[str, Any]]:
    found = client.query_arrow(f"SELECT *, id FROM {table}", use_strings=True)
    return {row["id"]: row for row in found.to_pylist()}


def batches(running: Running, stream: Stream) -> None:
    """Arrays and NDJSON, plain and compressed, each with a bad event in the middle."""
    events = [*GOOD[stream][:2], BAD[stream], *GOOD[stream][2:-1]]
    array, lines = b"[" + b",".join(events) + b"]", b"\r\n".join(events)
    ways: list[tuple[bytes, dict[str, str]]] = [
        (array, {"Content_Type": "application/json"}),
        (b"\xef\xbb\xbf" + array, {"Content_Type": "application/json; charset=utf-8"}),
        (lines, {"Content_Type": "application/x-ndjson"}),
        (gzip.compress(array), {"Content_Encoding": "gzip"}),
        (zstandard.compress(lines), {"Content_Encoding": "zstd", "Content_Type": "application/jsonlines"}),
    ]
    for number, (body, headers) in enumerate(ways):
        device = f"batch-{number}"
        answer = running.post(stream, body, X_Device_Id=device, **headers)
        assert answer.status_code == 207, answer.text[:500]
        [error] = answer.json()["errors"]
        verdict = precise(stream, BAD[stream])
        assert not isinstance(verdict, Event)
        assert (error["index"], error["code"], error["path"]) == (2, verdict.code, verdict.path)
        for event, id in zip(events, answer.json()["ids"], strict=True):
            assert (id is None) == (event == BAD[stream])
            if id is not None:
                running.sent[id] = stream, Line(event, device=device)
                running.epoch = id.partition("-")[0]


def straight(running: Running, stream: Stream) -> None:
    """Records of envelopes, all together, by form and one by one, each with one that is refused, and of bare
    events under headers."""
    events = [*GOOD[stream][:2], BAD[stream], *GOOD[stream][2:]]
    received = str(now())
    lines = [
        Line(event, device=f"{'é' if number % 2 else 'e'}-{number}", received=received)
        for number, event in enumerate(events)
    ]
    for group in (lines, *by_form(stream, lines)):
        value = b"\n".join(line.envelope() for line in group)
        note(running, stream, group, running.produce(stream, value, []))
    bare = [Line(event, device="bare", received=received) for event in events]
    note(running, stream, bare, running.produce(stream, b"\n".join(events), bare[0].headers()), bare=True)
    for line in lines:
        note(running, stream, [line], running.produce(stream, line.envelope(), []))
    odd = [Line(events[0], device=device, received=received) for device in ("caf\u00e9", "caf\u00e8")]
    for line in odd:
        headers = [*line.headers()]
        headers[1] = ("device", str(line.device).encode("latin-1"))
        note(running, stream, [line], running.produce(stream, line.event, headers), bare=True)
    wrong = Line(events[0], received="soon")
    note(running, stream, [wrong], running.produce(stream, wrong.event, wrong.headers()), bare=True)


def by_form(stream: Stream, lines: list[Line]) -> list[list[Line]]:
    """The lines of each form, and with them the one that is of none."""
    forms = [
        verdict.form if isinstance(verdict := precise(stream, line.event), Event) else None for line in lines
    ]
    return [
        [line for line, own in zip(lines, forms, strict=True) if own in (form, None)]
        for form in dict.fromkeys(forms)
        if form is not None
    ]


def note(
    running: Running, stream: Stream, lines: list[Line], record: tuple[int, int], *, bare: bool = False
) -> None:
    partition, offset = record
    for index, line in enumerate(lines):
        id = Position(running.epoch, stream, partition, offset, index).id()
        if isinstance(expected(stream, line, written=now(), **LIMITED), Refusal):
            running.refused[id] = stream, line, bare
        else:
            running.sent[id] = stream, line


def check(stream: Stream, row: dict[str, Any], line: Line, before: int) -> None:
    event = precise(stream, line.event)
    assert isinstance(event, Event)
    received = micros(row["received_at"])
    if line.received is None:
        assert before <= received <= now()
    else:
        assert received == int(line.received)
    assert unlike(row, row_of(stream, line, event, received)) == {}, line


def now() -> int:
    return time.time_ns() // 1000
