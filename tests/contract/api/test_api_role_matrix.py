"""Who may call what, and with which status: each role, no token and a wrong one, against each read call."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.contracts.position import Position
from tidegate.tokens import EDITORS, READERS, Role

Call = Callable[..., httpx.Response]
ID = Position(table_rows.EPOCH, "device_logs", 0, 1, 0).id()
CALLS: dict[str, tuple[str, frozenset[Role]]] = {
    "connectionlogs": (
        "/V5/devices/clients/connectionlogs?clientmacaddress=60:36:DD:F7:E3:C4",
        READERS,
    ),
    "clientevents": ("/V5/devices/clientevents/68:05:71:A4:EF:0E/2/2", READERS),
    "associationdata": ("/V2/analytics/associationdata/2024-01-01/2024-01-31", READERS),
    "aps": ("/V5/devices/aps", READERS - {Role.VIEWER}),
    "aps-V2": ("/V2/devices/aps", READERS - {Role.VIEWER}),
    "aps-v2": ("/v2/devices/aps", READERS - {Role.VIEWER}),
    "device_logs": ("/api/v1/inventory_device_log/", READERS),
    "device_log": (f"/api/v1/inventory_device_log/{ID}/", READERS),
    "failures": ("/api/v1/catalogue/failures", READERS),
    "intermediate_events": ("/api/v1/catalogue/intermediate_events", READERS),
    "insight": ("/api/v1/insight/overview", READERS),
    "webhooks": ("/api/v1/webhook_deliveries", EDITORS),
    "event": (f"/api/v1/events/{ID}", READERS | {Role.INGEST}),
}
VENDOR = [name for name, (path, _) in CALLS.items() if path.startswith(("/V2", "/V5", "/v2"))]


@pytest.fixture(scope="module", autouse=True)
def log(store: Client) -> None:
    table_rows.store(store, "device_logs", builders.device_log(), offset=1)
    table_rows.plan(store, "device_logs", 1)


def bases(name: str) -> tuple[str, ...]:
    return ("", "/new/webservice") if name in VENDOR else ("",)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("role", [role.value for role in Role])
def test_a_role_and_a_call(api: Call, role: str, name: str) -> None:
    path, allowed = CALLS[name]
    for base in bases(name):
        answer = api(base + path, role=role)
        assert answer.status_code == (200 if Role(role) in allowed else 403), answer.text
        if answer.status_code == 403:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize("name", CALLS)
def test_no_token_or_a_wrong_one(api: Call, name: str) -> None:
    path, _ = CALLS[name]
    for base in bases(name):
        for headers in ({}, {"authorization": "Bearer YOUR_API_TOKEN"}, {"authorization": "Basic eDp5"}):
            answer = api(base + path, role=None, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", CALLS)
def test_it_is_read_with_get_alone(api: Call, name: str) -> None:
    path, _ = CALLS[name]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = api(path, role="superuser", method=method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", VENDOR)
def test_the_vendors_base_path_is_taken(api: Call, name: str) -> None:
    path, _ = CALLS[name]
    plain, based = api(path, role="operator"), api("/new/webservice" + path, role="operator")
    assert (plain.status_code, based.status_code) == (200, 200)
    if name == "associationdata":
        assert based.text.startswith("/new/webservice/V2/analytics/files/")
    elif name == "clientevents":
        assert based.text == plain.text.replace("/V5/", "/new/webservice/V5/")
    else:
        assert based.text == plain.text
    assert api("/new" + path, role="operator").status_code == 404
