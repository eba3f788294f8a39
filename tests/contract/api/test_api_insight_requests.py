"""How the insight calls answer: their SQL, files, refusals, and the fleets that they keep apart."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import pytest
from api_server import client_of
from clickhouse_connect.driver.client import Client
from insight_events import BASE, HOSTILE, NOW, SECRET, SINCE, Call, ask, store_events
from prometheus_client import REGISTRY

from tidegate.api.insight import request as requests
from tidegate.settings import Settings
from tidegate.tokens import Role, TokenFile

PATHS = ("overview", "sle", "sites/1", "contrast", "changes", "clients/02:00:00:01:00:01")


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    store_events(store)


@pytest.mark.parametrize("path", PATHS)
def test_its_sql_runs_as_it_stands(api: Call, store: Client, path: str) -> None:
    answer = ask(api, path)
    assert answer["sql"]
    for query in answer["sql"]:
        assert HOSTILE not in query["text"]
        store.query(query["text"], parameters=query["parameters"])


@pytest.mark.parametrize("path", PATHS)
def test_exports_have_the_rows_of_the_answer(api: Call, path: str) -> None:
    answer = api(f"{BASE}/{path}", params={"from": SINCE, "to": NOW, "format": "csv"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    assert not any((value or "").startswith("=") for row in rows for value in row.values())
    for format in ("parquet", "arrow", "ndjson"):
        other = api(f"{BASE}/{path}", params={"from": SINCE, "to": NOW, "format": format})
        assert other.status_code == 200 and other.content


def test_tables_of_a_site(api: Call) -> None:
    answer = ask(api, "sites/1")
    for table, key in (
        ("reasons", "reasons"),
        ("funnel", "funnel"),
        ("levels", "levels"),
        ("clients", "clients"),
    ):
        exported = api(
            f"{BASE}/sites/1", params={"from": SINCE, "to": NOW, "format": "ndjson", "table": table}
        ).text
        assert len(exported.splitlines()) == len(answer[key])


@pytest.mark.parametrize(
    ("path", "params", "status", "where"),
    [
        ("sites/nowhere", {}, 404, "site"),
        ("sites/no%2Fwhere/", {}, 404, "site"),
        ("sites/1%27%20OR%201=1%20--", {}, 404, "site"),
        ("sle", {"site": "' OR 1=1 --"}, 404, "site"),
        ("clients/02:00:00:00:00:99", {}, 404, "mac"),
        ("clients/nonsense", {}, 422, "mac"),
        ("overview", {"fleet": "other"}, 403, "fleet"),
        ("sle", {"window": "3h", "from": None}, 422, "window"),
        ("sle", {"window": "2h"}, 422, "window"),
        ("sle", {"from": NOW, "to": SINCE}, 422, "to"),
        ("sle", {"from": NOW - 40 * 86_400}, 422, "from"),
        ("contrast", {"stage": "' OR 1"}, 422, "stage"),
        ("overview", {"minutes": "1"}, 422, "minutes"),
    ],
)
def test_bad_questions(api: Call, path: str, params: dict[str, Any], status: int, where: str) -> None:
    given = {
        name: value for name, value in ({"from": SINCE, "to": NOW} | params).items() if value is not None
    }
    answer = api(f"{BASE}/{path}", params=given)
    assert (answer.status_code, answer.json()["path"]) == (status, where), answer.text


def test_a_window_that_is_over_is_asked_about_once_in_a_while(
    api: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> float:
        return sum(
            REGISTRY.get_sample_value("tidegate_api_query_seconds_count", {"query": f"insight_{name}"}) or 0.0
            for name in ("levels", "attempts", "contrast", "heat")
        )

    while_open = {"from": int(time.time()) - 3600, "to": int(time.time()) + 60}
    for path, params, again in (
        ("sle", {"to": NOW - 60}, 0),
        ("contrast", {"to": NOW - 60}, 0),
        ("sites/1", {"to": NOW - 60}, 0),
        ("sle", while_open, 2),
    ):
        monkeypatch.setattr(requests, "SHARED_SECONDS", 0.0)
        first, begun = ask(api, path, **params), asked()
        second = ask(api, path, **params)
        assert asked() - begun == again, path
        monkeypatch.setattr(requests, "SHARED_SECONDS", 60.0)  # seen from readers who ask within a second
        ask(api, path, **params)
        begun = asked()
        ask(api, path, **params)
        assert asked() == begun, path
        for name in ("levels", "sites", "values", "reasons", "heat"):
            assert second.get(name) == first.get(name)
        begun = asked()
        ask(api, path, **{**params, "from": SINCE + 60 if not again else params["from"] - 60})
        assert asked() > begun, "another window has another answer"


def test_a_window_behind_what_is_kept_says_what_is(
    settings: Settings, tokens: dict[str, str], store: Client
) -> None:
    with client_of(settings, tokens["viewer"], ttl_rollups_1m_days=30) as client:
        answer = client.get(f"{BASE}/sle", params={"from": SINCE, "to": NOW}).json()
        assert answer["code"] == "out_of_range" and answer["allowed"].startswith("times since 20")
        assert client.get(f"{BASE}/sle", params={"window": "1w"}).status_code == 200
    with client_of(settings, tokens["viewer"], fleet_retention_days="demo=3, other=30") as client:
        answer = client.get(f"{BASE}/sle", params={"window": "1w"}).json()
        assert answer["detail"] == "what is older than 3 days is no longer kept"
        assert client.get(f"{BASE}/sle", params={"window": "1d"}).status_code == 200


def test_no_fleet_sees_another(api: Call, settings: Settings) -> None:
    for path in (*PATHS, "sites/1?table=reasons&format=csv", "contrast?table=pairs&format=ndjson"):
        answer = api(f"{BASE}/{path}", params={"from": SINCE, "to": NOW} if "?" not in path else {})
        assert SECRET not in answer.text
    assert api(f"{BASE}/clients/02:00:00:0f:00:01", params={"window": "2h"}).status_code == 404
    theirs = api(f"{BASE}/sites/1", role="other", params={"from": SINCE, "to": NOW}).json()
    assert (theirs["fleet"], theirs["connects"]["attempts"], theirs["connects"]["failures"]) == (
        "other",
        40,
        40,
    )
    assert api(f"{BASE}/sites/2", role="other", params={"from": SINCE, "to": NOW}).status_code == 404


def test_a_superuser_names_the_fleet(settings: Settings, store: Client) -> None:
    token = TokenFile(settings.tokens_path).create("all fleets", fleet="*", role=Role.SUPERUSER)
    with client_of(settings, token) as client:
        asked = client.get(f"{BASE}/overview")
        assert (asked.status_code, asked.json()["path"]) == (400, "fleet")
        assert asked.json()["allowed"] == "demo, other"
        answer = client.get(f"{BASE}/overview", params={"fleet": "other", "to": NOW}).json()
        assert answer["fleets"] == ["demo", "other"] and [row["site"] for row in answer["sites"]] == ["1"]
