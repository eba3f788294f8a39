"""Lists that look at their last days first: no event is lost or doubled where those days begin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.api.newest import DAY_MICROS, DAYS, ROWS

Call = Callable[..., httpx.Response]

MAC = "02:00:00:00:00:31"
DEVICE = "border-1"
UNTIL = 1_763_000_000_000_000  # µs
BORDER = UNTIL - DAYS * DAY_MICROS
TIMES = (BORDER - DAY_MICROS, BORDER - 1, BORDER - 1, BORDER, BORDER, BORDER + 1, UNTIL - 1, UNTIL)
SECOND = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    found = [builders.success(macAddress=MAC, timestamp=time) for time in TIMES]
    found[1::2] = [builders.failure(macAddress=MAC, timestamp=time) for time in TIMES[1::2]]
    table_rows.store(store, "client_events", *found, offset=1)
    entries = [_entry(seconds) for seconds in (-DAYS * 86_400 - 60, -DAYS * 86_400, -60, -60, 0)]
    table_rows.store(store, "device_logs", *entries, offset=2)


def _entry(seconds: int) -> dict[str, Any]:
    time = datetime.fromtimestamp(UNTIL // SECOND + seconds, UTC)
    return builders.device_log(parent={"id": DEVICE}, datetime=f"{time:%Y-%m-%dT%H:%M:%SZ}")


def test_pages_on_both_sides_of_the_border_are_the_whole_list(api: Call) -> None:
    def page(offset: int, limit: int) -> list[dict[str, Any]]:
        answer = api(f"/V5/devices/clientevents/{MAC}/{offset}/{limit}", params={"totime": UNTIL})
        found: list[dict[str, Any]] = answer.json()["clientEvents"]
        return found

    whole = page(0, ROWS + 1)  # in one query
    assert [event["timestamp"] for event in whole] == sorted(TIMES, reverse=True)
    for size in range(1, len(TIMES) + 2):
        assert page(0, size) == whole[:size]
        assert page(size, size) == whole[size : 2 * size]


def test_connection_logs_on_both_sides_of_the_border_are_all_there(api: Call) -> None:
    def logs(limit: int) -> Any:
        params: dict[str, Any] = {"clientmacaddress": MAC, "totime": UNTIL, "limit": limit}
        return api("/V5/devices/clients/connectionlogs", params=params).json()

    assert logs(len(TIMES)) == logs(ROWS + 1)
    assert sum(map(len, logs(ROWS + 1).values())) == len(TIMES)


def test_a_beginning_behind_the_border_still_holds(api: Call) -> None:
    params = {"fromtime": BORDER - 1, "totime": UNTIL}
    answer = api(f"/V5/devices/clientevents/{MAC}/0/100", params=params).json()
    assert len(answer["clientEvents"]) == len(TIMES) - 1


def test_device_logs_page_over_the_border_by_their_cursor(api: Call) -> None:
    def ids(page: httpx.Response) -> list[str]:
        return [entry["id"] for entry in page.json()["results"]]

    path = "/api/v1/inventory_device_log/"
    whole = ids(api(path, params={"parent__id": DEVICE, "limit": ROWS + 1}))
    assert len(whole) == 5
    page = api(path, params={"parent__id": DEVICE, "limit": 2})
    found = ids(page)
    while link := page.json()["next"]:
        page = api(link)
        found += ids(page)
    assert found == whole
