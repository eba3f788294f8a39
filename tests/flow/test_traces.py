"""Traces from the gateway's request to the sink's insert, as a receiver of OTLP gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import roles
from confluent_kafka import Message
from conftest import running_broker
from databases import settings_of
from otlp_receiver import OtlpReceiver, Received
from raw_topics import committed_records, write_record
from waiting import await_

from builders import body, device_log, envelope
from tidegate.contracts.topics import enriched, raw
from tidegate.kafka.topics import ensure_topics
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

PATH = "/api/v1/inventory_device_log/"
TOKENS = (
    "SELECT format('{}:{}:{}:{}-{}:{}', epoch, stream, toString(partition), toString(first), toString(last),"
    " transform_version) FROM sink_batches"
)
ROLES = ("gateway", "worker", "sink")
TELL = """
import atexit, sys
atexit.register(lambda: print("sdk", "opentelemetry.sdk" in sys.modules, flush=True))
"""


class Place:
    """Gateway, worker and sink on a broker and a database of their own."""

    def __init__(self, bootstrap: str, clickhouse: ClickHouseServer, folder: Path, **values: object) -> None:
        store = settings_of(clickhouse)
        self.bootstrap = bootstrap
        self.values: dict[str, Any] = {
            "kafka_bootstrap": bootstrap,
            "kafka_partitions": 1,
            "clickhouse_url": store.clickhouse_url,
            "clickhouse_database": store.clickhouse_database,
            "control_key_file": store.control_key_file,
            "ttl_device_logs_days": 0,
            "data_dir": str(folder),
            **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in ROLES},
            **values,
        }
        settings = Settings(**self.values)
        ensure_topics(settings)
        with connect(settings, database="") as admin:
            migrate(admin, settings)
        self.client = connect(settings)
        self.token = TokenFile(settings.tokens_path).create("one", fleet="demo", role="ingest")
        self.roles = {role: roles.role(role, folder, self.values, prelude=TELL) for role in ROLES}

    def ready(self) -> bool:
        for child in self.roles.values():
            assert child.running, child.tail()
        return all(roles.get(self.values[f"{role}_listen"], "/readyz")[0] == 200 for role in ROLES)

    def post(self, *names: str, token: str = "", **headers: str) -> httpx.Response:
        """A batch of device logs with these `notes`."""
        sent = {"authorization": f"Bearer {token or self.token}", "content-type": "application/x-ndjson"}
        lines = b"\n".join(body(device_log(notes=name)) for name in names)
        return httpx.post(
            f"http://{self.values['gateway_listen']}{PATH}",
            content=lines,
            headers=sent | headers,
            timeout=60.0,
        )

    def stored(self) -> list[str]:
        return sorted(str(row[0]) for row in self.client.query("SELECT notes FROM device_logs").result_rows)

    def records(self, topic: str) -> list[Message]:
        return list(committed_records(self.bootstrap, topic))


@contextmanager
def running(clickhouse: ClickHouseServer, folder: Path, **values: object) -> Iterator[Place]:
    """Roles that end with status 0 when they are told to."""
    with running_broker("embedded", folder) as broker:
        place = Place(broker.bootstrap, clickhouse, folder, **values)
        try:
            for child in place.roles.values():
                child.start()
            await_(place.ready)
            yield place
        finally:
            ended = {role: child.stop(30) for role, child in place.roles.items()}
            place.client.close()
        assert set(ended.values()) == {0}, ended


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver().running() as found:
        yield found


@pytest.fixture(scope="module")
def traced(
    clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver
) -> Iterator[Place]:
    with running(clickhouse, tmp_path_factory.mktemp("traced"), otel_endpoint=receiver.url) as place:
        yield place


def traceparent(message: Message) -> list[bytes]:
    return [value for name, value in message.headers() or () if name == "traceparent"]


def named(span: Received) -> bytes:
    return f"00-{span.trace}-{span.id}-01".encode()


def test_a_post_is_one_trace_from_the_request_to_the_insert(traced: Place, receiver: OtlpReceiver) -> None:
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    assert traced.post("no", token="nobody", traceparent=f"00-{trace}-{caller}-01").status_code == 401
    odd = "5c2d7e19a4f04c0b9a3e6f7d8b1c2a30"
    refused = traced.post("no", traceparent=f"00-{odd}-{caller}-01", **{"content-type": "text/plain"})
    assert refused.status_code == 415
    quiet = traced.post("quiet", traceparent=f"00-{trace}-{caller}-00")  # its sender keeps none of it
    assert quiet.status_code == 201
    answer = traced.post("one", "two", traceparent=f"00-{trace}-{caller}-01")
    assert answer.status_code == 201, answer.text
    await_(lambda: {"quiet", "one", "two"} <= set(traced.stored()))

    def of(trace: str) -> list[Received]:
        return [span for span in receiver.spans() if span.trace == trace]

    await_(lambda: len(of(trace)) >= 4 and of(odd))  # each role sends its own
    spans = of(trace)
    [request, sent, transformed, inserted] = spans
    assert [span.parent for span in spans] == [caller, request.id, sent.id, transformed.id]
    services = ["gateway", "gateway", "worker", "sink"]
    assert [span.service for span in spans] == [f"tidegate-{name}" for name in services]
    assert not any(span.failed for span in spans)
    assert request.name == f"POST {PATH}" and request.values["http.response.status_code"] == 201
    assert request.values["tidegate.fleet"] == "demo"
    [told] = of(odd)
    assert (told.name, told.parent, told.failed) == (request.name, caller, False)
    assert told.values["http.response.status_code"] == 415
    epoch, _, offset, _ = json.loads(answer.text)["ids"][0].split("-")
    for span in (sent, transformed):
        assert span.values["messaging.kafka.offset"] == int(offset)
    assert transformed.values["tidegate.lines"] == transformed.values["tidegate.accepted"] == 2
    tokens = [str(row[0]) for row in traced.client.query(TOKENS).result_rows]
    assert inserted.values["tidegate.token"] in tokens and tokens[0].startswith(epoch)
    assert request.begun <= sent.begun <= transformed.begun <= inserted.begun <= inserted.ended
    assert sent.ended <= request.ended
    of_one, of_quiet = (int(each.json()["ids"][0].split("-")[2]) for each in (answer, quiet))
    for topic, written in ((raw("device_logs"), sent), (enriched("device_logs"), transformed)):
        records = traced.records(topic)
        assert traceparent(records[of_one]) == [named(written)]
        [unkept] = traceparent(records[of_quiet])
        assert unkept.endswith(b"-00") and trace.encode() in unkept


def test_the_traceparent_of_a_foreign_producer_holds_where_it_is_one(
    traced: Place, receiver: OtlpReceiver
) -> None:
    trace, span = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
    good = b"00-" + trace + b"-" + span + b"-01"
    wrong = [
        b"", b"\xff\xfe", good.upper(), good[:-1], good + b"-x", b"ff" + good[2:], good + b"\n",
        good.replace(trace, b"0" * 32), good.replace(span, b"0" * 16),
    ]  # fmt: skip
    others = [*([("traceparent", value)] for value in wrong), [("traceparent", good)] * 2, []]
    offsets = []
    for number, headers in enumerate([[("traceparent", good)], *others]):
        line = envelope(device_log(notes=f"foreign {number}"))
        offsets.append(write_record(traced.bootstrap, "device_logs", [line], headers=headers))
    await_(lambda: {f"foreign {number}" for number in range(len(offsets))} <= set(traced.stored()))

    def found() -> dict[int, Received]:
        spans = receiver.spans("transform")
        return {
            number: span for span in spans if (number := span.values["messaging.kafka.offset"]) in offsets
        }

    await_(lambda: len(found()) == len(offsets))
    first, *rest = (found()[offset] for offset in offsets)
    assert (first.trace, first.parent) == (trace.decode(), span.decode())
    assert {span.parent for span in rest} == {""}
    assert len({span.trace for span in rest} - {trace.decode()}) == len(rest)


def test_what_goes_on_as_one_is_linked(clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    """Two requests in a frame, and two frames in an insert."""
    slow = {"gateway_linger_ms": 3000, "sink_batch_age_ms": 10_000, "sink_busy_age_ms": 10_000}
    with (
        OtlpReceiver().running() as receiver,
        running(clickhouse, tmp_path, otel_endpoint=receiver.url, **slow) as place,
    ):
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(place.post, ["a", "b"]))
        answers.append(place.post("c"))
        assert [answer.status_code for answer in answers] == [201] * 3
        await_(lambda: place.stored() == ["a", "b", "c"])
        await_(lambda: receiver.spans("insert"))
    requests, sent = receiver.spans("POST"), receiver.spans("send")
    transformed, [inserted] = receiver.spans("transform"), receiver.spans("insert")
    assert len(requests) == 3 and len(sent) == len(transformed) == 2
    first = {(span.trace, span.id) for span in requests[:2]}
    assert {(sent[0].trace, sent[0].parent)} | sent[0].links == first and len(sent[0].links) == 1
    assert (sent[1].trace, sent[1].parent, sent[1].links) == (requests[2].trace, requests[2].id, frozenset())
    assert [(span.trace, span.parent) for span in transformed] == [(span.trace, span.id) for span in sent]
    assert (inserted.trace, inserted.parent) == (transformed[0].trace, transformed[0].id)
    assert inserted.links == {(transformed[1].trace, transformed[1].id)}
    assert inserted.values["tidegate.frames"] == 2


def test_without_an_endpoint_there_is_neither_header_nor_import(
    clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    with running(clickhouse, tmp_path) as place:
        assert place.post("one", traceparent=f"00-{1:032x}-{1:016x}-01").status_code == 201
        await_(lambda: place.stored() == ["one"])
        for topic in (raw("device_logs"), enriched("device_logs")):
            [message] = place.records(topic)
            assert traceparent(message) == []
    for child in place.roles.values():
        assert "sdk False" in child.tail(), child.tail()


def test_a_receiver_that_is_away_costs_nothing_but_the_spans(
    clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    """And the roles end with status 0 all the same (`running`)."""
    with running(clickhouse, tmp_path, otel_endpoint=f"http://127.0.0.1:{free_port()}") as place:
        assert place.post("one").status_code == 201
        await_(lambda: place.stored() == ["one"])
    for child in place.roles.values():
        assert "sdk True" in child.tail(), child.tail()
