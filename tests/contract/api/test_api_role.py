"""The API as a role: its status pages, its contract, its limits, its absences of ClickHouse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import table_rows
from api_server import client_of
from clickhouse_connect.driver.client import Client
from roles import get
from waiting import await_

import builders
from tidegate.api.problems import MEANINGS
from tidegate.contracts.topics import STREAMS
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate

Call = Callable[..., httpx.Response]
EVENTS = "/V5/devices/clientevents/02:00:00:00:00:01/0"


def test_status_pages_need_no_token(api: Call) -> None:
    assert api("/healthz", role=None).text == "ok\n"
    assert api("/readyz", role=None).text == "ok\n"
    api(f"{EVENTS}/1")
    metrics = api("/metrics", role=None).text
    assert 'tidegate_api_query_seconds_count{query="client_events"}' in metrics
    assert "tidegate_api_requests_total" in metrics


def test_the_contract_names_every_call_and_its_refusals(api: Call) -> None:
    contract = api("/openapi.json", role=None).json()
    assert contract["openapi"].startswith("3.1")
    open_to_all = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/{code}"}
    assert contract["paths"].keys() - open_to_all == {
        "/V5/devices/clients/connectionlogs",
        "/V5/devices/clientevents/{macaddress}/{offset}/{limit}",
        "/api/v1/inventory_device_log/",
        "/api/v1/inventory_device_log/{id}/",
        "/api/v1/events/{id}",
        "/V2/analytics/associationdata/{startdate}/{enddate}",
        "/V2/analytics/files/{name}.csv",
        "/V2/analytics/files/{name}.json",
        "/V2/devices/aps",
        "/V5/devices/aps",
        "/api/v1/catalogue/failures",
        "/api/v1/catalogue/intermediate_events",
        *(
            f"/api/v1/stats/{stream}/{call}"
            for stream in STREAMS
            for call in ("outcomes", "failures", "blast_radius", "top", "distinct")
        ),
        "/api/v1/live",
        *(f"/api/v1/insight/{call}" for call in ("overview", "sle", "contrast", "changes")),
        "/api/v1/insight/sites/{site}",
        "/api/v1/insight/clients/{mac}",
        "/api/v1/stats/client_events/latency",
        "/api/v1/stats/connection_logs/latency",
        "/api/v1/webhooks",
        "/api/v1/webhooks/{id}",
        "/api/v1/webhooks/{id}/test",
        "/api/v1/webhook_deliveries",
        "/api/v1/webhook_deliveries/{webhook_id}/replay",
    }
    for name, path in contract["paths"].items():
        if name in open_to_all:
            continue
        for operation in (path[method] for method in ("get", "post", "delete") if method in path):
            assert operation["security"]
            invalid = ("422",) if operation.get("parameters") else ()
            for status in ("401", "403", "503", "504", *invalid):
                assert operation["responses"][status] == {"$ref": f"#/components/responses/{status}"}
    for refusal in contract["components"]["responses"].values():
        assert list(refusal["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("code", list(MEANINGS))
def test_every_problem_has_its_page(api: Call, code: str) -> None:
    assert MEANINGS[code].title in api(f"/problems/{code}", role=None).text


def test_what_is_not_there(api: Call) -> None:
    for path in ("/nowhere", "/V5/devices", "/problems/none", "/V5/devices/clientevents"):
        answer = api(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "/openapi.json" in answer.json()["detail"]
    answer = api(f"{EVENTS}/1", method="POST")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("change", "status", "code", "allowed"),
    [
        ({"api_query_rows": 3}, 422, "query_too_large", "3 rows"),
        ({"api_query_memory_bytes": 10_000}, 503, "query_memory", "10000 bytes"),
        ({"api_query_seconds": 0.000_001}, 504, "query_timeout", "1e-06 seconds"),
    ],
)
def test_a_limit_that_was_hit_is_named(
    settings: Settings,
    store: Client,
    tokens: dict[str, str],
    change: dict[str, Any],
    status: int,
    code: str,
    allowed: str,
) -> None:
    events = [builders.success(macAddress="02:00:00:00:00:01", timestamp=n) for n in range(1, 9)]
    table_rows.store(store, "client_events", *events)
    with client_of(settings, tokens["viewer"], **change) as client:
        answer = client.get(f"{EVENTS}/100")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["allowed"] == allowed


def test_links_begin_with_the_public_url(settings: Settings, store: Client, tokens: dict[str, str]) -> None:
    with client_of(settings, tokens["viewer"], public_url="https://tide.example/") as client:
        answer = client.get(f"{EVENTS}/3?ssid=a")
    assert answer.json()["nextLink"] == f"https://tide.example{EVENTS[:-1]}3/3?ssid=a"


def test_the_process_waits_out_clickhouse_and_stops_on_sigterm(
    tmp_path: Path, settings: Settings, tokens: dict[str, str]
) -> None:
    """Started without ClickHouse it is alive and not ready; it recovers by itself, both ways."""
    listen = f"127.0.0.1:{free_port()}"
    clickhouse = ClickHouseServer(f"127.0.0.1:{free_port()}", tmp_path / "db", tmp_path / "clickhouse.log")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
        "TIDEGATE_API_LISTEN": listen,
        "TIDEGATE_DATA_DIR": settings.data_dir,
        "TIDEGATE_CLICKHOUSE_URL": clickhouse.url,
    }
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidegate", "api"], env=environment, stdout=log, stderr=log
        )
    headers = {"authorization": f"Bearer {tokens['viewer']}"}
    try:
        with httpx.Client(
            base_url=f"http://{listen}", headers=headers, trust_env=False, timeout=30
        ) as client:
            await_(lambda: get(listen, "/healthz")[0] == 200)
            answer = client.get("/readyz")
            assert (answer.status_code, answer.text) == (503, "clickhouse: store_away\n")
            answer = client.get(f"{EVENTS}/1")
            assert (answer.status_code, answer.json()["code"]) == (503, "store_away")
            assert int(answer.headers["retry-after"]) >= 1
            clickhouse.start()
            here = Settings(clickhouse_url=clickhouse.url)
            with connect(here, database="") as admin:
                migrate(admin, here)
            await_(
                lambda: get(listen, "/readyz")[0] == 200,
                lambda: f"{get(listen, '/readyz')}\n{(tmp_path / 'api.log').read_text()}",
            )
            assert client.get(f"{EVENTS}/1").status_code == 200
            clickhouse.stop()
            assert client.get(f"{EVENTS}/1").status_code == 503
            assert client.get("/healthz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        clickhouse.stop()
