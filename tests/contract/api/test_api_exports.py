"""The lists as NDJSON, CSV, Arrow and Parquet: the rows and the order of the JSON answer, in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import export_formats
import httpx
import msgspec
import pyarrow as pa
import pytest
import table_rows
from api_server import client_of
from clickhouse_connect.driver.client import Client
from export_formats import FORMATS, MEDIA_TYPES
from waiting import await_

import builders
from tidegate.api import access_points, client_events, device_logs, exports
from tidegate.contracts.columns import SCHEMAS
from tidegate.settings import Settings
from tidegate.store import audit
from tidegate.store import exports as store_exports
from tidegate.store.queries import Query
from tidegate.telemetry import API_FILES
from tidegate.tokens import READERS, Role

Call = Callable[..., httpx.Response]
Row = dict[str, Any]

MAC = "02:00:00:00:0e:01"
CLOCK = 1_763_700_000_000_000  # µs
LOGS = f"/V5/devices/clients/connectionlogs?clientmacaddress={MAC}"
EVENTS = f"/V5/devices/clientevents/{MAC}/0/100000"
DEVICE_LOGS = "/api/v1/inventory_device_log/"
APS = "/V5/devices/aps"
HOSTILE = [
    "'; DROP TABLE client_events; --",
    '📶 wi\\fi\t"x"',
    "\0" * 32,
    "a,b\r\nc",
    "=cmd()",
    "",
    "\\N",
    "null",
]


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    hostile = [
        builders.success(macAddress=MAC, ssid=ssid, associatedAPName=ssid, timestamp=CLOCK - n)
        for n, ssid in enumerate(HOSTILE)
    ]
    others = [
        make(macAddress=MAC, timestamp=CLOCK + n // 2, failureCode=9, newField={"é": [1, None]})
        for n in range(10)
        for make in (builders.success, builders.failure, builders.intermediate)
    ]
    table_rows.store(store, "client_events", *hostile, offset=1)
    table_rows.store(store, "client_events", *others, offset=2)
    table_rows.store(store, "client_events", builders.failure(macAddress=MAC), fleet="other", offset=3)
    entries = [
        builders.device_log(
            datetime=f"2024-01-14T10:00:{n // 2:02}Z", variable_name=HOSTILE[n % len(HOSTILE)], notes=None
        )
        for n in range(30)
    ]
    table_rows.store(store, "device_logs", *entries, offset=1)
    table_rows.store(store, "device_logs", builders.device_log(), fleet="other", offset=2)


# What the JSON answer has, and what an export's rows are in its words


def all_entries(api: Call, path: str) -> list[Row]:
    """The JSON pages behind each other."""
    found: list[Row] = []
    following: str | None = path
    while following:
        page = api(following).json()
        found += page["results"]
        following = page["next"]
    return found


def as_events(found: list[Row], unit: Any = 1) -> list[Row]:
    """Rows of the table as the document shows them."""
    times = {
        "event_time": "timestamp",
        **{f"{n}_time": f"{n}_timestamp" for n in ("association", "authentication", "network")},
    }
    rows = [{times.get(name, name): value for name, value in row.items()} for row in found]
    return [client_events.document(row, timestamp_unit=unit) for row in rows]


def as_entries(found: list[Row]) -> list[Row]:
    return [device_logs.entry({**row, "datetime": row["event_time"]}) for row in found]


def without_empty(value: Any) -> Any:
    """CSV has one spelling for null and for no text."""
    if isinstance(value, dict):
        return {key: without_empty(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value or None if isinstance(value, str) else value


def same(format: str, found: list[Row], expected: list[Row]) -> None:
    assert expected
    if format == "csv":
        found, expected = without_empty(found), without_empty(expected)
    assert found == expected


def types_of(stream: Any) -> dict[str, pa.DataType]:
    return {"id": pa.string()} | {field.name: field.type for field in SCHEMAS[stream]}


def written_as(format: str, path: str) -> str:
    return str(httpx.URL(path).copy_merge_params({"format": format, "csv_safe": "false"}))


def export(api: Call, path: str, format: str, role: str = "viewer") -> list[Row]:
    answer = api(written_as(format, path), role=role)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPES[format]
    return export_formats.rows(format, answer.content)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("query", ["", "&logtype=failure", "&failuretype=9", f"&totime={CLOCK}", "&limit=7"])
def test_connection_logs(api: Call, format: str, query: str) -> None:
    """Both sections in one list by time; without a limit all of them."""
    expected = api(f"{LOGS}{query}").json()
    rows = export_formats.typed(export(api, f"{LOGS}{query}", format), types_of("client_events"))
    assert [row["event_time"] for row in rows] == sorted((row["event_time"] for row in rows), reverse=True)
    sections = {"successLogs": "Success", "failureLogs": "Failure"}
    assert sum(len(logs) for logs in expected.values()) == len(rows)
    for section, kind in sections.items():
        found = as_events([row for row in rows if row["event_type"] == kind], unit=1_000_000)
        if found:
            same(format, found, expected[section])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("query", ["", "?clienteventtype=Intermediate", f"?ssid={HOSTILE[0]}&ssid=varsha"])
def test_client_events(api: Call, format: str, query: str) -> None:
    rows = export_formats.typed(export(api, f"{EVENTS}{query}", format), types_of("client_events"))
    same(format, as_events(rows), api(f"{EVENTS}{query}").json()["clientEvents"])


@pytest.mark.parametrize("format", FORMATS)
def test_a_page_of_client_events(api: Call, format: str) -> None:
    path = f"/V5/devices/clientevents/{MAC}/3/5"
    rows = export_formats.typed(export(api, path, format), types_of("client_events"))
    same(format, as_events(rows), api(path).json()["clientEvents"])
    assert len(rows) == 5


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("query", ["", "?variable_name=null", "?datetime__gte=2024-01-14T10:00:07Z"])
def test_device_logs(api: Call, format: str, query: str) -> None:
    rows = export_formats.typed(export(api, f"{DEVICE_LOGS}{query}", format), types_of("device_logs"))
    same(format, as_entries(rows), all_entries(api, f"{DEVICE_LOGS}{query}"))


@pytest.mark.parametrize("format", FORMATS)
def test_device_logs_from_a_cursor(api: Call, format: str) -> None:
    first = api(DEVICE_LOGS, params={"limit": 10}).json()
    second = api(first["next"]).json()
    rows = export_formats.typed(export(api, first["next"], format), types_of("device_logs"))
    same(format, as_entries(rows), second["results"])
    behind = httpx.URL(first["next"]).copy_remove_param("limit")
    rows = export_formats.typed(export(api, str(behind), format), types_of("device_logs"))
    same(format, as_entries(rows), all_entries(api, DEVICE_LOGS)[10:])
    third = api(second["next"]).json()
    before = httpx.URL(third["previous"]).copy_set_param("limit", 4)
    rows = export_formats.typed(export(api, str(before), format), types_of("device_logs"))
    same(format, as_entries(rows), second["results"][-4:])
    before = before.copy_remove_param("limit")
    rows = export_formats.typed(export(api, str(before), format), types_of("device_logs"))
    same(format, as_entries(rows), all_entries(api, DEVICE_LOGS)[:20])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "query", ["", "?sortcolumn=lastseen&sortascending=false", "?limit=1&offset=1", "?locationid=1"]
)
def test_access_points(api: Call, format: str, query: str) -> None:
    types = {field.name: field.type for field in access_points.EXPORTED}
    rows = export_formats.typed(export(api, f"{APS}{query}", format, "operator"), types)
    expected = api(f"{APS}{query}", role="operator").json()
    if expected:
        same(format, rows, expected)
    else:
        assert rows == []


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_names_come_back_as_they_went_in(api: Call, format: str) -> None:
    rows = [row for row in export(api, EVENTS, format) if row["ap_name"] == row["ssid"]]
    assert [row["ssid"] for row in rows] == HOSTILE
    assert {row["variable_name"] for row in export(api, DEVICE_LOGS, format)} == set(HOSTILE)


def test_arrow_and_parquet_have_the_types_of_the_columns(api: Call) -> None:
    for path, stream in ((EVENTS, "client_events"), (DEVICE_LOGS, "device_logs")):
        tables = [
            export_formats.table(f, api(path, params={"format": f}).content) for f in ("arrow", "parquet")
        ]
        for table in tables:
            assert table.column_names == list(store_exports.COLUMNS[stream])  # type: ignore[index]
            types = types_of(stream)
            assert {field.name: field.type for field in table.schema} == {
                n: types[n] for n in table.column_names
            }
        assert tables[0].equals(tables[1])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "path", [LOGS.replace(MAC, "02:00:00:00:0e:99"), f"{DEVICE_LOGS}?action=none", f"{APS}?locationid=-9"]
)
def test_no_rows_are_an_empty_file(api: Call, format: str, path: str) -> None:
    assert export(api, path, format, "operator") == []
    answer = api(written_as(format, path), role="operator")
    if format == "csv":
        assert answer.text.count("\n") == 1  # the names


# How it is asked for


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", MEDIA_TYPES["csv"]),
        ("application/vnd.apache.arrow.stream", MEDIA_TYPES["arrow"]),
        ("application/vnd.apache.parquet;q=0.3, application/x-ndjson;q=0.9", MEDIA_TYPES["ndjson"]),
        ("application/json;q=0.5, Text/CSV", MEDIA_TYPES["csv"]),
        ("text/csv;q=0, */*", "application/json"),
        ("text/csv;q=x", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("image/png", "application/json"),
        ("", "application/json"),
    ],
)
def test_by_the_accept_header(api: Call, accept: str, media_type: str) -> None:
    answer = api(DEVICE_LOGS, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


def test_the_parameter_wins_over_the_header(api: Call) -> None:
    answer = api(DEVICE_LOGS, params={"format": "json"}, headers={"accept": "text/csv"})
    assert answer.headers["content-type"] == "application/json"
    answer = api(DEVICE_LOGS, params={"format": "NDJSON"}, headers={"accept": "text/csv"})
    assert answer.headers["content-type"] == MEDIA_TYPES["ndjson"]


@pytest.mark.parametrize(
    ("path", "name"),
    [(LOGS, "connectionlogs"), (EVENTS, "clientevents"), (DEVICE_LOGS, "inventory_device_log"), (APS, "aps")],
)
def test_it_is_a_file_with_a_name(api: Call, path: str, name: str) -> None:
    extensions = {"ndjson": "ndjson", "csv": "csv", "arrow": "arrows", "parquet": "parquet"}
    for format, extension in extensions.items():
        answer = api(written_as(format, path), role="operator")
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}.{extension}"'


@pytest.mark.parametrize("path", [LOGS, EVENTS, DEVICE_LOGS, APS])
def test_an_unknown_format_is_refused(api: Call, path: str) -> None:
    answer = api(written_as("xlsx", path), role="operator")
    assert (answer.status_code, answer.json()["path"]) == (422, "format")
    assert answer.json()["allowed"] == "json, ndjson, csv, arrow, parquet"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", [LOGS, EVENTS, DEVICE_LOGS, APS])
def test_roles_are_those_of_the_list(api: Call, path: str, role: Role) -> None:
    allowed = READERS - {Role.VIEWER} if path == APS else READERS
    answer = api(written_as("csv", path), role=role)
    assert answer.status_code == (200 if role in allowed else 403)
    if answer.status_code == 200 and path != APS:
        fleets = {row["fleet"] for row in export_formats.rows("csv", answer.content)}
        assert fleets == ({"demo", "other"} if role is Role.SUPERUSER else {"demo"})


# The audit log


def test_each_is_in_the_audit_log(api: Call, settings: Settings, store: Client) -> None:
    def noted(path: str, role: str, **parameters: str) -> list[audit.Entry]:
        store.command("TRUNCATE TABLE audit")
        assert api(path, role=role, params=parameters).status_code == 200
        return audit.entries(store, settings.clickhouse_database)

    [entry] = noted(LOGS.partition("?")[0], "viewer", clientmacaddress=MAC, format="csv", fromtime="-1")
    assert entry[1:2] + entry[3:6] == ("export", "viewer", "demo", "/V5/devices/clients/connectionlogs")
    said = {"format": "csv", "asked": {"fromtime": "-1"}, "filters": ["clientmacaddress"]}
    assert msgspec.json.decode(entry.details) == said
    [entry] = noted(f"/new/webservice{APS}", "operator", format="parquet")
    assert entry[1:2] + entry[3:6] == ("export", "operator", "demo", "/V5/devices/aps")
    [entry] = noted("/api/v1/insight/overview", "superuser", format="ndjson", fleet="demo", to=str(CLOCK))
    assert entry[1:2] + entry[3:6] == ("export", "superuser", "demo", "/api/v1/insight/overview")
    assert msgspec.json.decode(entry.details)["asked"] == {"to": str(CLOCK)}
    assert noted(DEVICE_LOGS, "viewer", format="json") == []


def test_one_that_cannot_be_noted_is_not_made(api: Call, store: Client) -> None:
    store.command("RENAME TABLE audit TO audit_away")
    try:
        answer = api(DEVICE_LOGS, params={"format": "csv"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_away")
        assert api(DEVICE_LOGS).status_code == 200
    finally:
        store.command("RENAME TABLE audit_away TO audit")
    assert api(DEVICE_LOGS, params={"format": "csv"}).status_code == 200


# Limits and ends


@pytest.mark.parametrize(
    ("change", "status", "code", "allowed"),
    [
        ({"api_export_rows": 29}, 422, "query_too_large", "29 rows"),
        ({"api_export_seconds": 0.000_001}, 504, "query_timeout", "1e-06 seconds"),
        ({"api_query_memory_bytes": 10_000}, 503, "query_memory", "10000 bytes"),
        ({"api_exports": 0}, 503, "exports_busy", ""),
        ({"api_query_rows": 5}, 200, "", ""),  # of JSON answers, not of exports
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
    with client_of(settings, tokens["viewer"], **change) as client:
        answer = client.get(DEVICE_LOGS, params={"format": "csv"})
        assert answer.status_code == status, answer.text
        if status != 200:
            assert (answer.json()["code"], answer.json()["allowed"]) == (code, allowed)
        if code == "exports_busy":
            assert int(answer.headers["retry-after"]) >= 1
        if code == "query_too_large":
            # What is asked for within the bound is given.
            page = client.get(DEVICE_LOGS, params={"format": "csv", "limit": 29})
            assert len(export_formats.rows("csv", page.content)) == 29


def long_export(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Every export of device logs becomes this query, of a size that is none."""
    size = Query("none", "SELECT 0", {})
    made = store_exports.Export(Query("long_export", sql, {}), size)
    monkeypatch.setattr(store_exports, "device_logs", lambda *_, **__: made)


@pytest.mark.parametrize("format", FORMATS)
def test_what_breaks_off_in_the_middle_has_no_proper_end(
    settings: Settings,
    store: Client,
    tokens: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    format: str,
) -> None:
    """The limit is hit by rows that come long after the first; nothing of the error stands in the file."""
    caplog.set_level("WARNING")
    long_export(monkeypatch, "SELECT number, randomPrintableASCII(100) AS text FROM numbers(2000000)")
    before = API_FILES.labels("inventory_device_log", "broken")._value.get()
    got = bytearray()
    with client_of(settings, tokens["viewer"], api_export_rows=500_000) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            with client.stream("GET", DEVICE_LOGS, params={"format": format}) as answer:
                assert answer.status_code == 200
                for piece in answer.iter_raw():
                    got += piece
        assert len(got) > 1_000_000
        assert b"__exception__" not in got and b"DB::Exception" not in got
        assert client.get("/healthz").status_code == 200
    assert "inventory_device_log broke off: " in caplog.text
    assert API_FILES.labels("inventory_device_log", "broken")._value.get() == before + 1


def running(store: Client, text: str) -> int:
    sql = (
        "SELECT count() FROM system.processes"
        " WHERE query LIKE {text:String} AND query NOT LIKE '%system.processes%'"
    )
    [[count]] = store.query(sql, parameters={"text": f"%{text}%"}).result_rows
    return int(count)


@pytest.mark.parametrize("sending", [True, False])
def test_a_client_that_goes_away_ends_the_query(
    settings: Settings, store: Client, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, sending: bool
) -> None:
    """While it is sent, and while nothing has come yet; either way its place is free again."""
    mark = f"9876543{int(sending)}1234"
    condition = "" if sending else " WHERE sipHash64(number) = 1"
    long_export(monkeypatch, f"SELECT number FROM numbers({mark}){condition}")
    # 0: no bound of rows
    with client_of(settings, tokens["viewer"], api_exports=1, api_export_rows=0) as client:
        with another_client(client) as leaving:
            if sending:
                with leaving.stream("GET", DEVICE_LOGS, params={"format": "csv"}) as answer:
                    pieces = answer.iter_raw()  # kept: its end would close the connection
                    assert next(pieces)
                    assert running(store, mark) == 1
                    assert client.get(DEVICE_LOGS, params={"format": "csv"}).status_code == 503
            else:
                with pytest.raises(httpx.ReadTimeout):
                    leaving.get(DEVICE_LOGS, params={"format": "csv"}, timeout=1.0)
        await_(lambda: running(store, mark) == 0)
        monkeypatch.undo()
        await_(lambda: client.get(DEVICE_LOGS, params={"format": "csv", "limit": 1}).status_code != 503)


@contextmanager
def another_client(client: httpx.Client) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=client.base_url, headers=client.headers, trust_env=False, timeout=60) as made:
        yield made


def test_the_contract_names_every_format(api: Call) -> None:
    contract = api("/openapi.json", role=None).json()
    for path in (
        "/V5/devices/clients/connectionlogs",
        "/V5/devices/clientevents/{macaddress}/{offset}/{limit}",
        "/api/v1/inventory_device_log/",
        "/V5/devices/aps",
        "/V2/devices/aps",
    ):
        operation = contract["paths"][path]["get"]
        kinds = {each.media_type.partition(";")[0] for each in exports.FORMATS.values()}
        assert set(operation["responses"]["200"]["content"]) == {"application/json", *kinds}
        assert "format" in {parameter["name"] for parameter in operation["parameters"]}
