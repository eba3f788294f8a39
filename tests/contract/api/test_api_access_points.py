"""`/V5|V2/devices/aps`: what events show and the inventory lists, for everybody but viewers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import table_rows
from api_server import client_of
from clickhouse_connect.driver.client import Client

import builders
from tidegate.settings import Settings
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]
APS = "/V5/devices/aps"
CLOCK = 1_763_700_000_000_000  # µs


def seen(bssid: str, name: str | None, location: int | None, at: int, **fields: Any) -> dict[str, Any]:
    place = None if location is None else {"type": "locallocationid", "id": location}
    return builders.success(
        bssid=bssid, associatedAPName=name, locationId=place, timestamp=CLOCK + at, **fields
    )


LOBBY = ("00:11:74:00:00:10", "00:11:74:00:00:20")


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    table_rows.store(
        store,
        "client_events",
        seen(LOBBY[1], "Lobby", 10, 1_000, ssid="staff"),
        seen(LOBBY[0], "Lobby", 10, 2_000, ssid="guests"),
        seen(LOBBY[0], "Lobby", 10, 3_000, ssid="staff"),
        seen("00:11:74:00:00:30", "Lobby", 12, 4_000),  # the same name elsewhere
        seen("00:11:74:00:00:40", None, None, 5_000, ssid=None),
        seen("00:11:74:00:00:50", "Old name", 10, 6_000),
        offset=1,
    )
    # Later, in another block: renamed and moved; without a name the last one stays.
    table_rows.store(
        store,
        "client_events",
        seen("00:11:74:00:00:50", "New name", 13, 7_000),
        seen("00:11:74:00:00:50", None, None, 8_000),
        builders.success(bssid=None),
        offset=2,
    )
    table_rows.store(store, "client_events", seen(LOBBY[0], "Theirs", 10, 0), fleet="other", offset=3)


def macs(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["macaddress"][-2:] for row in answer.json()]


PATHS = [
    f"{base}/{version}/devices/aps" for base in ("", "/new/webservice") for version in ("V5", "V2", "v2")
]


@pytest.mark.parametrize("path", PATHS)
def test_the_radios_of_a_name_and_place_are_one_device(api: Call, path: str) -> None:
    answer = api(path, role="operator")
    assert macs(answer) == ["10", "30", "40", "50"]
    assert answer.headers["x-total-count"] == "4"
    assert "link" not in answer.headers
    assert answer.json()[0] == {
        "macaddress": LOBBY[0],
        "devicename": "Lobby",
        "locationid": 10,
        "ssids": ["guests", "staff"],
        "firstseen": (CLOCK + 1_000) // 1000,
        "lastseen": (CLOCK + 3_000) // 1000,
        "model": None,
        "capabilities": [],
    }


def test_name_and_location_are_those_of_the_newest_event_that_has_them(api: Call) -> None:
    [row] = api(APS, role="operator", params={"macaddress": "00:11:74:00:00:50"}).json()
    assert (row["devicename"], row["locationid"]) == ("New name", 13)
    assert row["lastseen"] == (CLOCK + 8_000) // 1000
    [row] = api(APS, role="operator", params={"macaddress": "001174000040"}).json()
    assert (row["devicename"], row["locationid"], row["ssids"]) == (None, None, [])


def test_hostile_names_come_back_as_they_went_in(api: Call, store: Client) -> None:
    hostile = ["'; DROP TABLE access_points; --", '📶 wi\\fi\t"x"', "\0" * 32, "a,b", "%_{x:String}"]
    bssids = [f"02:00:00:01:00:{n:02x}" for n in range(len(hostile))]
    events = [seen(bssid, text, 98, 0, ssid=text) for bssid, text in zip(bssids, hostile, strict=True)]
    table_rows.store(store, "client_events", *events, offset=8)
    found = api(APS, role="operator", params={"locationid": 98}).json()
    store.command("DELETE FROM access_points WHERE bssid LIKE '02:%'")
    assert [(row["devicename"], row["ssids"]) for row in found] == [(text, [text]) for text in hostile]


PARAMETERS: dict[str, tuple[dict[str, list[str]], list[str]]] = {
    # queries and the devices that each gives, and the values that are refused
    "macaddress": (
        {
            "": ["10", "30", "40", "50"],
            "macaddress=00:11:74:00:00:20": ["10"],
            "macaddress=00:11:74:00:00:20&macaddress=00-11-74-00-00-40": ["10", "40"],
            "macaddress=001174000030": ["30"],
            "macaddress=00:11:74:ff:ff:ff": [],
        },
        ["x", "", "00:11:74"],
    ),
    "locationid": (
        {"locationid=10": ["10"], "locationid=12&locationid=13": ["30", "50"], "locationid=-1": []},
        ["ten", "", "1.5"],
    ),
    "capability": (
        {"capability=49": [], "capability=49&locationid=10&locationid=12&sortcolumn=devicename": []},
        ["a", "", "1.5"],
    ),
    "sortcolumn": (
        {
            "sortcolumn=macaddress": ["10", "30", "40", "50"],
            "sortcolumn=devicename": ["10", "30", "50", "40"],
            "sortcolumn=DeviceName": ["10", "30", "50", "40"],
            "sortcolumn=locationid": ["10", "30", "50", "40"],
            "sortcolumn=firstseen": ["10", "30", "40", "50"],
            "sortcolumn=lastseen": ["10", "30", "40", "50"],
            "sortcolumn=model": ["10", "30", "40", "50"],
        },
        ["fleet", "", "ssids"],
    ),
    "sortascending": (
        {
            "sortascending=true": ["10", "30", "40", "50"],
            "sortascending=false": ["50", "40", "30", "10"],
            "sortcolumn=devicename&sortascending=false": ["50", "10", "30", "40"],
            "sortcolumn=lastseen&sortascending=0": ["50", "40", "30", "10"],
        },
        ["maybe", ""],
    ),
    "limit": ({"limit=2": ["10", "30"], "limit=100": ["10", "30", "40", "50"]}, ["101", "0", "x"]),
    "offset": (
        {"offset=1": ["30", "40", "50"], "offset=1&limit=2": ["30", "40"], "offset=9": []},
        ["-1", "x"],
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter(api: Call, name: str) -> None:
    queries, bad = PARAMETERS[name]
    for query, expected in queries.items():
        assert macs(api(f"{APS}?{query}", role="operator")) == expected, query
    for text in bad:
        answer = api(APS, role="operator", params={name: text})
        assert (answer.status_code, answer.json()["path"]) == (422, name), text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("version", ["V5", "V2", "v2"])
def test_the_headings_of_the_document_are_no_methods(api: Call, version: str, method: str) -> None:
    """Put, Post, Delete and Test stand over one and the same GET."""
    answer = api(f"/{version}/devices/aps", role="administrator", method=method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("role", list(Role))
def test_viewers_read_everything_but_access_points(api: Call, role: Role) -> None:
    allowed = role in (Role.SUPERUSER, Role.ADMINISTRATOR, Role.OPERATOR)
    assert api(APS, role=role).status_code == (200 if allowed else 403)


def test_a_fleet_sees_its_own(api: Call) -> None:
    [row] = api(APS, role="other").json()
    assert row["devicename"] == "Theirs"
    assert len(api(APS, role="superuser").json()) == 5


def test_pages_of_a_large_fleet_lead_to_one_another(api: Call, store: Client) -> None:
    events = [seen(f"02:00:00:00:{n // 256:02x}:{n % 256:02x}", None, 99, n) for n in range(250)]
    table_rows.store(store, "client_events", *events, offset=9)
    link: str = f"{APS}?locationid=99"
    found: list[str] = []
    sizes: list[int] = []
    while link:
        answer = api(link, role="operator")
        assert answer.headers["x-total-count"] == "250"
        found += [row["macaddress"] for row in answer.json()]
        sizes.append(len(answer.json()))
        link = answer.links["next"]["url"] if answer.links else ""
    assert sizes == [100, 100, 50]
    assert found == [event["bssid"] for event in events]
    store.command("DELETE FROM access_points WHERE bssid LIKE '02:%'")


@pytest.fixture
def inventory(settings: Settings, tokens: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "access_points.csv").write_text(
        "fleet,macaddress,devicename,locationid,model,capabilities\n"
        "demo,00:11:74:00:00:1F,Lobby,10,C-130,49 50\n"
        "demo,00:11:74:00:00:40,Cellar,11,,\n"
        "demo,00:11:74:00:00:60,Spare,,C-75,49\n"
        "other,00:11:74:00:00:70,Theirs too,10,C-75,49\n"
    )
    with client_of(settings, tokens["operator"], lookups_dir=str(tmp_path)) as client:
        yield client


def test_the_inventory_adds_to_what_events_show(inventory: httpx.Client) -> None:
    answer = inventory.get(APS)
    assert macs(answer) == ["1f", "30", "40", "50", "60"]
    by_mac = {row["macaddress"][-2:]: row for row in answer.json()}
    assert (by_mac["1f"]["model"], by_mac["1f"]["ssids"]) == ("C-130", ["guests", "staff"])
    assert (by_mac["40"]["devicename"], by_mac["40"]["locationid"]) == ("Cellar", 11)
    assert by_mac["60"]["lastseen"] is None
    assert macs(inventory.get(APS, params={"capability": 49})) == ["1f", "60"]
    assert macs(inventory.get(APS, params={"macaddress": LOBBY[1]})) == ["1f"]
