"""`GET /api/v1/events/{id}`: where an event is now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import httpx
import pytest
import stored
from clickhouse_connect.driver.client import Client

import builders
from tidegate.contracts.position import Position
from tidegate.contracts.topics import Stream
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]

PATH = "/api/v1/events/"
EVENTS = {
    "connection_logs": builders.network_log(),
    "client_events": builders.failure(timestamp=builders.RECEIVED_AT),
    "device_logs": builders.device_log(),
}


def id_of(
    stream: Stream, offset: int, index: int = 0, epoch: str = stored.EPOCH, *, partition: int = 0
) -> str:
    return Position(epoch, stream, partition, offset, index).id()


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    store.command(f"INSERT INTO epochs VALUES ('{stored.EPOCH}', now64(6))")
    for stream in get_args(Stream):
        if stream == "device_logs":
            continue
        stored.store(store, stream, EVENTS[stream], offset=1)
        stored.plan(store, stream, 1)
        stored.store(store, stream, EVENTS[stream], offset=2, fleet="other")
        stored.plan(store, stream, 2)
    stored.plan(store, "client_events", 3, rejected=1)
    store.insert(
        "rejects",
        [["demo", "client_events", stored.EPOCH, 0, 3, 0, "required", "missing_field", "macAddress"]],
        column_names=["fleet", "stream", "epoch", "partition", "offset", "index", "kind", "code", "path"],
    )
    received = datetime.fromtimestamp(builders.RECEIVED_AT / 1e6, UTC)
    for stream in get_args(Stream):
        stored.plan(store, stream, 5, partition=1, rejected=1)
        store.insert(
            "rejects",
            [["demo", received, stream, stored.EPOCH, 1, 5, 0, "value", "wrong_type"]],
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
        stored.store(
            store, stream, EVENTS[stream], partition=1, offset=9, origin=id_of(stream, 5, partition=1)
        )
        stored.plan(store, stream, 9, partition=1)


@pytest.mark.parametrize("stream", get_args(Stream))
def test_a_line_that_was_dropped_is_a_duplicate(api: Call, store: Client, stream: Stream) -> None:
    stored.store(store, stream, EVENTS[stream], partition=2, offset=3, fleet="other")
    stored.plan(store, stream, 3, partition=2, lines=3, duplicates=2)
    answers = [api(PATH + id_of(stream, 3, index, partition=2)) for index in range(4)]
    assert [answer.status_code for answer in answers] == [404, 200, 200, 404]
    assert {answer.json()["status"] for answer in answers[1:3]} == {"duplicate"}


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


@pytest.mark.parametrize(
    "id",
    [
        "",
        "x",
        id_of("client_events", 2),  # another fleet's
        id_of("client_events", 1, 1),  # a line that the frame does not have
        id_of("client_events", 0),  # in front of all that was planned
        id_of("client_events", 4, epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9G"),
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
