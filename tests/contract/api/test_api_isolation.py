"""A token of fleet A gets at nothing of fleet B: thousands of generated attempts, none of which answers.

Everything that fleet `other` has carries a mark, in its SSIDs, names and values. No answer to a token of
fleet `demo` may hold the mark, whatever was asked; and what names a thing of `other` alone is a 404 or empty.
The counts of `demo` stay what they are.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import export_formats
import httpx
import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from gateways import prepare_topics

import builders
from tidegate.api.associations import File
from tidegate.api.device_logs import Cursor
from tidegate.api.signing import Signer
from tidegate.api.statistics.calls import CALLS
from tidegate.contracts.position import Position
from tidegate.local.broker import Broker
from tidegate.settings import Settings
from tidegate.store.queries import DeviceLogs, Mark
from tidegate.store.statistics import DIMENSIONS, METRICS, countable
from tidegate.tokens import Role

Call = Callable[..., httpx.Response]

ATTEMPTS = 7_500  # and 2,500 in test_pages_isolation
SECRET = "theirs-7f3a"  # the mark
CLOCK = 1_763_700_000_000_000  # µs
THEIR_MAC = "02:00:00:00:0b:01"
SHARED_MAC = "02:00:00:00:0b:02"  # known in both fleets
THEIR_BSSID = "02:11:74:00:0b:01"
LOCATION = 4711
ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR)

QUOTES = (
    "' OR 1=1 --",
    "') OR ('1'='1",
    "'; DROP TABLE client_events; --",
    "' UNION ALL SELECT * FROM client_events --",
    "{fleet:String}",
    "{mac:String}",
    "%",
    "_",
    "*",
    "\\",
    "\\'",
    "\0",
    "other",
    "' OR fleet = 'other",
    "\u2019 OR 1=1",
    "$(id)",
    "toString(1)",
    "0 OR 1=1",
    "1) OR (1=1",
    "-1",
    "NULL",
    '"',
    "`fleet`",
    "/**/",
    "\r\nX-Fleet: other",
)
HEADERS: tuple[dict[str, str], ...] = (
    {},
    *({name: "other"} for name in ("x-fleet", "fleet", "x-tenant", "x-tidegate-fleet", "x-scope-orgid")),
    {"x-forwarded-user": "other", "x-forwarded-host": "other"},
    {"x-original-url": "/V5/devices/aps?fleet=other", "x-rewrite-url": "/V5/devices/aps?fleet=other"},
    {"x-http-method-override": "GET", "x-clickhouse-user": "default", "x-clickhouse-database": "tidegate"},
    {"cookie": "fleet=other; role=superuser"},
    {"x-role": "superuser", "x-device-id": "device-b"},
)
EXTRA_PARAMETERS = (
    {"fleet": "other"},
    {"fleet": ""},
    {"fleet[]": "other"},
    {"param_fleet": "other"},
    {"role": "superuser"},
    {"database": "system"},
    {"readonly": "0"},
    {"query": "SELECT * FROM client_events"},
    {"token": "superuser"},
)


@pytest.fixture(scope="module", autouse=True)
def events(store: Client) -> None:
    place = {"type": "locallocationid", "id": LOCATION}
    marked = {"ssid": SECRET, "associatedAPName": SECRET, "locationId": place, "bssid": THEIR_BSSID}
    for fleet, offset in (("other", 1), ("demo", 2)):
        fields = marked if fleet == "other" else {}
        macs = (THEIR_MAC, SHARED_MAC) if fleet == "other" else (SHARED_MAC,)
        table_rows.store(
            store,
            "client_events",
            *(
                make(macAddress=mac, timestamp=CLOCK + n, **fields)
                for mac in macs
                for n, make in enumerate((builders.success, builders.failure, builders.intermediate))
            ),
            fleet=fleet,
            offset=offset,
        )
        device = (
            {"id": "device-b", "name": SECRET} if fleet == "other" else {"id": "device-a", "name": "ours"}
        )
        text = SECRET if fleet == "other" else "ours"
        table_rows.store(
            store,
            "device_logs",
            *(builders.device_log(parent=device, variable_name=text, new_value=text) for _ in range(3)),
            fleet=fleet,
            offset=offset,
        )
        for stream in ("client_events", "device_logs"):
            table_rows.plan(store, stream, offset)


@pytest.fixture(scope="module")
def bootstrap(embedded_broker: Broker) -> str:
    prepare_topics(embedded_broker.bootstrap)
    return embedded_broker.bootstrap


def ids(stream: Any) -> list[str]:
    """Ids of rows of fleet `other`, and near misses."""
    return [
        Position(table_rows.EPOCH, stream, 0, offset, index).id() for offset in (1, 3) for index in range(5)
    ]


def cursors(pick: random.Random, signer: Signer) -> Iterator[str]:
    """Cursors of fleet `other` and of every fleet, signed as the API would, and made up."""
    while True:
        mark = Mark(
            pick.choice([0, CLOCK, builders.RECEIVED_AT, 2**53]), pick.choice([*ids("device_logs"), *QUOTES])
        )
        yield Cursor(pick.choice(["older", "newer"]), mark).text(
            signer, DeviceLogs(fleet=pick.choice(["other", None]))
        )
        raw = json.dumps([pick.choice(["o", "n", "fleet"]), CLOCK, pick.choice(QUOTES), "other"])
        yield base64.urlsafe_b64encode(raw.encode()).decode()


def file_names(pick: random.Random, signer: Signer) -> Iterator[str]:
    """Names of files of `other`, of every fleet, and of fleets that an injection would name."""
    while True:
        file = File(
            pick.choice(["other", "", "Other", "other\0", "%", "demo' OR fleet = 'other", "demo\nother"]),
            0,
            pick.choice([CLOCK + 10**9, 2**52]),
            time.time_ns() // 1000,
            pick.choice(["", "k1", "k9"]),
            pick.choice([None, [LOCATION]]),
        )
        yield file.name(pick.choice(["CSV", "JSON"]), signer)


def macs(pick: random.Random) -> str:
    mac = pick.choice([THEIR_MAC, SHARED_MAC, THEIR_BSSID])
    spelling = pick.choice(
        [mac, mac.upper(), mac.replace(":", "-"), mac.replace(":", ""), mac + "\0", f" {mac}"]
    )
    return pick.choice([spelling, mac + pick.choice(QUOTES), pick.choice(QUOTES)])


def value(pick: random.Random) -> str:
    return pick.choice([*QUOTES, SECRET, "device-b", str(LOCATION), THEIR_MAC, str(CLOCK), "Success", "true"])


def mostly(pick: random.Random, values: Sequence[str]) -> str:
    """One that is taken, or a hostile one."""
    return pick.choice(values if pick.random() < 0.8 else QUOTES)


EXPORTED = ("client", "logs", "device", "aps")


def attempts(signer: Signer) -> Iterator[tuple[str, dict[str, str], Role]]:
    """Paths with their queries, headers and the role that asks; the same at each run."""
    pick = random.Random(20_251_121)
    cursor, name = cursors(pick, signer), file_names(pick, signer)
    filters = {
        "client": [
            "locationid",
            "ssid",
            "failureoreventtypecode",
            "protocol",
            "eventcategory",
            "totalcountrequired",
        ],
        "logs": ["failuretype", "logtype", "limit", "fromtime"],
        "device": ["parent__id", "variable_name", "action", "datetime__gte", "is_pending"],
        "aps": ["macaddress", "locationid", "capability", "sortcolumn"],
        "data": ["location", "format", "tohashmac"],
        "stats": ["fleet", "site", "ssid", "ap", "stage", "outcome", "failure_code", "from", "step", "limit"],
    }
    while True:
        kind = pick.choice([*filters, "event", "entry", "file"])
        base = pick.choice(["", "/new/webservice"])
        query: dict[str, str] = {}
        if kind == "client":
            path = f"{base}/V5/devices/clientevents/{quote(macs(pick), safe='')}/0/100"
        elif kind == "logs":
            path, query = f"{base}/V5/devices/clients/connectionlogs", {"clientmacaddress": macs(pick)}
        elif kind == "device":
            path, query = (
                "/api/v1/inventory_device_log/",
                {"cursor": next(cursor)} if pick.random() < 0.6 else {},
            )
        elif kind == "aps":
            path = f"{base}/{pick.choice(['V5', 'V2', 'v2'])}/devices/aps"
        elif kind == "data":
            end = quote(pick.choice(["2100-01-01", value(pick)]), safe="")
            path = f"{base}/V2/analytics/associationdata/2000-01-01/{end}"
        elif kind == "stats":
            stream = pick.choice([*DIMENSIONS])
            path = f"/api/v1/stats/{stream}/{pick.choice([*CALLS])}"
            query = {
                "from": "2000-01-01",
                "to": "2100-01-01",
                "by": mostly(pick, DIMENSIONS[stream]),
            }
            query |= pick.choice(
                [
                    {"metric": mostly(pick, [*METRICS[stream]])},
                    {"of": mostly(pick, countable(stream))},
                    {},
                ]
            )
        elif kind == "event":
            found = pick.choice([*ids("client_events"), *ids("device_logs"), *QUOTES])
            path = f"/api/v1/events/{quote(found, safe='')}"
        elif kind == "entry":
            path = (
                f"/api/v1/inventory_device_log/{quote(pick.choice([*ids('device_logs'), *QUOTES]), safe='')}/"
            )
        else:
            path = f"{base}/V2/analytics/files/{next(name)}"
        for parameter in pick.sample(
            filters.get(kind, []), k=min(len(filters.get(kind, [])), pick.randrange(3))
        ):
            query[parameter] = value(pick)
        if kind in EXPORTED and pick.random() < 0.4:
            query["format"] = mostly(pick, export_formats.FORMATS)
        if pick.random() < 0.4:
            query |= pick.choice(EXTRA_PARAMETERS)
        yield f"{path}?{urlencode(query)}" if query else path, pick.choice(HEADERS), pick.choice(ROLES)


def test_the_owner_sees_what_nobody_else_may(api: Call) -> None:
    """Without this the mark could be missing everywhere for another reason."""
    assert SECRET in api(f"/V5/devices/clientevents/{THEIR_MAC}/0/9", role="other").text
    assert SECRET in api("/api/v1/inventory_device_log/", role="other").text
    assert SECRET in api("/V5/devices/aps", role="other").text
    assert api(f"/api/v1/events/{ids('client_events')[0]}", role="other").json()["status"] == "stored"
    assert api(f"/api/v1/inventory_device_log/{ids('device_logs')[0]}/", role="other").status_code == 200
    uri = api("/V2/analytics/associationdata/2000-01-01/2100-01-01", role="other").text
    assert SECRET in api(uri, role="other").text
    period = {"from": "2000-01-01", "to": "2100-01-01"}
    for call in CALLS:
        answer = api(f"/api/v1/stats/client_events/{call}", role="other", params={**period, "by": "ssid"})
        assert SECRET in answer.text
    for format in export_formats.FORMATS:
        answer = api("/V5/devices/aps", role="other", params={"format": format})
        assert SECRET in text_of(answer)


def rows_of(body: Any) -> str:
    """The rows of an answer, without what it repeats of the question."""
    sections = ("clientEvents", "successLogs", "failureLogs", "results", "rows")
    return json.dumps([body.get(section) for section in sections] if isinstance(body, dict) else body)


def export_of(answer: httpx.Response) -> str | None:
    """The format of an answer that is an export."""
    formats = {media_type: format for format, media_type in export_formats.MEDIA_TYPES.items()}
    return formats.get(answer.headers["content-type"])


def text_of(answer: httpx.Response) -> str:
    """What an answer says; exports read back, since Arrow and Parquet pack their text."""
    format = export_of(answer)
    return answer.text if format is None else str(export_formats.rows(format, answer.content))


@pytest.mark.timeout(900)  # thousands of requests, on a machine that may be busy
def test_no_attempt_of_another_fleet_answers(api: Call, settings: Settings) -> None:
    statuses: dict[int, int] = {}
    exports = stats = 0
    for path, headers, role in itertools.islice(attempts(Signer(settings.link_key_path)), ATTEMPTS):
        answer = api(path, role=role, headers=headers)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        leak = [header for header in answer.headers.values() if SECRET in header]
        # A refusal quotes what was asked, a link keeps the query: what the asker said is no leak.
        repeats = SECRET in path and export_of(answer) is None
        told = rows_of(answer.json()) if repeats else text_of(answer)
        assert SECRET not in told and not leak, (path, headers, role)
        assert answer.status_code < 500, (path, headers, answer.text)
        if answer.status_code != 200:
            continue
        if "/events/" in path:
            # Beyond what the sink has come to, an id tells of nothing but its own place in the log.
            assert answer.json()["status"] == "pending", path
        elif (format := export_of(answer)) is not None:
            exports += 1
            rows = export_formats.rows(format, answer.content)
            assert len(rows) <= 3 and all(row.get("fleet", "demo") == "demo" for row in rows), path
        elif "/stats/" in path:
            stats += 1
            for row in answer.json()["rows"]:
                assert row["events"] <= 3 and row["group"].get("fleet", "demo") == "demo", path
                assert row.get("clients", 0) <= 1 and not row.get("distinct", {}).get("ssid", 0) > 2, path
        elif "/aps" in path:
            assert int(answer.headers["x-total-count"]) <= 1, path
        elif path.startswith("/api/v1/inventory_device_log/?"):
            assert answer.json()["count"] <= 3, path
        elif "clientevents" in path and answer.json()["totalCount"] is not None:
            assert answer.json()["totalCount"] <= 3, path
        assert "/files/" not in path, path
    assert statuses.keys() <= {200, 400, 403, 404, 422}, statuses
    assert min(statuses[200], statuses[404], statuses[422]) > ATTEMPTS / 20, statuses
    assert min(exports, stats) > ATTEMPTS / 100, (exports, stats)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer other", "Basic b3RoZXI6", "Bearer null", "Bearer *"]
)
def test_no_token_gets_nothing(api: Call, settings: Settings, authorization: str) -> None:
    for path, headers, _ in itertools.islice(attempts(Signer(settings.link_key_path)), 40):
        answer = api(path, role=None, headers={**headers, "authorization": authorization})
        assert answer.status_code in (401, 404), path
        assert SECRET not in answer.text or SECRET in path
