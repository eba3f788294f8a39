"""`/V5/devices/clients/connectionlogs` and `/V5/devices/clientevents/…` against the documents' samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client

import builders
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]

LOGS = "/V5/devices/clients/connectionlogs"
EVENTS = "/V5/devices/clientevents"
LOGS_MAC = "f0:d7:aa:df:59:a2"
EVENTS_MAC = "68:05:71:a4:ef:0e"
PAGED_MAC = "02:00:00:00:00:01"
HOSTILE_MAC = "02:00:00:00:00:02"
FILTER_MAC = "02:00:00:00:00:03"
SHARED_MAC = "02:00:00:00:00:04"
HOSTILE = ["'; DROP TABLE client_events; --", '📶 wi\\fi\t"x"', "\0" * 32, "a,b", "%_{x:String}"]
CLOCK = 1_763_000_000_000_000  # µs


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    logs = builders.sample("client_connection_logs.response")
    table_rows.store(store, "client_events", *logs["successLogs"], *logs["failureLogs"], offset=1)
    page = builders.sample("client_events.response")["clientEvents"]
    table_rows.store(store, "client_events", *page, offset=2)
    paged = [builders.success(macAddress=PAGED_MAC, timestamp=CLOCK + n // 2) for n in range(10)]
    table_rows.store(store, "client_events", *paged, offset=3)
    hostile = [
        builders.success(macAddress=HOSTILE_MAC, ssid=ssid, timestamp=CLOCK - n)
        for n, ssid in enumerate(HOSTILE)
    ]
    table_rows.store(store, "client_events", *hostile, offset=4)
    place = {"type": "locallocationid", "id": 7}
    table_rows.store(
        store,
        "client_events",
        builders.success(macAddress=FILTER_MAC, timestamp=CLOCK, protocol="A", locationId=place),
        builders.failure(macAddress=FILTER_MAC, timestamp=CLOCK + 1, failureCode=9, protocol="BG"),
        builders.intermediate(macAddress=FILTER_MAC, timestamp=CLOCK + 2, typeCode=9, categoryCode=4),
        builders.intermediate(macAddress=FILTER_MAC, timestamp=CLOCK + 3, typeCode=8, ssid="elsewhere"),
        offset=5,
    )
    for fleet in ("demo", "other"):
        table_rows.store(
            store,
            "client_events",
            builders.success(macAddress=SHARED_MAC, ssid=fleet, timestamp=CLOCK),
            fleet=fleet,
            offset=6 if fleet == "demo" else 7,
        )


def links(answer: httpx.Response) -> tuple[str, str]:
    return answer.json()["previousLink"], answer.json()["nextLink"]


def refuses(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """The problem document of a refusal that names a parameter."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "path", "found", "allowed"}
    assert (problem["status"], problem["path"]) == (status, name)
    assert problem["allowed"]
    return problem


# The samples


@pytest.mark.parametrize("base", ["", "/new/webservice"])
@pytest.mark.parametrize("mac", ["F0:D7:AA:DF:59:A2", "f0d7aadf59a2", "F0-D7-AA-DF-59-A2", "f0d7.aadf.59a2"])
def test_connection_logs_are_the_sample(api: Call, base: str, mac: str) -> None:
    answer = api(base + LOGS, params={"clientmacaddress": mac})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    sample = builders.sample("client_connection_logs.response")
    assert answer.json() == sample
    for section, logs in sample.items():
        assert [list(log) for log in answer.json()[section]] == [list(log) for log in logs]


def test_client_events_are_the_sample(api: Call) -> None:
    """Newest first, MACs in one spelling; otherwise key by key what the document shows."""
    answer = api(f"{EVENTS}/68:05:71:A4:EF:0E/0/3", params={"totalcountrequired": "true"})
    assert answer.status_code == 200
    sample = builders.sample("client_events.response")
    expected = sorted(sample["clientEvents"], key=lambda event: -event["timestamp"])
    for event in expected:
        event["macAddress"] = event["macAddress"].lower()
    assert answer.json()["clientEvents"] == expected
    assert [list(event) for event in answer.json()["clientEvents"]] == [list(event) for event in expected]
    assert answer.json()["totalCount"] == 3
    assert list(answer.json()) == list(sample)


@pytest.mark.parametrize("base", ["", "/new/webservice"])
def test_links_are_computed_as_the_sample_computes_them(api: Call, base: str) -> None:
    answer = api(f"{base}{EVENTS}/68:05:71:A4:EF:0E/0/3")
    before = str(answer.url).rsplit("/", 2)[0]
    assert before.endswith(f"{base}{EVENTS}/68:05:71:A4:EF:0E")
    assert links(answer) == (f"{before}/0/3", f"{before}/3/3")


# Connection logs


def times(answer: httpx.Response) -> list[int]:
    body = answer.json()
    return [log["timestamp"] for section in ("successLogs", "failureLogs") for log in body[section]]


ALL_LOGS = [1495010943, 1495009833, 1495008869, 1495007414]
NOT_A_TIME = ["yesterday", "-2", "1.5", "", "99999999999999999", "2024-01-15"]
NOT_A_MAC = ["", "00:11:22:33:44", "nonsense", "00:11:22:33:44:5g", "1"]
NOT_AN_INTEGER = ["x", "", "1.5", "99999999999999999999", "1e3"]
LOGS_PARAMETERS: dict[str, tuple[list[tuple[Any, list[int]]], list[str]]] = {
    # the values and the logs that each leaves, and the values that are refused
    "clientmacaddress": (
        [
            ("F0:D7:AA:DF:59:A2", ALL_LOGS),
            ("f0-d7-aa-df-59-a2", ALL_LOGS),
            ("f0d7.aadf.59a2", ALL_LOGS),
            ("02:ff:ff:ff:ff:ff", []),
        ],
        NOT_A_MAC,
    ),
    "fromtime": (
        [
            (None, ALL_LOGS),
            (-1, ALL_LOGS),
            (1495009833, ALL_LOGS[:2]),
            (1495009833000, ALL_LOGS[:2]),
            (1495009833000000, ALL_LOGS[:2]),
            (1495009834, ALL_LOGS[:1]),
        ],
        NOT_A_TIME,
    ),
    "totime": (
        [
            (None, ALL_LOGS),
            (-1, ALL_LOGS),
            (1495008869, ALL_LOGS[2:]),
            (1495008869000, ALL_LOGS[2:]),
            (1495008869000000, ALL_LOGS[2:]),
            (1495008868999, ALL_LOGS[3:]),
        ],
        NOT_A_TIME,
    ),
    "logtype": (
        [
            (None, ALL_LOGS),
            ("all", ALL_LOGS),
            ("success", ALL_LOGS[:2]),
            ("failure", ALL_LOGS[2:]),
            ("FAILURE", ALL_LOGS[2:]),
        ],
        ["both", "", "1"],
    ),
    "failuretype": ([(None, ALL_LOGS), (8, ALL_LOGS[2:]), (9, []), (-1, [])], ["psk", *NOT_AN_INTEGER]),
    "limit": (
        [(None, ALL_LOGS), (1, ALL_LOGS[:1]), (3, ALL_LOGS[:3]), (100_000, ALL_LOGS)],
        ["0", "-1", "100001", *NOT_AN_INTEGER],
    ),
}


@pytest.mark.parametrize("name", LOGS_PARAMETERS)
def test_a_parameter_of_connection_logs(api: Call, name: str) -> None:
    values, bad = LOGS_PARAMETERS[name]
    others = {} if name == "clientmacaddress" else {"clientmacaddress": LOGS_MAC}
    for value, expected in values:
        parameters = others if value is None else others | {name: value}
        assert times(api(LOGS, params=parameters)) == expected, value
    for text in bad:
        refuses(api(LOGS, params=others | {name: text}), 422, name)


@pytest.mark.parametrize("query", ["", "?limit=x"])
def test_a_required_parameter_that_is_missing(api: Call, query: str) -> None:
    assert refuses(api(LOGS + query), 400, "clientmacaddress")["code"] == "missing_parameter"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"limit": 1, "logtype": "failure"}, [1495008869]),
        ({"fromtime": 1495008869, "totime": 1495009833}, ALL_LOGS[1:3]),
        ({"fromtime": 1495010000, "totime": 1495009000}, []),
        ({"failuretype": 8, "logtype": "success"}, []),
        ({"unknown": "x"}, ALL_LOGS),
    ],
)
def test_parameters_of_connection_logs_together(
    api: Call, parameters: dict[str, Any], expected: list[int]
) -> None:
    assert times(api(LOGS, params={"clientmacaddress": LOGS_MAC} | parameters)) == expected


def test_a_client_without_logs_has_empty_sections(api: Call) -> None:
    answer = api(LOGS, params={"clientmacaddress": "02:ff:ff:ff:ff:ff"})
    assert (answer.status_code, answer.json()) == (200, {"successLogs": [], "failureLogs": []})


# Client events


def test_pages_follow_each_other_and_no_event_is_lost(api: Call) -> None:
    whole = api(f"{EVENTS}/{PAGED_MAC}/0/100").json()["clientEvents"]
    assert [event["timestamp"] for event in whole] == sorted(
        (event["timestamp"] for event in whole), reverse=True
    )
    assert len(whole) == 10
    path, seen = f"{EVENTS}/{PAGED_MAC}/0/3", []
    for _ in range(4):
        answer = api(path)
        seen += answer.json()["clientEvents"]
        path = httpx.URL(links(answer)[1]).raw_path.decode()
    assert seen == whole
    assert api(path).json()["clientEvents"] == []


def test_links_keep_the_query(api: Call) -> None:
    answer = api(f"{EVENTS}/{PAGED_MAC}/4/3?ssid=varsha&ssid=a%2Cb&totalcountrequired=3")
    previous, following = links(answer)
    assert previous.endswith(f"{EVENTS}/{PAGED_MAC}/1/3?ssid=varsha&ssid=a%2Cb&totalcountrequired=3")
    assert following.endswith("/7/3?ssid=varsha&ssid=a%2Cb&totalcountrequired=3")
    assert links(api(f"{EVENTS}/{PAGED_MAC}/2/3"))[0].endswith("/0/3")


def test_links_do_not_follow_forwarded_headers(api: Call) -> None:
    answer = api(f"{EVENTS}/{PAGED_MAC}/0/1", headers={"x-forwarded-host": "evil", "forwarded": "host=evil"})
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("asked", "total"), [("true", 10), ("3", 10), ("1", 10), ("false", None), ("0", None), (None, None)]
)
def test_the_total_is_counted_when_asked_for(api: Call, asked: str | None, total: int | None) -> None:
    parameters = {} if asked is None else {"totalcountrequired": asked}
    assert api(f"{EVENTS}/{PAGED_MAC}/0/2", params=parameters).json()["totalCount"] == total


EVENTS_PARAMETERS: dict[str, tuple[list[tuple[Any, list[int]]], list[str]]] = {
    "locationid": ([(None, [3, 2, 1, 0]), (7, [0]), (-1, [3, 2, 1]), (8, [])], ["lobby", *NOT_AN_INTEGER]),
    "nodeid": ([(None, [3, 2, 1, 0]), (0, [3, 2, 1, 0]), (7, [3, 2, 1, 0])], NOT_AN_INTEGER),
    "totalcountrequired": ([("true", [3, 2, 1, 0]), ("3", [3, 2, 1, 0])], ["maybe", "", "1.5"]),
    "fromtime": (
        [(-1, [3, 2, 1, 0]), (CLOCK + 2, [3, 2]), (CLOCK // 1000, [3, 2, 1, 0]), (CLOCK // 1000 + 1, [])],
        NOT_A_TIME,
    ),
    "totime": (
        [
            (-1, [3, 2, 1, 0]),
            (CLOCK + 1, [1, 0]),
            (CLOCK // 1000, [3, 2, 1, 0]),
            (CLOCK // 1000 - 1, []),
            (CLOCK // 1_000_000, [3, 2, 1, 0]),
        ],
        NOT_A_TIME,
    ),
    "clienteventtype": (
        [("Success", [0]), ("Failure", [1]), ("failure", [1]), ("Intermediate", [3, 2])],
        ["Pending", "", "1"],
    ),
    "failureoreventtypecode": ([(9, [2, 1]), (8, [3]), (10, [])], NOT_AN_INTEGER),
    "eventcategory": ([(4, [2]), (0, [3]), (1, [])], NOT_AN_INTEGER),
    "protocol": ([("A", [0]), ("BG", [3, 2, 1]), ("bg", [3, 2, 1]), ("AX", [])], ["C", "", "802.11a"]),
    "ssid": ([("elsewhere", [3]), (["elsewhere", "varsha"], [3, 2, 1, 0]), ("nowhere", [])], []),
}


def moments(answer: httpx.Response) -> list[int]:
    return [event["timestamp"] - CLOCK for event in answer.json()["clientEvents"]]


@pytest.mark.parametrize("name", EVENTS_PARAMETERS)
def test_a_parameter_of_client_events(api: Call, name: str) -> None:
    values, bad = EVENTS_PARAMETERS[name]
    for value, expected in values:
        parameters = {"totalcountrequired": "1"} | ({} if value is None else {name: value})
        answer = api(f"{EVENTS}/{FILTER_MAC}/0/100", params=parameters)
        assert moments(answer) == expected, value
        assert answer.json()["totalCount"] == len(expected)
    for text in bad:
        refuses(api(f"{EVENTS}/{FILTER_MAC}/0/100", params={name: text}), 422, name)


PATH_PARAMETERS: dict[str, tuple[dict[str, list[int]], list[str]]] = {
    "macaddress": (
        {
            f"{FILTER_MAC}/0/9": [3, 2, 1, 0],
            f"{FILTER_MAC.replace(':', '-').upper()}/0/9": [3, 2, 1, 0],
            "020000000003/0/9": [3, 2, 1, 0],
            "02:ff:ff:ff:ff:ff/0/9": [],
        },
        ["nomac/0/1", "02:00:00:00:00/0/1", "%20/0/1"],
    ),
    "offset": (
        {f"{FILTER_MAC}/{n}/9": [3, 2, 1, 0][n:] for n in range(6)},
        [f"{FILTER_MAC}/{text}/1" for text in ("-1", "x", "1.5", "99999999999")],
    ),
    "limit": (
        {f"{FILTER_MAC}/1/{n}": [2, 1, 0][:n] for n in range(1, 5)}
        | {f"{FILTER_MAC}/0/100000": [3, 2, 1, 0]},
        [f"{FILTER_MAC}/0/{text}" for text in ("0", "-1", "all", "1.5", "99999999999")],
    ),
}


@pytest.mark.parametrize("name", PATH_PARAMETERS)
def test_a_path_parameter_of_client_events(api: Call, name: str) -> None:
    values, bad = PATH_PARAMETERS[name]
    for path, expected in values.items():
        assert moments(api(f"{EVENTS}/{path}")) == expected, path
    for path in bad:
        refuses(api(f"{EVENTS}/{path}"), 422, name)


def test_parameters_of_client_events_together(api: Call) -> None:
    parameters = {"clienteventtype": "Intermediate", "eventcategory": 4, "ssid": "varsha"}
    assert moments(api(f"{EVENTS}/{FILTER_MAC}/0/100", params=parameters)) == [2]


def test_hostile_names_come_back_as_they_went_in(api: Call) -> None:
    events = api(f"{EVENTS}/{HOSTILE_MAC}/0/100").json()["clientEvents"]
    assert [event["ssid"] for event in events] == HOSTILE
    for ssid in HOSTILE:
        [found] = api(f"{EVENTS}/{HOSTILE_MAC}/0/100", params={"ssid": ssid}).json()["clientEvents"]
        assert found["ssid"] == ssid


# Fleets and roles


def test_a_token_sees_its_own_fleet_and_superuser_all(api: Call) -> None:
    def ssids(role: str) -> list[str]:
        events = api(f"{EVENTS}/{SHARED_MAC}/0/9?totalcountrequired=1", role=role).json()["clientEvents"]
        return sorted(event["ssid"] for event in events)

    assert ssids("viewer") == ssids("operator") == ssids("administrator") == ["demo"]
    assert ssids("other") == ["other"]
    assert ssids("superuser") == ["demo", "other"]


@pytest.mark.parametrize("path", [f"{LOGS}?clientmacaddress={LOGS_MAC}", f"{EVENTS}/{LOGS_MAC}/0/1"])
@pytest.mark.parametrize("role", list(Role))
def test_roles(api: Call, path: str, role: Role) -> None:
    answer = api(path, role=role.value)
    assert answer.status_code == (403 if role is Role.INGEST else 200)


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer"}],
)
def test_without_a_known_token(api: Call, headers: dict[str, str]) -> None:
    answer = api(f"{EVENTS}/x/y/z", role=None, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
