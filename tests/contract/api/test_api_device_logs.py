"""`/api/v1/inventory_device_log/` against the document's samples."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.contracts.position import Position
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]

PATH = "/api/v1/inventory_device_log/"
MANY = "many-01"


def id_of(offset: int, index: int = 0) -> str:
    return Position(table_rows.EPOCH, "device_logs", 0, offset, index).id()


@pytest.fixture(scope="module", autouse=True)
def logs(store: Client) -> None:
    sample = builders.sample("inventory_device_log.list")["results"]
    put(store, *sample, offset=1)
    put(store, builders.device_log(parent={"id": "single"}, variable_name="mtu", is_pending=None), offset=2)
    moments = [f"2025-03-01T00:00:{n // 3:02d}Z" for n in range(25)]
    put(store, *(many(moment) for moment in moments), offset=3)
    put(store, builders.device_log(parent={"id": "foreign"}), fleet="other", offset=4)


def many(moment: str) -> dict[str, Any]:
    return builders.device_log(parent={"id": MANY}, datetime=moment)


def put(store: Client, *events: Any, offset: int, fleet: str = "demo") -> None:
    table_rows.store(store, "device_logs", *events, offset=offset, fleet=fleet)
    table_rows.plan(store, "device_logs", offset)


def walk(api: Call, url: str, key: str) -> list[dict[str, Any]]:
    """Every entry from a page on, following its links."""
    entries: list[dict[str, Any]] = []
    link: str | None = url
    while link:
        page = api(link).json()
        entries = entries + page["results"] if key == "next" else page["results"] + entries
        link = page[key]
    return entries


# The samples


def test_the_list_is_the_sample(api: Call) -> None:
    sample = builders.sample("inventory_device_log.list")
    answer = api(PATH, params={"datetime__gte": "2024-01-01", "datetime__lte": "2024-01-16"})
    body = answer.json()
    assert list(body) == list(sample)
    expected = [entry | {"id": id_of(1, n)} for n, entry in enumerate(sample["results"])]
    found = [entry for entry in body["results"] if entry["id"] != id_of(2)]
    assert found == expected
    assert [list(entry) for entry in found] == [list(entry) for entry in expected]
    assert (body["count"], body["next"], body["previous"]) == (3, None, None)


def test_the_detail_is_the_sample(api: Call, store: Client) -> None:
    put(store, builders.device_log(), offset=9, fleet="other")
    answer = api(f"{PATH}{id_of(9)}/", role="other")
    assert answer.status_code == 200
    sample = builders.sample("inventory_device_log.detail")
    assert answer.json() == sample | {"id": id_of(9)}
    assert list(answer.json()) == list(sample)
    assert api(f"{PATH}{id_of(9)}", role="other").json() == answer.json()


# Filters


SECOND = {"parent__id": "device-002"}
SINGLE = {"parent__id": "single"}
NOT_A_TIME = ["yesterday", "2024-13-01", "2400-01-01", "", "1705329025"]
NOT_A_FLAG = ["maybe", "", "1.5"]
FILTERS: dict[str, tuple[list[tuple[dict[str, str], str, bool]], list[str]]] = {
    # with which other filter, a value, and whether the entry is still found; the values that are refused
    "datetime__gte": (
        [
            (SECOND, "2024-01-15", True),
            (SECOND, "2024-01-16", False),
            (SECOND, "2024-01-15 09:15:00", True),
            (SECOND, "2024-01-15 09:15:01", False),
            (SECOND, "2024-01-15 10:15:00+01:00", True),
            (SECOND, "2024-01-15 10:15:01+01:00", False),
            (SECOND, "2024-01-15T09:15:00Z", True),
        ],
        NOT_A_TIME,
    ),
    "datetime__lte": (
        [
            (SECOND, "2024-01-15", False),
            (SECOND, "2024-01-16", True),
            (SECOND, "2024-01-15 09:15:00", True),
            (SECOND, "2024-01-15 09:14:59", False),
            (SECOND, "2024-01-15 10:15:00+01:00", True),
            (SECOND, "2024-01-15 10:14:59+01:00", False),
            (SECOND, "2024-01-15T09:14:59.999999Z", False),
        ],
        NOT_A_TIME,
    ),
    "parent__id": ([({}, "device-002", True), ({"action": "firmware_update"}, "device-001", False)], []),
    "action": ([(SECOND, "firmware_update", True), (SECOND, "restart", False), (SECOND, "", False)], []),
    "is_pending": (
        [
            (SECOND, "false", True),
            (SECOND, "False", True),
            (SECOND, "0", True),
            (SECOND, "true", False),
            (SINGLE, "false", False),  # the sender did not say
        ],
        NOT_A_FLAG,
    ),
    "is_applied": ([(SECOND, "true", True), (SECOND, "1", True), (SECOND, "false", False)], NOT_A_FLAG),
    "variable_name": ([(SINGLE, "mtu", True), (SINGLE, "bgp", False), (SECOND, "mtu", False)], []),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_of_the_list(api: Call, name: str) -> None:
    values, bad = FILTERS[name]
    for others, value, found in values:
        body = api(PATH, params=others | {name: value}).json()
        expected = [id_of(2) if others == SINGLE else id_of(1, 1)] if found else []
        assert [entry["id"] for entry in body["results"]] == expected, value
        assert body["count"] == len(expected)
    for text in bad:
        answer = api(PATH, params={name: text})
        assert (answer.status_code, answer.json()["path"]) == (422, name)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_of_the_detail(api: Call, name: str) -> None:
    values, bad = FILTERS[name]
    for others, value, found in values:
        id = id_of(2) if others == SINGLE else id_of(1, 1)
        assert api(f"{PATH}{id}/", params={name: value}).status_code == (200 if found else 404), value
    for text in bad:
        answer = api(f"{PATH}{id_of(2)}/", params={name: text})
        assert (answer.status_code, answer.json()["path"]) == (422, name)


def test_a_plus_that_arrived_as_a_blank_is_still_a_plus(api: Call) -> None:
    answer = api(f"{PATH}?parent__id=device-002&datetime__gte=2024-01-15 10:15:00+01:00")
    assert [entry["id"] for entry in answer.json()["results"]] == [id_of(1, 1)]


def test_an_entry_is_found_by_its_senders_id(api: Call, store: Client) -> None:
    """The document asks for /1001/. Where several senders gave the id, the newest of one's own fleet."""
    assert api(f"{PATH}1002/").json()["id"] == id_of(1, 1)
    put(store, builders.device_log(id="CR-7 ü", datetime="2024-02-01"), offset=30)
    put(store, builders.device_log(id="CR-7 ü", datetime="2024-03-01"), offset=31)
    put(store, builders.device_log(id=1001, datetime="2029-01-01"), offset=32, fleet="other")
    put(store, builders.device_log(id=id_of(99)), offset=33)  # exported by another Tidegate
    assert api(f"{PATH}1001/").json()["id"] != id_of(32)
    assert api(f"{PATH}1001/", role="other").json()["id"] == id_of(32)
    assert api(f"{PATH}CR-7%20%C3%BC/").json()["id"] == id_of(31)
    assert api(f"{PATH}{id_of(99)}/").json()["id"] == id_of(33)
    put(store, builders.device_log(id="2024/7/CR"), offset=34)
    for slash in ("", "/"):
        assert api(f"{PATH}2024%2F7%2FCR{slash}").json()["id"] == id_of(34)
    assert api(f"{PATH}1002/", params={"action": "restart"}).status_code == 404
    store.command("DELETE FROM device_logs WHERE offset IN (30, 31, 32, 33, 34)")


# Pages


def test_twenty_entries_are_a_page_unless_asked_otherwise(api: Call) -> None:
    body = api(PATH, params={"parent__id": MANY}).json()
    assert (len(body["results"]), body["count"], body["previous"]) == (20, 25, None)
    rest = api(body["next"]).json()
    assert (len(rest["results"]), rest["count"], rest["next"]) == (5, 25, None)


@pytest.mark.parametrize("limit", [1, 3, 7, 24, 25, 26])
def test_both_ways_through_the_pages_see_every_entry_once(api: Call, limit: int) -> None:
    whole = api(PATH, params={"parent__id": MANY, "limit": 100}).json()["results"]
    keys = [(entry["datetime"], entry["id"]) for entry in whole]
    assert keys == sorted(keys, reverse=True) and len(set(keys)) == 25
    first = f"{PATH}?parent__id={MANY}&limit={limit}"
    assert walk(api, first, "next") == whole
    last = first
    while following := api(last).json()["next"]:
        last = following
    assert walk(api, last, "previous") == whole


def test_pages_stay_put_while_rows_arrive(api: Call, store: Client) -> None:
    first = api(PATH, params={"parent__id": MANY, "limit": 10}).json()
    before = api(first["next"]).json()["results"]
    put(store, many("2025-04-01T00:00:00Z"), offset=20)
    assert api(first["next"]).json()["results"] == before
    newest = api(api(first["next"]).json()["previous"]).json()
    assert newest["results"] == first["results"]
    assert [entry["id"] for entry in api(newest["previous"]).json()["results"]] == [id_of(20)]


@pytest.mark.parametrize(
    "cursor",
    ["abc123", "!", "bnVsbA", "é", base64.urlsafe_b64encode(b'["o",99999999999999999999,"x"]').decode()],
)
def test_a_cursor_that_is_none_is_named(api: Call, cursor: str) -> None:
    answer = api(PATH, params={"cursor": cursor})
    assert (answer.status_code, answer.json()["path"]) == (422, "cursor")


@pytest.mark.parametrize("limit", ["0", "-1", "100001", "x", "", "1.5"])
def test_a_limit_that_is_none_is_named(api: Call, limit: str) -> None:
    answer = api(PATH, params={"limit": limit})
    assert (answer.status_code, answer.json()["path"]) == (422, "limit")


# Fleets and roles


def test_another_fleet_finds_nothing(api: Call) -> None:
    assert api(f"{PATH}{id_of(4)}/").status_code == 404
    assert api(f"{PATH}{id_of(4)}/", role="other").status_code == 200
    assert api(f"{PATH}{id_of(2)}/", role="other").status_code == 404
    assert api(f"{PATH}{id_of(4)}/", role="superuser").status_code == 200
    assert api(PATH, params={"parent__id": "foreign"}).json()["count"] == 0
    cursor = api(PATH, params={"parent__id": MANY, "limit": 1}).json()["next"]
    assert api(cursor, role="other").status_code == 422


@pytest.mark.parametrize("role", list(Role))
def test_roles(api: Call, role: Role) -> None:
    for path in (PATH, f"{PATH}{id_of(2)}/"):
        assert api(path, role=role.value).status_code == (403 if role is Role.INGEST else 200)


@pytest.mark.parametrize(
    "id",
    [
        "1003",
        "x",
        "01K9ZQ4T3M8W5X0R2B7C6D1E9F-c0-2-0",
        "01K9ZQ4T3M8W5X0R2B7C6D1E9F-d0-999-0",
        "01K9ZQ4T3M8W5X0R2B7C6D1E9F-d9999999999-2-0",
        "01K9ZQ4T3M8W5X0R2B7C6D1E9F-d0-2-9999999999",
        "%27%20OR%201%3D1",
    ],
)
def test_an_id_that_is_none_is_not_found(api: Call, id: str) -> None:
    answer = api(f"{PATH}{id}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
