"""What was posted is read back through the query API, in the documents' shape: all roles running.

First by the documents' own sample calls (`sample_calls.sh`), then by what they lead to.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from up_rig import Up
from whole_way import comes

import builders
from tidegate.store.associations import COLUMNS

SCRIPT = Path(__file__).with_name("sample_calls.sh")
LOGS_MAC, EVENTS_MAC = "60:36:dd:f7:e3:c4", "cc:c3:ea:14:99:e4"  # whom the sample calls ask for
BASES = ["", "/new/webservice"]
INVENTORY = (
    "fleet,macaddress,devicename,locationid,model,capabilities\n"
    "demo,00:11:74:33:23:12,Lobby,10,C-130,49\n"
    "demo,00:11:74:45:12:21,Roof,12,C-75,48 49\n"
    "demo,00:11:74:45:12:22,Yard,12,C-75,\n"
)


class Stocked(Up):
    """With an inventory of access points: the sample calls ask for what only an inventory knows."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "TIDEGATE_LOOKUPS_DIR": str(self.folder / "lookups")}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("sample-calls")
    (folder / "lookups").mkdir()
    (folder / "lookups" / "access_points.csv").write_text(INVENTORY)
    up = Stocked(folder, "--simulate", "0")
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


# The sample calls


@dataclass(frozen=True)
class Answer:
    status: int
    headers: str
    text: str

    def json(self) -> Any:
        assert self.status in (200, 201), self.text
        return json.loads(self.text)


def run(up: Up, part: str, base: str) -> dict[str, Answer]:
    """The answers of one half of the script, by name."""
    folder = up.folder / f"answers-{part}-{base.strip('/').replace('/', '-')}"
    gateway, api = (f"http://{up.listens[role]}" for role in ("gateway", "api"))
    arguments = [part, gateway, api, api + base, up.tokens()["administrator"], str(folder)]
    done = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        file.stem: Answer(
            int(file.read_text()),
            file.with_suffix(".headers").read_text(),
            file.with_suffix(".body").read_text(),
        )
        for file in folder.glob("*.status")
    }


@pytest.fixture(scope="module")
def written(up: Up) -> dict[str, Answer]:
    return run(up, "write", "")


@pytest.fixture(scope="module")
def both(up: Up, stocked: None) -> dict[str, dict[str, Answer]]:
    return {base: run(up, "read", base) for base in BASES}


@pytest.fixture(params=BASES)
def read(request: pytest.FixtureRequest, both: dict[str, dict[str, Answer]]) -> dict[str, Answer]:
    """The answers under one base path."""
    return both[request.param]


def of(mac: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event | {"macAddress": mac} for event in events]


@pytest.fixture(scope="module")
def stocked(up: Up, post: Any, get: Any) -> None:
    """The documents' samples are posted, for the clients that the sample calls ask for."""
    logs = builders.sample("client_connection_logs.response")
    post("client_events", {section: of(LOGS_MAC, logs[section]) for section in logs})
    events = builders.sample("client_events.response")["clientEvents"]
    post("client_events", {"clientEvents": [*events, *of(EVENTS_MAC, events)]})
    # the list's second entry, and the first in the detail's fuller form
    entries = builders.sample("inventory_device_log.list")["results"][1:]
    post("inventory_device_log", {"results": [*entries, builders.sample("inventory_device_log.detail")]})
    comes(lambda: up.sql("SELECT count() FROM tidegate.client_events"), "10")
    comes(lambda: up.sql("SELECT count() FROM tidegate.device_logs"), "2")


def shape(value: Any) -> Any:
    """The keys of a document, in their order; of a list those of its first entry."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(value[0])] if isinstance(value, list) and value else None


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("rev4", "app_connection_log.response"),
        ("rev3", "app_connection_event.response"),
        ("legacy", "app_connection_event.legacy_response"),
    ],
)
def test_a_sample_call_that_writes(written: dict[str, Answer], name: str, sample: str) -> None:
    answer, expected = written[name], builders.sample(sample)
    assert answer.status == 201, answer.text
    found = answer.json()
    if name == "rev3":  # the call leaves out what the request beside it has
        for key in ("session_id", "protocol"):
            del expected["metadata"][key]
    assert shape(found) == shape(expected)
    ours = {"id", "created_at"} | ({"timestamp"} if name == "legacy" else set())
    assert {k: v for k, v in found.items() if k not in ours} == {
        k: v for k, v in expected.items() if k not in ours
    }
    assert "location: /api/v1/events/" in answer.headers.lower()
    if name == "rev4":
        assert '"quality_value":-45.0' in answer.text


def test_sample_calls_of_connection_logs(read: dict[str, Answer]) -> None:
    sample = builders.sample("client_connection_logs.response")
    expected = {section: of(LOGS_MAC, logs) for section, logs in sample.items()}
    assert read["connectionlogs"].json() == expected
    assert shape(read["connectionlogs"].json()) == shape(expected)
    assert read["connectionlogs-limit"].json() == expected | {"failureLogs": []}


def test_sample_calls_of_client_events(read: dict[str, Answer]) -> None:
    sample = builders.sample("client_events.response")
    newest_first = sorted(sample["clientEvents"], key=lambda event: -event["timestamp"])
    second = read["clientevents"].json()
    assert list(second) == list(sample)
    assert second["clientEvents"] == of("68:05:71:a4:ef:0e", newest_first[2:])
    assert second["previousLink"].endswith("/V5/devices/clientevents/68:05:71:A4:EF:0E/0/2")
    assert second["nextLink"].endswith("/V5/devices/clientevents/68:05:71:A4:EF:0E/4/2")
    assert second["totalCount"] is None
    filtered = read["clientevents-filtered"].json()
    assert filtered["clientEvents"] == of(EVENTS_MAC, newest_first)
    assert [list(event) for event in filtered["clientEvents"]] == [list(event) for event in newest_first]
    assert filtered["totalCount"] == 3
    assert filtered["nextLink"].endswith("/100/100?totalcountrequired=3&ssid=varsha")


def test_sample_calls_of_association_data(read: dict[str, Answer]) -> None:
    assert read["associationdata"].status == 200
    assert read["associationdata"].text.startswith("/")
    assert read["associationdata-file"].status == 200
    head, *rows = csv.reader(io.StringIO(read["associationdata-file"].text))
    assert head == list(COLUMNS)
    start = "09/11/2017 06:05:57"
    assert rows == [
        [mac, "varsha", start, start, "", "", "", "", ""] for mac in ("68:05:71:a4:ef:0e", EVENTS_MAC)
    ]


def test_sample_calls_of_access_points(read: dict[str, Answer]) -> None:
    macs = {
        name: [row["macaddress"] for row in read[name].json()]
        for name in ("aps", "aps-macaddress", "aps-filtered")
    }
    assert macs["aps-macaddress"] == ["00:11:74:33:23:12", "00:11:74:45:12:21"]
    assert macs["aps-filtered"] == ["00:11:74:45:12:21", "00:11:74:33:23:12"]
    assert {"00:11:74:88:af:60", "00:11:74:8c:94:c0", "00:11:74:45:12:22"} < set(macs["aps"])
    keys = ["macaddress", "devicename", "locationid", "ssids", "firstseen", "lastseen"]
    assert all(list(row)[:6] == keys for row in read["aps"].json())


def test_sample_calls_of_device_logs(read: dict[str, Answer]) -> None:
    sample = builders.sample("inventory_device_log.list")
    page = read["device-logs"].json()
    assert shape(page) == shape(sample)
    assert page["results"] == [sample["results"][0] | {"id": page["results"][0]["id"]}]
    assert (page["count"], page["next"], page["previous"]) == (1, None, None)
    detail = builders.sample("inventory_device_log.detail")
    found = read["device-log"].json()
    assert shape(found) == shape(detail)
    assert found == detail | {"id": page["results"][0]["id"]}


# Where they lead


def test_the_links_lead_through_all_events(stocked: None, get: Any) -> None:
    sample = builders.sample("client_events.response")["clientEvents"]
    seen: list[dict[str, Any]] = []
    page = get("/V5/devices/clientevents/68:05:71:A4:EF:0E/0/2").json()
    while page["clientEvents"]:
        seen += page["clientEvents"]
        page = get(page["nextLink"]).json()
    expected = sorted(sample, key=lambda event: -event["timestamp"])
    assert seen == [event | {"macAddress": event["macAddress"].lower()} for event in expected]


def test_what_one_system_exports_another_takes_in(stocked: None, read: dict[str, Answer], post: Any) -> None:
    """Every answer is a body that may be posted."""
    assert post("client_events", read["connectionlogs"].json()).json()["count"] == 4
    assert post("client_events", read["clientevents-filtered"].json()).json()["count"] == 3
    assert post("inventory_device_log", read["device-logs"].json()).json()["count"] == 1
    detail = read["device-log"].json()
    assert post("inventory_device_log", detail).json()["source_id"] == detail["id"]
    assert (
        post("device_app_connection_log", builders.sample("app_connection_log.response")).status_code == 201
    )


def test_a_device_log_comes_back_by_its_id(post: Any, get: Any) -> None:
    sample = builders.sample("inventory_device_log.detail")
    id = post("inventory_device_log", sample).json()["id"]
    path = f"/api/v1/inventory_device_log/{id}/"
    comes(lambda: get(path).status_code, 200)
    assert get(path).json() == sample | {"id": id}
