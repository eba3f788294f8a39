"""`/V2/analytics/associationdata/…`: the URI of a file, and the file."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import table_rows
from api_server import client_of
from clickhouse_connect.driver.client import Client

import builders
from tidegate import keyfile, pseudonyms
from tidegate.api.associations import File
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.api.signing import Signer
from tidegate.settings import Settings
from tidegate.store.associations import COLUMNS
from tidegate.tokens import READERS, Role

Call = Callable[..., httpx.Response]
DATA = "/V2/analytics/associationdata"
HOSTILE = ["'; DROP TABLE client_events; --", '📶 wi\\fi\t"x"', "\0" * 32, "a,b\nc", "=cmd()"]
ROAMER, STAYER, HOSTILE_MAC = "02:00:00:00:01:01", "02:00:00:00:01:02", "02:00:00:00:01:03"
NOON = 1_763_640_000  # 2025-11-20 12:00:00 UTC
LOCATION = {"type": "locallocationid", "id": 95}


def joined(mac: str, at: int, **fields: Any) -> dict[str, Any]:
    """An association at `at` seconds past noon, told of two seconds later."""
    moment = (NOON + at) * 1000
    return builders.success(
        macAddress=mac,
        timestamp=(moment + 2000) * 1000,
        associationTimestamp=moment,
        **{"ssid": "net", "locationId": LOCATION, **fields},
    )


def left(mac: str, at: int) -> dict[str, Any]:
    return builders.intermediate(
        macAddress=mac, timestamp=(NOON + at) * 1_000_000, eventDescription="Disassociation"
    )


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    table_rows.store(
        store,
        "client_events",
        joined(ROAMER, 0, bwDownload=3000, bwUpload=500),
        builders.intermediate(macAddress=ROAMER, timestamp=(NOON + 5) * 1_000_000),  # ends nothing
        joined(ROAMER, 60, ssid="other", locationId={"type": "locallocationid", "id": 7}),
        left(ROAMER, 3661),
        builders.failure(macAddress=ROAMER, timestamp=(NOON + 4000) * 1_000_000),
        joined(STAYER, 86_400 - 43_200, smartDeviceType="Phone", domainsAccessed="a.example"),
        *(joined(HOSTILE_MAC, -86_400 * 30 + n, ssid=ssid) for n, ssid in enumerate(HOSTILE)),
        offset=1,
    )
    table_rows.store(store, "client_events", joined(ROAMER, 30, ssid="theirs"), fleet="other", offset=2)


def fetch(api: Call, path: str, role: str = "viewer", **params: Any) -> httpx.Response:
    """Both steps."""
    uri = api(path, role=role, params=params or None)
    assert uri.status_code == 200, uri.text
    assert uri.headers["content-type"].startswith("text/plain")
    answer = api(str(uri.url.join(uri.text)), role=role)
    assert answer.status_code == 200, answer.text
    return answer


def lines(answer: httpx.Response) -> list[list[str]]:
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert tuple(head) == COLUMNS
    return rows


def ssids(answer: httpx.Response) -> list[str]:
    return [row[1] for row in lines(answer)]


@pytest.mark.parametrize("base", ["", "/new/webservice"])
def test_an_association_ends_with_the_next_or_the_disassociation(api: Call, base: str) -> None:
    answer = fetch(api, f"{base}{DATA}/2025-11-20/2025-11-20")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    start, end = "11/20/2025 12:00:00", "11/20/2025 12:01:00"
    assert lines(answer) == [
        [ROAMER, "net", start, start, end, "60", "3500", "", ""],
        [ROAMER, "other", end, end, "11/20/2025 13:01:01", "3601", "", "", ""],
    ]


def test_what_has_not_ended_is_open(api: Call) -> None:
    [row] = lines(fetch(api, f"{DATA}/2025-11-21/2025-11-21"))
    assert row == [STAYER, "net", *["11/21/2025 00:00:00"] * 2, "", "", "", "Phone", "a.example"]


def test_json_has_the_same_rows(api: Call) -> None:
    rows = lines(fetch(api, f"{DATA}/2025-11-20/2025-11-21"))
    answer = fetch(api, f"{DATA}/2025-11-20/2025-11-21", format="json")
    assert answer.headers["content-type"] == "application/json"
    assert [list(row) for row in answer.json()] == [list(COLUMNS)] * 3
    assert [["" if v is None else str(v) for v in row.values()] for row in answer.json()] == rows


@pytest.mark.parametrize("format", ["CSV", "JSON"])
def test_a_period_without_associations(api: Call, format: str) -> None:
    answer = fetch(api, f"{DATA}/2001-01-01/2001-01-02", format=format)
    assert (answer.json() if format == "JSON" else lines(answer)) == []


@pytest.mark.parametrize("format", ["CSV", "JSON"])
def test_hostile_ssids_come_back_as_they_went_in(api: Call, format: str) -> None:
    answer = fetch(api, f"{DATA}/2025-10-01/2025-10-31", format=format, csv_safe="false")
    found = [row["SSID"] for row in answer.json()] if format == "JSON" else ssids(answer)
    assert found == HOSTILE


def test_clients_by_a_pseudonym(api: Call, settings: Settings) -> None:
    rows = lines(fetch(api, f"{DATA}/2025-11-20/2025-11-20", tohashmac="true"))
    keys = keyfile.load(settings.pseudonym_key_path)
    assert [row[0] for row in rows] == [pseudonyms.of_mac(keys, "demo", ROAMER)] * 2
    documents = fetch(api, f"{DATA}/2025-11-20/2025-11-20", tohashmac="true", format="JSON").json()
    assert [one["Client MAC"] for one in documents] == [row[0] for row in rows]


PARAMETERS: dict[str, tuple[dict[str, list[str]], list[str]]] = {
    # what comes behind the path, the SSIDs of the file, and what is refused by this parameter's name
    "startdate": (
        {
            f"{NOON}/2025-11-20": ["net", "other"],
            f"{NOON + 1}/2025-11-20": ["other"],
            f"{NOON + 60}000/2025-11-20": ["other"],
            f"{NOON + 61}000/2025-11-20": [],
            "2025-11-20/2025-11-20": ["net", "other"],
            "2025-11-20T13:00:01+01:00/2025-11-20": ["other"],
            "2025-11-20 12:00:01/2025-11-20": ["other"],
        },
        ["yesterday/2025-11-20", "99999999999999999999/2025-11-19", "-1/2025-11-20", "2025-13-01/2025-11-20"],
    ),
    "enddate": (
        {
            f"2025-11-20/{NOON}": ["net"],
            f"2025-11-20/{NOON + 60}000": ["net", "other"],
            "2025-11-20/2025-11-20": ["net", "other"],
            "2025-11-20/2025-11-20T12:00:59Z": ["net"],
            "2025-11-20/2025-11-20 12:01:00": ["net", "other"],
            "2025-11-19/2025-11-19": [],
        },
        ["2025-11-20/2025-13-01", "2025-11-20/-1", "2025-11-20/2025-11-19", "2025-11-20/tomorrow"],
    ),
    "format": (
        {
            "2025-11-20/2025-11-20?format=CSV": ["net", "other"],
            "2025-11-20/2025-11-20?format=csv": ["net", "other"],
        },
        ["2025-11-20/2025-11-20?format=XML", "2025-11-20/2025-11-20?format="],
    ),
    "tohashmac": (
        {f"2025-11-20/2025-11-20?tohashmac={text}": ["net", "other"] for text in ("true", "false", "1", "0")},
        ["2025-11-20/2025-11-20?tohashmac=perhaps", "2025-11-20/2025-11-20?tohashmac="],
    ),
    "location": (
        {
            "2025-11-20/2025-11-20?location=95": ["net"],
            "2025-11-20/2025-11-20?location=95&location=7": ["net", "other"],
            "2025-11-20/2025-11-20?location=-1": [],
        },
        ["2025-11-20/2025-11-20?location=here", "2025-11-20/2025-11-20?location="],
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter(api: Call, name: str) -> None:
    paths, bad = PARAMETERS[name]
    for path, expected in paths.items():
        answer = fetch(api, f"{DATA}/{path}")
        assert ssids(answer) == expected, path
        hashed = path.endswith(("tohashmac=true", "tohashmac=1"))
        assert all(row[0] != ROAMER if hashed else row[0] == ROAMER for row in lines(answer))
    for path in bad:
        answer = api(f"{DATA}/{path}")
        assert (answer.status_code, answer.json()["path"]) == (422, name), path


FIRST = {
    "Client MAC": ROAMER,
    "SSID": "net",
    "Association Start Time (GMT)": "11/20/2025 12:00:00",
    "Association Start Time (Local)": "11/20/2025 12:00:00",
    "Association End Time (Local)": "11/20/2025 12:01:00",
    "Session Duration": "60",
    "Data Rate (kbps)": "3500",
}
OPEN = {"Smart Device Type": "Phone", "Domains Accessed": "a.example"}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column(api: Call, column: str) -> None:
    day = "2025-11-20" if column in FIRST else "2025-11-21"
    row = lines(fetch(api, f"{DATA}/{day}/{day}"))[0]
    expected = (FIRST | OPEN)[column]
    assert row[COLUMNS.index(column)] == expected
    found = fetch(api, f"{DATA}/{day}/{day}", format="JSON").json()[0][column]
    assert str(found) == expected


@pytest.mark.parametrize("role", list(Role))
def test_readers_read_it(api: Call, role: Role) -> None:
    expected = 200 if role in READERS else 403
    uri = api(f"{DATA}/2025-11-20/2025-11-20", role="superuser").text
    assert api(f"{DATA}/2025-11-20/2025-11-20", role=role).status_code == expected
    demo = api(f"{DATA}/2025-11-20/2025-11-20", role="operator").text
    assert api(demo, role=role).status_code == expected
    all_fleets = 404 if role in READERS else 403
    assert api(uri, role=role).status_code == (200 if role is Role.SUPERUSER else all_fleets)


def test_a_superuser_sees_every_fleet(api: Call) -> None:
    path = f"{DATA}/2025-11-20/2025-11-20"
    assert ssids(fetch(api, path, role="superuser")) == ["net", "other", "theirs"]
    theirs = api(path, role="other").text
    assert ssids(api(theirs, role="superuser")) == ["theirs"]
    assert api(theirs, role="operator").status_code == 404


def test_a_file_expires_and_does_not_change(api: Call, store: Client, settings: Settings) -> None:
    now = time.time_ns() // 1000
    file = File("demo", 0, now, now, "", [7])
    signer = Signer(settings.link_key_path)
    assert ssids(api("/V2/analytics/files/" + file.name("CSV", signer))) == ["other"]
    for made_at in (now - (settings.api_association_file_seconds + 1) * 1_000_000, now + 3_600_000_000):
        name = file._replace(made_at=made_at).name("CSV", signer)
        assert api("/V2/analytics/files/" + name).status_code == 404
    later = joined(ROAMER, 70, ssid="later", locationId={"type": "locallocationid", "id": 7})
    table_rows.store(store, "client_events", later, offset=3, received_at=now + 1)
    assert ssids(api("/V2/analytics/files/" + file.name("CSV", signer))) == ["other"]
    store.command("DELETE FROM client_events WHERE ssid = 'later'")


@pytest.mark.parametrize("name", ["x.csv", ".csv", "W10.csv", "e30.json", "WyJhIl0.csv", "%00.csv", "x.xml"])
def test_a_name_that_was_never_given_is_not_found(api: Call, name: str) -> None:
    assert api(f"/V2/analytics/files/{name}").status_code == 404


def test_a_limit_that_is_hit_before_the_first_row_has_its_status(
    settings: Settings, store: Client, tokens: dict[str, str]
) -> None:
    with client_of(settings, tokens["viewer"], api_query_memory_bytes=10_000) as client:
        answer = client.get(client.get(f"{DATA}/2025-11-20/2025-11-20").text)
    assert (answer.status_code, answer.json()["code"]) == (503, "query_memory")


def test_what_breaks_off_in_the_middle_has_no_proper_end(
    settings: Settings, store: Client, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file must not pass for a whole one."""
    whole = Reading.pieces

    async def half(*arguments: Any) -> AsyncGenerator[bytes, None]:
        async for piece in whole(*arguments):
            yield piece
            raise Problem("store_away")

    monkeypatch.setattr(Reading, "pieces", half)
    with client_of(settings, tokens["viewer"]) as client:
        uri = client.get(f"{DATA}/2025-11-20/2025-11-20").text
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            client.get(uri)


@pytest.fixture
def abroad(settings: Settings, tokens: dict[str, str], tmp_path: Path) -> Iterator[Call]:
    (tmp_path / "sites.csv").write_text(
        "fleet,location_id,name,latitude,longitude,timezone\n"
        "demo,95,Riverside,,,America/New_York\ndemo,7,Pune,,,Asia/Kolkata\nother,95,X,,,Asia/Tokyo\n"
    )
    with client_of(settings, None, lookups_dir=str(tmp_path)) as client:
        yield lambda path, *, role, **request: client.get(
            path, headers={"authorization": f"Bearer {tokens[role]}"}, **request
        )


def test_local_times_are_those_of_the_site(abroad: Call) -> None:
    rows = lines(fetch(abroad, f"{DATA}/2025-11-20/2025-11-20", role="superuser"))
    assert [row[2:5] for row in rows] == [
        ["11/20/2025 12:00:00", "11/20/2025 07:00:00", "11/20/2025 07:01:00"],
        ["11/20/2025 12:01:00", "11/20/2025 17:31:00", "11/20/2025 18:31:01"],
        ["11/20/2025 12:00:30", "11/20/2025 21:00:30", ""],
    ]
    [summer, *_] = lines(fetch(abroad, f"{DATA}/2025-10-20/2025-10-31", role="viewer"))
    assert summer[2:4] == ["10/21/2025 12:00:00", "10/21/2025 08:00:00"]
