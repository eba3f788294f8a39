"""What was posted is read back through the query API, in the documents' shape: all roles running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from up_rig import Up
from whole_way import comes

import builders


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("read-side"), "--simulate", "0")
    try:
        up.start()
        yield up
        assert up.stop() == 0, up.said()
    finally:
        up.end()


@pytest.fixture(scope="module")
def post(up: Up) -> Callable[[str, Any], httpx.Response]:
    def call(path: str, document: Any) -> httpx.Response:
        answer = httpx.post(
            f"http://{up.listens['gateway']}/api/v1/{path}/",
            json=document,
            headers={"authorization": f"Bearer {up.tokens()['ingest']}"},
            timeout=30.0,
        )
        assert answer.status_code == 201, answer.text
        return answer

    return call


@pytest.fixture(scope="module")
def get(up: Up) -> Callable[..., httpx.Response]:
    def call(path: str, role: str = "viewer") -> httpx.Response:
        url = path if path.startswith("http") else f"http://{up.listens['api']}{path}"
        return httpx.get(url, headers={"authorization": f"Bearer {up.tokens()[role]}"}, timeout=30.0)

    return call


def test_connection_logs_come_back_as_the_document_shows_them(post: Any, get: Any) -> None:
    """Exported by one system in the document's envelope, taken in, and exported again."""
    sample = builders.sample("client_connection_logs.response")
    post("client_events", sample)
    path = "/new/webservice/V5/devices/clients/connectionlogs?clientmacaddress=F0:D7:AA:DF:59:A2"
    comes(lambda: get(path).json(), sample)
    limited = get(f"{path}&limit=2").json()
    assert limited == {"successLogs": sample["successLogs"], "failureLogs": []}


def test_client_events_come_back_as_the_document_shows_them(post: Any, get: Any) -> None:
    sample = builders.sample("client_events.response")["clientEvents"]
    post("client_events", {"clientEvents": sample})
    path = "/V5/devices/clientevents/68:05:71:A4:EF:0E"
    comes(lambda: get(f"{path}/0/1?totalcountrequired=true").json()["totalCount"], 3)
    seen = []
    page = get(f"{path}/0/2").json()
    while page["clientEvents"]:
        seen += page["clientEvents"]
        page = get(page["nextLink"]).json()
    expected = sorted(sample, key=lambda event: -event["timestamp"])
    assert seen == [event | {"macAddress": event["macAddress"].lower()} for event in expected]


def test_a_device_log_comes_back_by_its_id(post: Any, get: Any) -> None:
    sample = builders.sample("inventory_device_log.detail")
    id = post("inventory_device_log", sample).json()["id"]
    path = f"/api/v1/inventory_device_log/{id}/"
    comes(lambda: get(path).status_code, 200)
    assert get(path).json() == sample | {"id": id}
    [entry] = get("/api/v1/inventory_device_log/?parent__id=device-001").json()["results"]
    assert entry["id"] == id


def test_the_location_of_a_201_says_where_the_event_is(post: Any, get: Any) -> None:
    location = post("device_app_connection_log", builders.network_log()).headers["location"]
    assert get(location, "ingest").json()["status"] in ("pending", "stored")
    comes(lambda: get(location, "ingest").json()["status"], "stored")
