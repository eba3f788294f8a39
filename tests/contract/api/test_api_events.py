"""`GET /api/v1/events/{id}`: where an event is now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from conftest import running_broker
from gateways import prepare_topics
from raw_topics import write_record

import builders
from tidegate.contracts.position import Position
from tidegate.contracts.topics import Stream
from tidegate.erase.client import Eraser
from tidegate.kafka import topics
from tidegate.settings import Settings
from tidegate.store.expiry import expire
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]

PATH = "/api/v1/events/"
EVENTS = {
    "connection_logs": builders.network_log(),
    "client_events": builders.failure(timestamp=builders.RECEIVED_AT),
    "device_logs": builders.device_log(),
}


def id_of(
    stream: Stream, offset: int, index: int = 0, epoch: str = table_rows.EPOCH, *, partition: int = 0
) -> str:
    return Position(epoch, stream, partition, offset, index).id()


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker whose raw topics have a record at each offset that the tests ask for."""
    with (
        running_broker("embedded", tmp_path_factory.mktemp("broker")) as broker,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(topics, "mint_epoch", lambda: table_rows.EPOCH)
        assert prepare_topics(broker.bootstrap) == table_rows.EPOCH
        for stream in get_args(Stream):
            for offset in range(5):
                line = builders.envelope(EVENTS[stream], fleet="other" if offset == 2 else "demo")
                assert write_record(broker.bootstrap, stream, [line]) == offset
            of_others = builders.envelope(EVENTS[stream], fleet="other")
            lines = [of_others, *2 * [builders.envelope(EVENTS[stream])]]
            for offset in range(4):
                assert write_record(broker.bootstrap, stream, lines, partition=2) == offset
        yield broker.bootstrap


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    store.command(f"INSERT INTO epochs VALUES ('{table_rows.EPOCH}', now64(6))")
    for stream in get_args(Stream):
        if stream == "device_logs":
            continue
        table_rows.store(store, stream, EVENTS[stream], offset=1)
        table_rows.plan(store, stream, 1)
        table_rows.store(store, stream, EVENTS[stream], offset=2, fleet="other")
        table_rows.plan(store, stream, 2)
    table_rows.plan(store, "client_events", 3, rejected=1)
    store.insert(
        "rejects",
        [["demo", "client_events", table_rows.EPOCH, 0, 3, 0, "required", "missing_field", "macAddress"]],
        column_names=["fleet", "stream", "epoch", "partition", "offset", "index", "kind", "code", "path"],
    )
    received = datetime.fromtimestamp(builders.RECEIVED_AT / 1e6, UTC)
    for stream in get_args(Stream):
        table_rows.plan(store, stream, 5, partition=1, rejected=1)
        store.insert(
            "rejects",
            [["demo", received, stream, table_rows.EPOCH, 1, 5, 0, "value", "wrong_type"]],
            column_names=[
                "fleet",
                "received_at",
                "stream",
                "epoch",
                "partition",
                "offset",
                "index",
                "kind",
                "code",
            ],
        )
        table_rows.store(
            store, stream, EVENTS[stream], partition=1, offset=9, origin=id_of(stream, 5, partition=1)
        )
        table_rows.plan(store, stream, 9, partition=1)


@pytest.mark.parametrize("stream", get_args(Stream))
def test_a_line_that_was_dropped_is_a_duplicate(api: Call, store: Client, stream: Stream) -> None:
    table_rows.store(store, stream, EVENTS[stream], partition=2, offset=3, fleet="other")
    table_rows.plan(store, stream, 3, partition=2, lines=3, duplicates=2)
    answers = [api(PATH + id_of(stream, 3, index, partition=2)) for index in range(4)]
    assert [answer.status_code for answer in answers] == [404, 200, 200, 404]
    assert {answer.json()["status"] for answer in answers[1:3]} == {"duplicate"}
    seen = [api(PATH + id_of(stream, 3, index, partition=2), role="other") for index in range(4)]
    assert [answer.status_code for answer in seen] == [200, 404, 404, 404]
    assert seen[0].json()["status"] == "stored"


@pytest.mark.parametrize("stream", ["connection_logs", "client_events"])
def test_a_stored_event(api: Call, stream: Stream) -> None:
    answer = api(PATH + id_of(stream, 1))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["id"], body["stream"], body["status"]) == (id_of(stream, 1), stream, "stored")
    assert body["received_at"] == "2025-11-21T08:00:00.000000Z"
    assert body["reject"] is None


@pytest.mark.parametrize("stream", get_args(Stream))
def test_a_line_that_was_refused_and_came_again_is_stored_under_its_first_id(
    api: Call, stream: Stream
) -> None:
    id = id_of(stream, 5, partition=1)
    answer = api(PATH + id).json()
    assert (answer["id"], answer["status"]) == (id, "stored")
    if stream == "device_logs":
        detail = api(f"/api/v1/inventory_device_log/{id}/")
        assert (detail.status_code, detail.json()["id"]) == (200, id)


def test_a_failure_says_its_stage(api: Call) -> None:
    body = api(PATH + id_of("client_events", 1)).json()
    assert (body["outcome"], body["stage"]) == ("failure", "authentication")


def test_a_rejected_event_says_why(api: Call) -> None:
    body = api(PATH + id_of("client_events", 3)).json()
    assert body["status"] == "rejected"
    assert body["reject"]["code"] == "missing_field"
    assert body["reject"]["path"] == "macAddress"


@pytest.mark.parametrize("id", [id_of("client_events", 4), id_of("device_logs", 0)])
def test_an_event_that_the_sink_has_not_come_to_is_pending(api: Call, id: str) -> None:
    answer = api(PATH + id)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert api(PATH + id, role="ingest").status_code == 200
    assert api(PATH + id, role="superuser").status_code == 200
    assert api(PATH + id, role="other").status_code == 404


def test_a_batch_that_is_planned_and_not_inserted_yet_is_pending(api: Call, store: Client) -> None:
    table_rows.plan(store, "client_events", 2, partition=2, lines=3)
    answer = api(PATH + id_of("client_events", 2, 1, partition=2))
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")


@pytest.mark.parametrize(
    "id",
    [
        "",
        "x",
        id_of("client_events", 2),  # another fleet's
        id_of("client_events", 1, 1),  # a line that the frame does not have
        id_of("client_events", 0),  # in front of all that was planned
        id_of("client_events", 4, epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9G"),
        id_of("client_events", 5),  # of the future
        id_of("client_events", 4, 1),
        id_of("client_events", 10**18),
        id_of("client_events", 10**19 - 1),
        id_of("client_events", 0, partition=77),
    ],
)
def test_what_no_201_of_this_fleet_named_is_not_found(api: Call, id: str) -> None:
    assert api(PATH + id).status_code == 404


@pytest.mark.parametrize("role", list(Role))
def test_every_role_may_ask(api: Call, role: Role) -> None:
    assert api(PATH + id_of("client_events", 1), role=role.value).status_code == 200
    expected = 200 if role is Role.SUPERUSER else 404
    assert api(PATH + id_of("client_events", 2), role=role.value).status_code == expected


def test_without_a_token(api: Call) -> None:
    assert api(PATH + id_of("client_events", 1), role=None).status_code == 401


def test_what_was_erased_or_expired_is_not_pending(
    api: Call, store: Client, settings: Settings, tmp_path: Path
) -> None:
    """It was told to be on its way, or a duplicate, for as long as the raw topic had it."""
    mac = "02:aa:bb:cc:dd:77"
    mine = builders.failure(timestamp=builders.RECEIVED_AT, macAddress=mac)
    for offset, duplicates in ((0, 0), (1, 1)):
        table_rows.store(store, "client_events", EVENTS["client_events"], mine, partition=2, offset=offset)
        table_rows.plan(store, "client_events", offset, partition=2, lines=3, duplicates=duplicates)
    erased = [id_of("client_events", offset, 1, partition=2) for offset in (0, 1)]
    assert [api(PATH + id).json()["status"] for id in erased] == ["stored", "stored"]
    own = dataclasses.replace(settings, data_dir=str(tmp_path), fleet_retention_days="other=2")
    Eraser(store, own, "demo", mac).erase(lambda line: None)
    for role in ("viewer", "ingest", "superuser"):
        assert [api(PATH + id, role=role).status_code for id in erased] == [404, 404]
    assert api(PATH + id_of("client_events", 1, 2, partition=2)).json()["status"] == "duplicate"

    expired = id_of("client_events", 2)
    assert api(PATH + expired, role="other").json()["status"] == "stored"
    assert expire(store, own)["client_events"]
    for role in ("other", "superuser"):
        assert api(PATH + expired, role=role).status_code == 404
