"""`/V5/devices/clients/connectionlogs` and `/V5/devices/clientevents/…` against the documents' samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stored
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
    stored.store(store, "client_events", *logs["successLogs"], *logs["failureLogs"], offset=1)
    page = builders.sample("client_events.response")["clientEvents"]
    stored.store(store, "client_events", *page, offset=2)
    paged = [builders.success(macAddress=PAGED_MAC, timestamp=CLOCK + n // 2) for n in range(10)]
    stored.store(store, "client_events", *paged, offset=3)
    hostile = [
        builders.success(macAddress=HOSTILE_MAC, ssid=ssid, timestamp=CLOCK - n)
        for n, ssid in enumerate(HOSTILE)
    ]
    stored.store(store, "client_events", *hostile, offset=4)
    place = {"type": "locallocationid", "id": 7}
    stored.store(
        store,
        "client_events",
        builders.success(macAddress=FILTER_MAC, timestamp=CLOCK, protocol="A", locationId=place),
        builders.failure(macAddress=FILTER_MAC, timestamp=CLOCK + 1, failureCode=9, protocol="BG"),
        builders.intermediate(macAddress=FILTER_MAC, timestamp=CLOCK + 2, typeCode=9, categoryCode=4),
        builders.intermediate(macAddress=FILTER_MAC, timestamp=CLOCK + 3, typeCode=8, ssid="elsewhere"),
        offset=5,
    )
    for fleet in ("demo", "other"):
        stored.store(
            store,
            "client_events",
            builders.success(macAddress=SHARED_MAC, ssid=fleet, timestamp=CLOCK),
            fleet=fleet,
            offset=6 if fleet == "demo" else 7,
        )


def links(answer: httpx.Response) -> tuple[str, str]:
    return answer.json()["previousLink"], answer.json()["nextLink"]


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


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"logtype": "success"}, [1495010943, 1495009833]),
        ({"logtype": "FAILURE"}, [1495008869, 1495007414]),
        ({"limit": 3}, [1495010943, 1495009833, 1495008869]),
        ({"limit": 1, "logtype": "failure"}, [1495008869]),
        ({"failuretype": 8}, [1495008869, 1495007414]),
        ({"failuretype": 9}, []),
        ({"fromtime": 1495009833}, [1495010943, 1495009833]),
        ({"fromtime": 1495009833000}, [1495010943, 1495009833]),
        ({"fromtime": 1495009833000000}, [1495010943, 1495009833]),
        ({"fromtime": 1495009834}, [1495010943]),
        ({"totime": 1495008869}, [1495008869, 1495007414]),
        ({"totime": 1495008868999}, [1495007414]),
        ({"fromtime": -1, "totime": -1}, [1495010943, 1495009833, 1495008869, 1495007414]),
        ({"fromtime": 1495010000, "totime": 1495009000}, []),
        ({"unknown": "x"}, [1495010943, 1495009833, 1495008869, 1495007414]),
    ],
)
def test_connection_logs_by_parameter(api: Call, parameters: dict[str, Any], expected: list[int]) -> None:
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


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"clienteventtype": "Success"}, [0]),
        ({"clienteventtype": "failure"}, [1]),
        ({"clienteventtype": "Intermediate"}, [3, 2]),
        ({"failureoreventtypecode": 9}, [2, 1]),
        ({"failureoreventtypecode": 8}, [3]),
        ({"eventcategory": 4}, [2]),
        ({"eventcategory": 0}, [3]),
        ({"protocol": "A"}, [0]),
        ({"protocol": "BG"}, [3, 2, 1]),
        ({"locationid": 7}, [0]),
        ({"locationid": -1}, [3, 2, 1]),
        ({"nodeid": 0}, [3, 2, 1, 0]),
        ({"ssid": "elsewhere"}, [3]),
        ({"ssid": ["elsewhere", "varsha"]}, [3, 2, 1, 0]),
        ({"ssid": "nowhere"}, []),
        ({"fromtime": CLOCK + 2}, [3, 2]),
        ({"totime": CLOCK + 1}, [1, 0]),
        ({"totime": CLOCK // 1000}, [3, 2, 1, 0]),
        ({"totime": CLOCK // 1000 - 1}, []),
        ({"clienteventtype": "Intermediate", "eventcategory": 4, "ssid": "varsha"}, [2]),
    ],
)
def test_client_events_by_parameter(api: Call, parameters: dict[str, Any], expected: list[int]) -> None:
    answer = api(f"{EVENTS}/{FILTER_MAC}/0/100", params=parameters)
    assert [event["timestamp"] - CLOCK for event in answer.json()["clientEvents"]] == expected


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


# Bad parameters


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        (LOGS, 400, "clientmacaddress"),
        (f"{LOGS}?limit=x", 400, "clientmacaddress"),
        (f"{LOGS}?clientmacaddress=", 422, "clientmacaddress"),
        (f"{LOGS}?clientmacaddress=00:11:22:33:44", 422, "clientmacaddress"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&fromtime=yesterday", 422, "fromtime"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&fromtime=-2", 422, "fromtime"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&totime=1.5", 422, "totime"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&totime=99999999999999999", 422, "totime"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&logtype=both", 422, "logtype"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&failuretype=psk", 422, "failuretype"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&limit=0", 422, "limit"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&limit=100001", 422, "limit"),
        (f"{LOGS}?clientmacaddress={LOGS_MAC}&limit=", 422, "limit"),
        (f"{EVENTS}/nomac/0/1", 422, "macaddress"),
        (f"{EVENTS}/{LOGS_MAC}/-1/1", 422, "offset"),
        (f"{EVENTS}/{LOGS_MAC}/0/all", 422, "limit"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?totalcountrequired=maybe", 422, "totalcountrequired"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?locationid=lobby", 422, "locationid"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?locationid=99999999999999999999", 422, "locationid"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?nodeid=x", 422, "nodeid"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?clienteventtype=Pending", 422, "clienteventtype"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?failureoreventtypecode=x", 422, "failureoreventtypecode"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?eventcategory=x", 422, "eventcategory"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?protocol=C", 422, "protocol"),
        (f"{EVENTS}/{LOGS_MAC}/0/1?fromtime=x", 422, "fromtime"),
    ],
)
def test_a_bad_parameter_is_named(api: Call, path: str, status: int, name: str) -> None:
    answer = api(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["path"]) == (status, name)
    assert set(body) == {"type", "title", "status", "detail", "code", "path", "found", "allowed"}
    assert body["code"] == "missing_parameter" or body["allowed"]


def test_the_largest_page_is_allowed(api: Call) -> None:
    assert api(f"{EVENTS}/{PAGED_MAC}/0/100000").status_code == 200
