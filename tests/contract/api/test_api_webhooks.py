"""Webhooks over the API and on the pages: who may, what is shown once, and where none may be sent to."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from alert_documents import alert
from api_server import client_of
from clickhouse_connect.driver.client import Client
from databases import settings_of
from private_addresses import REFUSED
from standardwebhooks import Webhook
from webhook_receiver import Receiver, Reply, receiver

from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.notify.outbox import Outbox
from tidegate.settings import Settings
from tidegate.store import alerts, deliveries
from tidegate.store.insert import insert
from tidegate.tokens import Role, TokenFile
from tidegate.webhooks.endpoints import Endpoint, EndpointFile
from tidegate.webhooks.transport import Answer

Call = Callable[..., httpx.Response]
LogIn = Callable[[str], httpx.Client]
PATH, LOG = "/api/v1/webhooks", "/api/v1/webhook_deliveries"
EDITORS = {Role.ADMINISTRATOR, Role.SUPERUSER}
HOSTILE = "<script>alert(1)</script>\u00e9"


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    def choose(path: str, before: int) -> Reply:
        return Reply(500, body=b"<b>down</b>") if path == "/down" else Reply(204)

    with receiver(choose, tmp_path_factory.mktemp("receiver")) as found:
        yield found


@pytest.fixture(scope="module")
def settings(
    clickhouse: ClickHouseServer, bootstrap: str, hook: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return settings_of(
        clickhouse,
        api_listen=f"127.0.0.1:{free_port()}",
        data_dir=str(tmp_path_factory.mktemp("api")),
        kafka_bootstrap=bootstrap,
        webhook_allow="127.0.0.1",
        webhook_ca_file=str(hook.ca_file),
    )


@pytest.fixture(scope="module")
def tokens(settings: Settings) -> dict[str, str]:
    """A token of each role for fleet `demo`, and `theirs`: an administrator of another fleet."""
    file = TokenFile(settings.tokens_path)
    made = {role.value: file.create(role.value, fleet="demo", role=role) for role in Role}
    return made | {"theirs": file.create("theirs", fleet="other", role=Role.ADMINISTRATOR)}


@pytest.fixture(autouse=True)
def no_webhooks(settings: Settings) -> None:
    settings.webhooks_path.unlink(missing_ok=True)


def is_allowed(address: str) -> bool:
    """The receiver's own, which the setting lists."""
    return address == "127.0.0.1"


def create(api: Call, role: str = "administrator", **fields: Any) -> httpx.Response:
    return api(PATH, role=role, method="POST", json={"name": "noc", **fields})


def owe(store: Client, database: str, *answers: Answer, fleet: str = "demo", id: str = "a-1") -> str:
    """Log a notice of an alert and what came of each attempt; its webhook-id."""
    endpoint = Endpoint(id="we_1", name="noc", fleet=fleet, format="standard", url="https://x.example/")
    box = Outbox(lambda: 0.0)
    entries = box.owe(endpoint, alert(id=id, fleet=fleet), 0, time.time())
    for answer in answers:
        due = box.next_at()
        assert due is not None
        [notice] = box.due(due)
        entries += box.ended(notice, answer, due)
    insert(store, database, deliveries.block(entries), token="")
    return entries[0].webhook_id


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_administrators_alone(api: Call, role: str, hook: Receiver) -> None:
    id = create(api, url=f"{hook.url}/roles").json()["id"]
    allowed = Role(role) in EDITORS
    asked: list[tuple[str, str, dict[str, Any], int]] = [
        ("GET", PATH, {}, 200),
        ("GET", f"{LOG}", {}, 200),
        ("POST", PATH, {"json": {"name": role, "url": f"{hook.url}/{role}", "fleet": "demo"}}, 201),
        ("POST", f"{PATH}/{id}/test", {}, 200),
        ("POST", f"{LOG}/msg_unknown/replay", {}, 404),
        ("DELETE", f"{PATH}/{id}", {}, 204),
    ]
    for method, path, more, status in asked:
        assert api(path, role=None, method=method, **more).status_code == 401
        answer = api(path, role=role, method=method, **more)
        assert answer.status_code == (status if allowed else 403), (method, path, answer.text)


def test_a_secret_is_shown_once_and_verifies_what_is_sent(
    api: Call, settings: Settings, hook: Receiver
) -> None:
    made = create(api, url=f"{hook.url}/secret?key=hidden", severity="warning", sites=["Toronto"])
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    secret, id = made.json()["secret"], made.json()["id"]
    assert secret.startswith("whsec_") and "hidden" not in made.text
    assert stat.S_IMODE(os.stat(settings.webhooks_path).st_mode) == 0o600
    [row] = api(PATH, role="administrator").json()["webhooks"]
    assert row == {name: value for name, value in made.json().items() if name != "secret"}
    assert (row["url"], row["secrets"], row["sites"]) == (f"{hook.url}/secret?***", 1, ["Toronto"])
    tried = api(f"{PATH}/{id}/test", role="administrator", method="POST")
    assert tried.json()["delivered"] and [each["state"] for each in tried.json()["notices"]] == [
        "open",
        "resolved",
    ]
    for told in hook.of("/secret?key=hidden"):
        Webhook(secret).verify(told.body, dict(told.headers))
    for path in (PATH, f"{LOG}", f"{LOG}?failed=true"):
        assert secret not in api(path, role="superuser").text
    assert secret not in tried.text


def test_a_405_allows_all_that_the_path_takes(api: Call) -> None:
    for path, takes in ((PATH, "GET, POST, HEAD"), (f"{PATH}/we_1", "DELETE"), (LOG, "GET, HEAD")):
        answer = api(path, role="administrator", method="PUT")
        assert (answer.status_code, answer.headers["allow"]) == (405, takes)


def test_what_a_receiver_answers_is_told(api: Call, hook: Receiver) -> None:
    id = create(api, url=f"{hook.url}/down").json()["id"]
    tried = api(f"{PATH}/{id}/test", role="administrator", method="POST").json()
    assert tried["delivered"] is False
    assert [(each["status"], each["error"]) for each in tried["notices"]] == [
        (500, "answers 500: <b>down</b>")
    ]


@pytest.mark.parametrize("address", [address for address in REFUSED if not is_allowed(address)])
def test_a_private_address_is_a_422_that_names_it(api: Call, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    answer = create(api, url=f"https://{host}/x")
    assert (answer.status_code, answer.json()["path"]) == (422, "url"), answer.text
    assert answer.json()["detail"].startswith(f"url: {address}"), answer.text
    assert api(PATH, role="administrator").json() == {"webhooks": []}


def test_what_is_no_webhook_names_its_field(api: Call, hook: Receiver) -> None:
    create(api, url=f"{hook.url}/first")
    for fields, status, path in (
        ({"url": f"{hook.url}/again"}, 422, "name"),
        ({"name": "x", "url": ""}, 422, "url"),
        ({"name": "x", "url": "ftp://x.example/"}, 422, "url"),
        ({"name": "x", "url": "https://a:b@x.example/"}, 422, "url"),
        ({"name": "x", "url": "http://192.0.2.1/"}, 422, "url"),
        ({"name": "x", "format": "pagerduty", "routing_key": "short"}, 422, "routing_key"),
        ({"name": "x", "format": "fax", "url": f"{hook.url}/"}, 422, "format"),
        ({"name": "x", "severity": "none", "url": f"{hook.url}/"}, 422, "severity"),
        ({"name": "", "url": f"{hook.url}/"}, 422, "name"),
        ({"name": "x\u202ey", "url": f"{hook.url}/"}, 422, "name"),
        ({"name": "x", "urll": "https://x.example/"}, 422, "urll"),
    ):
        answer = create(api, **fields)
        assert (answer.status_code, answer.json()["path"]) == (status, path), answer.text
    assert create(api, name="x", fleet="other", url=f"{hook.url}/").status_code == 403
    assert create(api, "superuser", name="x", url=f"{hook.url}/").json()["path"] == "fleet"
    unknown = create(api, "superuser", name="x", fleet="nowhere", url=f"{hook.url}/")
    assert (unknown.status_code, unknown.json()["path"]) == (422, "fleet")
    assert len(api(PATH, role="administrator").json()["webhooks"]) == 1


def test_another_fleets_webhooks_are_not_there(
    api: Call, store: Client, settings: Settings, hook: Receiver
) -> None:
    theirs = create(api, "theirs", name="theirs", url=f"{hook.url}/theirs").json()
    sent = owe(store, settings.clickhouse_database, Answer(503), fleet="other", id="theirs")
    role = "administrator"
    assert api(PATH, role=role, params={"fleet": "other"}).json() == {"webhooks": []}
    for path in (f"{LOG}", f"{LOG}?fleet=other&alert=theirs"):
        assert sent not in api(path, role=role).text
    for method, path in (
        ("POST", f"{PATH}/{theirs['id']}/test"),
        ("POST", f"{PATH}/theirs/test"),
        ("DELETE", f"{PATH}/{theirs['id']}"),
        ("POST", f"{LOG}/{sent}/replay"),
    ):
        assert api(path, role=role, method=method).status_code == 404, path
    assert hook.of("/theirs") == []
    assert [row["id"] for row in api(PATH, role="theirs").json()["webhooks"]] == [theirs["id"]]
    assert sent in api(f"{LOG}", role="superuser").text


def test_a_notice_is_owed_once_more(api: Call, store: Client, settings: Settings) -> None:
    database = settings.clickhouse_database
    sent = owe(store, database, Answer(503, "answers 503"), Answer(204), id="again")
    log = api(f"{LOG}", role="administrator", params={"alert": "again"}).json()["deliveries"]
    assert [entry["outcome"] for entry in log] == ["delivered", "retry", "owed"]
    answer = api(f"{LOG}/{sent}/replay", role="administrator", method="POST")
    assert (answer.status_code, answer.json()) == (202, {"webhook_id": sent, "outcome": "owed"})
    [entry] = deliveries.newest(store, database, [sent])
    assert (entry.outcome, entry.entry, entry.attempt) == ("owed", 3, 0)
    assert entry in deliveries.owed(store, database, {0}, 1)


def test_a_cookie_opens_no_writing_call(api: Call, settings: Settings, tokens: dict[str, str]) -> None:
    with client_of(settings, None) as web:
        web.headers["origin"] = str(web.base_url)
        assert web.post("/login", data={"token": tokens["administrator"]}).status_code == 303
        assert web.get(PATH).status_code == 200
        assert web.post(PATH, json={"name": "x", "url": "https://127.0.0.1/"}).status_code == 401


def test_a_file_that_cannot_be_written_is_said_without_its_place(
    settings: Settings, tokens: dict[str, str], tmp_path: Path, store: Client
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "webhooks.json"  # its folder is a file: nobody can write there
    with client_of(settings, tokens["administrator"], webhooks_file=str(path)) as web:
        answer = web.post(PATH, json={"name": "x", "url": "https://127.0.0.1/"})
    assert (answer.status_code, answer.json()["code"]) == (503, "webhooks_away")
    assert str(tmp_path) not in answer.text and answer.headers["retry-after"]


@pytest.fixture
def browser(settings: Settings, tokens: dict[str, str], store: Client) -> Iterator[LogIn]:
    """A browser of somebody of a role who is logged in."""
    with client_of(settings, None) as web:
        web.headers["origin"] = str(web.base_url)

        def logged_in(role: str) -> httpx.Client:
            web.cookies.clear()
            assert web.post("/login", data={"token": tokens[role]}).status_code == 303
            return web

        yield logged_in


def csrf(web: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', web.get("/keys").text)
    assert found
    return found[1]


def test_the_page_makes_tries_and_deletes(browser: LogIn, settings: Settings, hook: Receiver) -> None:
    web = browser("administrator")
    form = {"name": HOSTILE, "format": "standard", "url": f"{hook.url}/page", "severity": "info", "sites": ""}
    assert web.post("/webhooks", data=form).status_code == 403  # no CSRF text
    sent = {**form, "csrf": csrf(web)}
    assert web.post("/webhooks", data=sent, headers={"origin": "https://evil.example"}).status_code == 403
    assert web.post("/webhooks", data=sent, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert not settings.webhooks_path.exists()
    refused = web.post("/webhooks", data={**sent, "url": "https://10.0.0.1/x"})
    assert refused.status_code == 422 and "10.0.0.1 is private (10.0.0.0/8)" in refused.text
    assert 'value="https://10.0.0.1/x"' in refused.text  # what was typed is kept
    made = web.post("/webhooks", data=sent)
    [endpoint] = EndpointFile(settings.webhooks_path).rows()
    [secret] = endpoint.secrets_at(time.time())
    assert made.status_code == 201 and secret in made.text and HOSTILE not in made.text
    assert made.headers["cache-control"] == "no-store"
    assert secret not in web.get("/webhooks").text and endpoint.id in web.get("/webhooks").text
    tried = web.post(f"/webhooks/{endpoint.id}/test", data={"csrf": sent["csrf"]})
    assert "delivered, 204" in tried.text and len(hook.of("/page")) == 2
    assert web.post(f"/webhooks/{endpoint.id}/delete", data={"csrf": "x"}).status_code == 403
    assert web.post(f"/webhooks/{endpoint.id}/delete", data={"csrf": sent["csrf"]}).status_code == 303
    assert EndpointFile(settings.webhooks_path).rows() == []


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_the_page_is_the_administrators(browser: LogIn, role: str) -> None:
    web = browser(role)
    assert "/webhooks" not in web.get("/keys").text
    assert web.get("/webhooks").status_code == 403
    for path in (
        "/webhooks",
        "/webhooks/we_1/test",
        "/webhooks/we_1/delete",
        "/alerts/a/deliveries/m/replay",
    ):
        assert web.post(path, data={"csrf": csrf(web), "name": "x"}).status_code == 403


def test_an_alerts_page_replays_its_notices(browser: LogIn, store: Client, settings: Settings) -> None:
    database = settings.clickhouse_database
    for fleet in ("demo", "other"):
        insert(store, database, alerts.block([alert(id=f"of-{fleet}", fleet=fleet)], ""), f"of-{fleet}")
    gone, theirs = (
        owe(store, database, Answer(410, "answers 410"), fleet=fleet, id=f"of-{fleet}")
        for fleet in ("demo", "other")
    )
    action = f"/alerts/of-demo/deliveries/{gone}/replay"
    assert action not in browser("viewer").get("/alerts/of-demo").text
    web = browser("administrator")
    page = web.get("/alerts/of-demo").text
    assert f'action="{action}"' in page and "answers 410" in page
    assert web.post(action, data={"csrf": "x"}).status_code == 403
    text = csrf(web)
    for path in (
        f"/alerts/of-demo/deliveries/{theirs}/replay",
        f"/alerts/of-other/deliveries/{theirs}/replay",
        f"/alerts/of-other/deliveries/{gone}/replay",
    ):
        assert web.post(path, data={"csrf": text}).status_code == 404
    assert {entry.outcome for entry in deliveries.newest(store, database, [gone, theirs])} == {"gone"}
    done = web.post(action, data={"csrf": text})
    assert done.status_code == 303 and "owed once more" in web.get(done.headers["location"]).text
    outcomes = {e.webhook_id: e.outcome for e in deliveries.newest(store, database, [gone, theirs])}
    assert outcomes == {gone: "owed", theirs: "gone"}
