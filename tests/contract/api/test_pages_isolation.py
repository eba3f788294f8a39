"""Whoever reads fleet `demo` gets at nothing of fleet `other` over pages, live events and exports.

Thousands of generated attempts, of every role, with names, ids, cookies and forms of the other fleet, at the
application as it is (without sockets) over a real store. What `other` has carries marks, and so many events
at a site that both fleets have that a count without its fleet shows. An answer may hold no mark but those
that the request itself named, and no such count.
"""

from __future__ import annotations

import asyncio
import csv
import html
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import export_formats
import msgspec
import pytest
import table_rows
from alert_documents import alert
from clickhouse_connect.driver.client import Client
from databases import settings_of
from fastapi import FastAPI
from starlette.requests import Request

import builders
from api.test_api_isolation import HEADERS, QUOTES
from tidegate.api.app import build
from tidegate.api.sessions import COOKIE, FLEET_COOKIE, Sessions
from tidegate.api.signing import Signer
from tidegate.contracts.alerts import Impact
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.lookups import load
from tidegate.notify.outbox import Outbox
from tidegate.settings import Settings
from tidegate.store import alerts, deliveries
from tidegate.store.insert import insert
from tidegate.tokens import Role, TokenFile
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import Endpoint, EndpointFile

ATTEMPTS = 2_500
AT_ONCE = 12
LIVE_EVERY = 40  # attempts; one that follows the events waits for the next of them

SITE, SHARED_SITE = "Theirs-HQ-7f3a", "Toronto"
SSID, AP, RULE = "theirs-ssid-7f3a", "theirs-ap-7f3a", "theirs-rule-7f3a"
MAC, BSSID, SHARED_MAC = "a4:83:e7:99:7f:3a", "00:11:74:99:7f:3a", "a4:83:e7:00:00:02"
DEVICE, VALUE = "theirs-device-7f3a", "theirs-value-7f3a"
ALERT, INCIDENT, BY = "theirs-alert-7f3a", "theirs-incident-7f3a", "theirs-by-7f3a"
SUMMARY = "theirs-summary-7f3a"
HOOK, HOST, ERROR, TOKEN = "theirs-hook-7f3a", "theirs-host-7f3a", "theirs-error-7f3a", "theirs-token-7f3a"
MARKS = frozenset(
    (SITE, SSID, AP, RULE, MAC, BSSID, DEVICE, VALUE, ALERT, INCIDENT, BY, SUMMARY, HOOK, HOST, ERROR, TOKEN)
)
MANY = 4321
"""Events of `other` at the site that both have; `demo` has no number near it."""
_MANY_SHOWN = re.compile(r"\b[48],[36]\d\d\b")  # with what else it has there, once or twice
COUNTS = frozenset(("attempts", "failures", "events", "clients", "clients_seen", "total"))

ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR)
REFUSED = {400, 401, 403, 404, 405, 409, 422}


class Place(NamedTuple):
    app: FastAPI
    settings: Settings
    cookies: dict[str, str]  # of sessions, by role; `other` of the other fleet's administrator
    csrf: dict[str, str]
    notice: str  # the other fleet's
    hook: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Attempt(NamedTuple):
    method: str
    path: str  # with its query
    headers: dict[str, str]
    fields: dict[str, str] | None
    named: frozenset[str]  # marks that it tells itself
    logged_in: bool


@pytest.fixture(scope="module")
def settings(
    clickhouse: ClickHouseServer, bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    roles = ("gateway", "worker", "sink", "notify", "api")
    return settings_of(
        clickhouse,
        **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in roles},
        data_dir=str(tmp_path_factory.mktemp("pages")),
        kafka_bootstrap=bootstrap,  # nobody: a form that was let through would be told that Kafka is away
        webhook_allow="127.0.0.1",
        **{f"api_exports{of}": 2 * AT_ONCE for of in ("", "_per_fleet", "_per_token")},
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all, since the application's connections are of one."""
    with asyncio.Runner() as found:
        yield found


@pytest.fixture(scope="module")
def place(settings: Settings, store: Client, runner: asyncio.Runner) -> Iterator[Place]:
    notice = seed(store, settings, Path(settings.data_dir))
    endpoints = EndpointFile(settings.webhooks_path)
    hook = endpoints.create(
        HOOK, fleet="other", format="standard", url=f"https://127.0.0.1/{HOST}", allow=allowed("127.0.0.1")
    )
    endpoints.create(
        "ours", fleet="demo", format="standard", url="https://127.0.0.1/ours", allow=allowed("127.0.0.1")
    )
    file = TokenFile(settings.tokens_path)
    made = {role.value: file.create(role.value, fleet="demo", role=role) for role in ROLES}
    made["other"] = file.create(TOKEN, fleet="other", role=Role.ADMINISTRATOR)
    app = build(settings)
    sessions: Sessions = app.state.sessions
    tokens: TokenFile = app.state.tokens
    cookies, csrf = {}, {}
    for name, text in made.items():
        token = tokens.lookup(text)
        assert token is not None
        cookies[name] = sessions.begin(token)
        person = sessions.person(_request(app, {"cookie": f"{COOKIE}={cookies[name]}"}))
        assert person is not None
        csrf[name] = sessions.csrf(person)
    yield Place(app, settings, cookies, csrf, notice, hook.endpoint.id)

    async def end() -> None:
        async with app.router.lifespan_context(app):
            pass

    runner.run(end())


def _request(app: FastAPI, headers: dict[str, str]) -> Request:
    return Request(scope_of(app, "GET", "/", headers))


def seed(store: Client, settings: Settings, folder: Path) -> str:
    """Both fleets at a site of one name; one of the other's alone. The id of a notice to the other."""
    with (folder / "sites.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(("fleet", "location_id", "name", "latitude", "longitude", "timezone"))
        for fleet in ("demo", "other"):
            table.writerow((fleet, 1, SHARED_SITE, 43.6, -79.4, "UTC"))
        table.writerow(("other", 9, SITE, -33.9, 151.2, "UTC"))
    lookups, table_rows.LOOKUPS = table_rows.LOOKUPS, load(str(folder))
    try:
        _events(store)
    finally:
        table_rows.LOOKUPS = lookups
    database, now = settings.clickhouse_database, int(time.time())
    told = []
    for fleet in ("demo", "other"):
        theirs = fleet == "other"
        changes: dict[str, Any] = {"id": "ours-1", "incident": "ours-incident", "summary": "Ours"}
        if theirs:
            changes = {"id": ALERT, "incident": INCIDENT, "summary": SUMMARY, "rule": RULE, "by": BY}
        found = alert(
            fleet=fleet,
            site=SITE if theirs else SHARED_SITE,
            started_at=iso(now - 500),
            updated_at=iso(now - 60),
            impact=impact(MANY if theirs else 20),
            **changes,
        )
        insert(store, database, alerts.block([found], ""), found.id)
        endpoint = _endpoint(HOOK if theirs else "ours", fleet)
        box = Outbox(lambda: 0.0)
        entries = box.owe(endpoint, found, 0, float(now))
        failed = [each._replace(outcome="failed", error=ERROR if theirs else "down") for each in entries]
        insert(store, database, deliveries.block(failed), token="")
        told.append(entries[0].webhook_id)
    return told[1]


def impact(many: int) -> Impact:
    return Impact(many, many, 0.004, many, many, 1, 1)


def _endpoint(name: str, fleet: str) -> Endpoint:
    return Endpoint(id=f"we_{name}", name=name, fleet=fleet, format="standard", url="https://127.0.0.1/")


def _events(store: Client) -> None:
    now = int(time.time()) // 60 * 60
    here = {"type": "locallocationid", "id": 1}
    common = {"locationId": here, "ssid": "eduroam", "associatedAPName": "AP1"}
    reason = {"failureCode": 902, "failure": "RADIUS", "subFailureCode": 1, "subFailure": "no answer"}
    for offset, ago in enumerate((3600, 300, 120), 1):
        at = (now - ago) * 1_000_000
        ours = [
            builders.failure(macAddress=f"a4:83:e7:00:00:{n:02x}", timestamp=at, **common, **reason)
            if n % 2
            else builders.success(macAddress=f"a4:83:e7:00:00:{n:02x}", timestamp=at, **common)
            for n in range(20)
        ]
        table_rows.store(store, "client_events", *ours, offset=offset, received_at=at + 1_000_000)
    at = (now - 120) * 1_000_000
    marked = {
        "locationId": {"type": "locallocationid", "id": 9},
        "ssid": SSID,
        "associatedAPName": AP,
        "bssid": BSSID,
    }
    theirs = [
        *(make(macAddress=MAC, timestamp=at, **marked) for make in (builders.success, builders.intermediate)),
        *(builders.failure(macAddress=MAC, timestamp=at + n, **marked, **reason) for n in range(40)),
        builders.failure(macAddress=SHARED_MAC, timestamp=at, **marked, **reason),
        *(
            builders.failure(
                macAddress=f"a4:83:e8:00:{n >> 8:02x}:{n & 255:02x}", timestamp=at, **common, **reason
            )
            for n in range(MANY)
        ),
    ]
    table_rows.store(store, "client_events", *theirs, fleet="other", offset=9, received_at=at + 1_000_000)
    for fleet, name, value in (("demo", "AP1", "ours"), ("other", DEVICE, VALUE)):
        log = builders.device_log(
            datetime=iso(now - 600), action="config_change", variable_name=value, new_value=value
        )
        log["parent"] = {"id": name, "name": name, "model": "C", "location": SHARED_SITE}
        offset = 1 if fleet == "demo" else 2
        received = (now - 590) * 1_000_000
        table_rows.store(store, "device_logs", log, fleet=fleet, offset=offset, received_at=received)
    table_rows.plan(store, "client_events", 9)
    table_rows.plan(store, "device_logs", 2)


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# --- one request, without a socket


def scope_of(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    sent = {"host": "127.0.0.1:8081", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw, "latin-1"),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8081),
        "app": app,
    }


async def ask(app: FastAPI, attempt: Attempt) -> Answer:
    """What the application answers; of one that goes on for ever, the beginning, with the first overview."""
    body = b"" if attempt.fields is None else urlencode(attempt.fields).encode()
    headers = dict(attempt.headers)
    if attempt.fields is not None:
        headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()
    status, found = 0, {}
    received = bytearray()

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            found.update({name.decode(): value.decode("latin-1") for name, value in message["headers"]})
            return
        received.extend(message.get("body", b""))
        if b"event: overview" in received:
            gone.set()

    scope = scope_of(app, attempt.method, attempt.path, headers)
    await app(scope, receive, send)  # type: ignore[arg-type]
    return Answer(status, found, bytes(received))


# --- what is tried


def named(pick: random.Random) -> tuple[str, frozenset[str]]:
    """Something of the other fleet's, of both, or hostile; and the marks that it tells."""
    text = pick.choice([*MARKS, MAC.upper(), MAC.replace(":", "-"), MAC.replace(":", "")])
    mark = frozenset({MAC} if text.lower().replace("-", ":") == MAC or len(text) == 12 else {text})
    return pick.choice(
        [
            (text, mark),
            (text, mark),
            (text + pick.choice(QUOTES), mark),
            (pick.choice([SHARED_SITE, SHARED_MAC, "ours-1", "demo", "other"]), frozenset()),
            (pick.choice(QUOTES), frozenset()),
        ]
    )


FORMS = ("json", *export_formats.FORMATS)
WINDOWS = ("2h", "4h", "8h", "12h", "1d", "1w", "x")
INSIGHT = ("overview", "sle", *("contrast", "changes", "sites", "clients") * 3)
TABLES = ("series", "values", "pairs", "stages", "reasons", "aps", "clients", "changes", "attempts", "levels")


def page(pick: random.Random, place: Place) -> tuple[str, dict[str, str], frozenset[str]]:
    """A path, its query, and the marks in both."""
    text, marks = named(pick)
    segment = quote(text, safe="")
    query: dict[str, str] = {}
    path = pick.choice(
        [
            *("/", "/sites", "/clients", "/map", "/pipeline", "/webhooks", "/keys"),
            *(f"/sites/{segment}", f"/clients/{segment}", f"/alerts/{segment}", "/search") * 8,
            *("/alerts", f"/sites/{SHARED_SITE}", f"/clients/{SHARED_MAC}") * 2,
        ]
    )
    more = frozenset[str]()
    if path == "/search":
        query["q"] = text
    elif path == "/alerts":
        other, more = named(pick)
        query = {pick.choice(["site", "rule", "severity", "state", "said"]): other, "state": "all"}
    elif pick.random() < 0.5:
        query = {"window": pick.choice(WINDOWS), "of": "logs", "view": pick.choice(["grid", "timeline"])}
        if pick.random() < 0.5:
            query["end"] = pick.choice([str(int(time.time()) + 60), *QUOTES])
    return path, query, (marks if segment in path or "q" in query else frozenset()) | more


def exported(pick: random.Random, place: Place) -> tuple[str, dict[str, str], frozenset[str]]:
    """The same of what a page's links to exports read, by the cookie."""
    text, marks = named(pick)
    call = pick.choice([*INSIGHT, "client", "logs", "device", "aps", "hooks", "log", "stats"])
    query = {"format": pick.choice(FORMS)}
    path = f"/api/v1/insight/{call}"
    used = frozenset[str]()
    if call in ("sites", "clients"):
        shared = SHARED_SITE if call == "sites" else SHARED_MAC
        text, used = (shared, used) if pick.random() < 0.3 else (text, marks)
        path += "/" + quote(text, safe="")
        query["table"] = pick.choice(TABLES)
    elif call in INSIGHT:
        if pick.random() < 0.6:
            query[pick.choice(["site", "ssid", "stage", "onset"])] = text
            used = marks
        if call == "contrast":
            query["table"] = pick.choice(TABLES)
    elif call == "client":
        path, used = f"/V5/devices/clientevents/{quote(text, safe='')}/0/100", marks
    elif call == "logs":
        path, used = "/V5/devices/clients/connectionlogs", marks
        query["clientmacaddress"] = text
    elif call == "device":
        path, used = "/api/v1/inventory_device_log/", marks
        query["parent__id"] = text
    elif call == "aps":
        path = "/V5/devices/aps"
    elif call == "hooks":
        path = "/api/v1/webhooks"
    elif call == "log":
        path, used = "/api/v1/webhook_deliveries", marks
        query[pick.choice(["alert", "webhook"])] = text
    else:
        path = "/api/v1/stats/client_events/" + pick.choice(["counts", "distinct", "rates"])
        query |= {"by": pick.choice(["site", "ssid", "ap"]), "from": iso(int(time.time()) - 7000)}
    return path, query, used


def form(pick: random.Random, place: Place) -> tuple[str, dict[str, str]]:
    """A form's path and fields, about things of the other fleet."""
    id, hook = quote(pick.choice([ALERT, INCIDENT])), pick.choice([place.hook, HOOK])
    return pick.choice(
        [
            (f"/alerts/{id}/ack", {"back": "/alerts"}),
            (f"/alerts/{id}/silence", {"length": "1h"}),
            (f"/alerts/{id}/deliveries/{place.notice}/replay", {}),
            (f"/alerts/ours-1/deliveries/{place.notice}/replay", {}),
            (f"/webhooks/{hook}/test", {}),
            (f"/webhooks/{hook}/delete", {}),
            ("/fleet", {"fleet": "other"}),
        ]
    )


def attempts(place: Place) -> Iterator[Attempt]:
    """The same at each run, but for the time and the keys."""
    pick = random.Random(20_261_126)
    sessions = place.cookies
    forged = [*_forged(place)]
    for number in itertools.count():
        role = pick.choice(ROLES).value
        headers = {name: value for name, value in pick.choice(HEADERS).items() if name != "cookie"}
        session, logged_in = sessions[role], True
        if pick.random() < 0.08:
            session, logged_in = pick.choice(forged), False
        jar = [f"{COOKIE}={session}"]
        if pick.random() < 0.6:
            jar.append(f"{FLEET_COOKIE}={pick.choice(['other', 'demo', '*', ''])}")
        headers["cookie"] = "; ".join(jar)
        fields = None
        used = frozenset[str]()
        query: dict[str, str] = {}
        method = "GET"
        kind = pick.random()
        if number % LIVE_EVERY == 0:
            path = "/api/v1/live"
            if pick.random() < 0.8:
                since = int((time.time() - pick.choice([60, 3600, 90_000])) * 1e6)
                headers["last-event-id"] = f"{since}-{'0' * 16}"
        elif kind < 0.5:
            path, query, used = page(pick, place)
        elif kind < 0.88:
            path, query, used = exported(pick, place)
        else:
            method = "POST"
            path, fields = form(pick, place)
            used = MARKS  # a refusal may say what was asked for; that it is one is what counts
            fields["csrf"] = pick.choice([place.csrf[role], place.csrf["other"], "x"])
            headers["origin"] = "http://127.0.0.1:8081"
        if pick.random() < 0.3:
            query["fleet"] = pick.choice(["other", "", "demo' OR fleet = 'other", "*"])
        full = f"{path}?{urlencode(query)}" if query else path
        yield Attempt(method, full, headers, fields, used, logged_in)


def _forged(place: Place) -> Iterator[str]:
    """Cookies of the other fleet's administrator that this place did not sign as a session."""
    good = place.cookies["other"]
    yield good[:-2] + ("AA" if good[-2:] != "AA" else "BB")
    yield good[: len(good) // 2] + place.cookies["viewer"][len(good) // 2 :]
    signer: Signer = place.app.state.signer
    payload = signer.open("session", good)
    assert payload is not None
    yield signer.seal("csrf", payload)
    yield signer.seal("cursor", payload)
    yield Signer(Path(place.settings.data_dir) / "another-key.json").seal("session", payload)
    id, sha256, _ = msgspec.json.decode(payload)
    yield signer.seal("session", msgspec.json.encode([id, sha256, int(time.time()) - 10**7]))
    yield signer.seal("session", msgspec.json.encode([id, "0" * 64, int(time.time())]))
    yield ""


# --- what must not come back


def told(answer: Answer) -> str:
    """What an answer says, in every way that it is written."""
    types = {media: format for format, media in export_formats.MEDIA_TYPES.items()}
    format = types.get(answer.headers.get("content-type", ""))
    if format in ("arrow", "parquet") and answer.status == 200:
        text = str(export_formats.rows(format, answer.body))
    else:
        text = answer.body.decode("utf-8", "replace")
    return "\n".join((text, html.unescape(text), unquote(text), *answer.headers.values())).lower()


def counts(value: Any) -> Iterator[int]:
    """The counts anywhere in a document."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in COUNTS and isinstance(each, int):
                yield each
            yield from counts(each)
    elif isinstance(value, list):
        for each in value:
            yield from counts(each)


def leaks(attempt: Attempt, answer: Answer) -> list[str]:
    said = told(answer)
    found = [mark for mark in MARKS - attempt.named if mark.lower() in said]
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/html"):
        found += _MANY_SHOWN.findall(said)
    elif kind.startswith("application/json"):
        found += [str(count) for count in counts(json.loads(answer.body)) if count >= 1000]
    elif kind.startswith("text/event-stream"):
        for line in answer.body.split(b"\n"):
            if line.startswith(b"data: {"):
                found += [str(count) for count in counts(json.loads(line[6:])) if count >= 1000]
    return found


def test_the_owner_sees_each_mark_and_the_count(place: Place, runner: asyncio.Runner) -> None:
    """Without this a mark could be missing everywhere for another reason."""
    seen: set[str] = set()
    mine = {"cookie": f"{COOKIE}={place.cookies['other']}"}
    paths = [
        *("/", f"/sites/{SITE}", f"/sites/{SHARED_SITE}?window=4h", f"/clients/{MAC}", "/alerts?state=all"),
        *(f"/alerts/{ALERT}", "/webhooks", "/api/v1/webhooks", "/api/v1/inventory_device_log/"),
        *("/keys", "/V5/devices/aps", "/api/v1/insight/overview", f"/api/v1/insight/sites/{SHARED_SITE}"),
        f"/V5/devices/clientevents/{MAC}/0/9?format=parquet",
        "/api/v1/live",
    ]
    many: set[tuple[str, str]] = set()

    async def look() -> None:
        for path in paths:
            attempt = Attempt("GET", path, mine, None, frozenset(), True)
            if path.endswith("live"):
                attempt.headers["last-event-id"] = f"{int((time.time() - 3600) * 1e6)}-{'0' * 16}"
            answer = await ask(place.app, attempt)
            assert answer.status == 200, (path, answer.body[:300])
            found = leaks(attempt, answer)
            assert found or path == "/keys", path
            seen.update(mark for mark in MARKS if mark in found)
            many.update((path, each) for each in found if each not in MARKS)

    runner.run(look())
    assert seen == MARKS, MARKS - seen
    for path in ("/", f"/sites/{SHARED_SITE}?window=4h", "/api/v1/insight/overview", "/api/v1/live"):
        assert any(where == path for where, _ in many), (path, many)


@pytest.mark.timeout(900)
def test_no_attempt_of_another_fleet_answers(place: Place, runner: asyncio.Runner) -> None:
    statuses: Counter[tuple[str, int]] = Counter()
    kinds: Counter[str] = Counter()
    wrong: list[Any] = []

    async def one(attempt: Attempt) -> None:
        answer = await ask(place.app, attempt)
        statuses[attempt.method, answer.status] += 1
        kinds[answer.headers.get("content-type", "").partition(";")[0]] += 1
        path = attempt.path.partition("?")[0]
        if found := leaks(attempt, answer):
            wrong.append((attempt, answer.status, found))
        elif answer.status >= 500:
            wrong.append((attempt, answer.status, answer.body[:500]))
        elif not attempt.logged_in and answer.status not in REFUSED | {303} and path != "/keys":
            wrong.append((attempt, answer.status, "a forged cookie"))
        elif attempt.method == "POST" and answer.status not in REFUSED:
            wrong.append((attempt, answer.status, "a form"))
        elif (
            attempt.method == "GET"
            and answer.status == 200
            and re.match(r"/(sites|clients|alerts|api/v1/insight/(sites|clients))/", path)
            and unquote(path.rpartition("/")[2]).lower() in {mark.lower() for mark in MARKS}
        ):
            wrong.append((attempt, answer.status, "a page of what is the other fleet's alone"))

    async def all() -> None:
        waiting = itertools.islice(attempts(place), ATTEMPTS)

        async def go_on() -> None:
            for attempt in waiting:
                if len(wrong) > 20:
                    return
                await one(attempt)

        await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))

    runner.run(all())
    assert not wrong, wrong[:5]
    assert sum(statuses.values()) == ATTEMPTS
    assert {status for method, status in statuses} <= REFUSED | {200, 303}, statuses
    assert kinds["text/html"] > ATTEMPTS / 5 and kinds["text/event-stream"] > ATTEMPTS / 60, kinds
    files = sum(kinds[media.partition(";")[0]] for media in export_formats.MEDIA_TYPES.values())
    assert files > ATTEMPTS / 20 and kinds["application/json"] > ATTEMPTS / 50, kinds
    assert statuses["GET", 200] > ATTEMPTS / 4 and statuses["GET", 404] > ATTEMPTS / 20, statuses
