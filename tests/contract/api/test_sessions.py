"""Logging in to the dashboard: who gets in, for how long, and what another site's page can do with it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import httpx
import pytest
from api_server import client_of, serve
from waiting import await_

from tidegate.local.child import free_port
from tidegate.login_links import LoginLinks
from tidegate.settings import Settings
from tidegate.tokens import Role, TokenFile, hash_token

COOKIE = "tidegate_session"


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An api whose ClickHouse is away: logging in needs none."""
    return Settings(
        data_dir=str(tmp_path_factory.mktemp("sessions")),
        api_listen=f"127.0.0.1:{free_port()}",
        clickhouse_url=f"http://127.0.0.1:{free_port()}",
        kafka_bootstrap=f"127.0.0.1:{free_port()}",
    )


@pytest.fixture(scope="module")
def people(away: Settings) -> dict[str, str]:
    file = TokenFile(away.tokens_path)
    made = {role.value: file.create(role.value, fleet="demo", role=role) for role in Role}
    return made | {"other": file.create("other", fleet="other", role=Role.OPERATOR)}


@pytest.fixture(scope="module")
def url(away: Settings, people: dict[str, str]) -> Iterator[str]:
    with serve(away) as url:
        yield url


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"origin": url}, trust_env=False, timeout=60) as client:
        yield client


def log_in(browser: httpx.Client, token: str, **fields: str) -> httpx.Response:
    return browser.post("/login", data={"token": token, **fields})


def csrf(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/keys").text)
    assert found
    return found[1]


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator", "superuser"])
def test_readers_log_in(browser: httpx.Client, people: dict[str, str], role: str) -> None:
    answer = log_in(browser, people[role], next="/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/keys")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
    assert people[role] not in cookie
    assert browser.get("/keys").status_code == 200


def test_the_cookie_is_secure_over_https(away: Settings, people: dict[str, str]) -> None:
    with client_of(away, None, public_url="https://tidegate.example") as client:
        answer = client.post(
            "/login", data={"token": people["viewer"]}, headers={"origin": "https://tidegate.example"}
        )
    assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
    assert "Secure" in answer.headers["set-cookie"] and "Domain" not in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "tg_wrong", "INGEST", "\u202e", "a" * 9000])
def test_others_do_not(browser: httpx.Client, people: dict[str, str], token: str) -> None:
    answer = log_in(browser, people["ingest"] if token == "INGEST" else token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert browser.get("/keys").headers["location"].startswith("/login")


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_a_login_leads_nowhere_else(browser: httpx.Client, people: dict[str, str], next: str) -> None:
    assert log_in(browser, people["viewer"], next=next).headers["location"] == "/"


def test_a_link_logs_in_once(browser: httpx.Client, away: Settings, people: dict[str, str]) -> None:
    code = LoginLinks(away.login_links_path).create(hash_token(people["operator"]), seconds=60)
    assert browser.get("/login/link", params={"code": code}).status_code == 200  # a preview uses nothing up
    assert browser.head("/login/link", params={"code": code}).status_code == 200
    assert browser.post("/login/link", data={"code": code}).headers["location"] == "/"
    assert browser.get("/keys").status_code == 200
    assert browser.post("/login/link", data={"code": code}).status_code == 401


def test_a_revoked_token_ends_its_sessions(browser: httpx.Client, away: Settings) -> None:
    file = TokenFile(away.tokens_path)
    token = file.create("leaver", fleet="demo", role=Role.VIEWER)
    await_(lambda: log_in(browser, token).status_code == 303)
    assert browser.get("/keys").status_code == 200
    file.revoke("leaver")
    await_(lambda: browser.get("/keys").status_code == 303)  # the file is looked at every half second
    assert browser.get("/keys").headers["location"].startswith("/login")


def test_logout(browser: httpx.Client, people: dict[str, str]) -> None:
    log_in(browser, people["viewer"])
    stolen = browser.cookies[COOKIE]
    assert browser.post("/logout", data={"csrf": csrf(browser)}).status_code == 303
    browser.cookies.set(COOKIE, stolen)
    assert browser.get("/keys").headers["location"].startswith("/login")


def test_a_forged_cookie(browser: httpx.Client, people: dict[str, str]) -> None:
    log_in(browser, people["viewer"])
    good = browser.cookies[COOKIE]
    flipped = good[:-1] + ("A" if good[-1] != "A" else "B")
    for forged in ("", "x", good[:-4], flipped, good + "A", people["viewer"]):
        browser.cookies.clear()
        answer = browser.get("/keys", headers={"cookie": f"{COOKIE}={forged}"})
        assert answer.headers.get("location", "").startswith("/login"), forged


def test_forms_need_the_sessions_own_csrf_text(
    browser: httpx.Client, url: str, people: dict[str, str]
) -> None:
    log_in(browser, people["viewer"])
    own = csrf(browser)
    with httpx.Client(base_url=url, headers={"origin": url}, trust_env=False, timeout=60) as second:
        log_in(second, people["viewer"])
        others = csrf(second)
    for text in ("", "x", others):
        assert browser.post("/theme", data={"theme": "dark", "back": "/", "csrf": text}).status_code == 403
    sent = browser.post("/theme", data={"theme": "dark", "back": "/keys", "csrf": own})
    assert (sent.status_code, sent.headers["location"]) == (303, "/keys")
    assert 'data-theme="dark"' in browser.get("/keys").text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {},
    ],
)
def test_forms_of_another_site(url: str, people: dict[str, str], headers: dict[str, str]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        log = client.post("/login", data={"token": people["viewer"]}, headers={"origin": url})
        assert log.status_code == 303
        text = csrf(client)
        origin = {"origin": url} if "sec-fetch-site" in headers else {}
        for path, data in (("/logout", {"csrf": text}), ("/login", {"token": people["viewer"]})):
            answer = client.post(path, data=data, headers={**origin, **headers})
            assert answer.status_code == 403, (path, headers)
        assert client.get("/keys").status_code == 200


def test_a_form_has_a_bound(browser: httpx.Client, people: dict[str, str]) -> None:
    answer = log_in(browser, people["viewer"], next="/" + "x" * 20_000)
    assert answer.status_code == 422 and "too long" in answer.text


def test_the_cookie_reads_the_api_and_no_other_site_reads_with_it(
    browser: httpx.Client, people: dict[str, str]
) -> None:
    path = "/api/v1/catalogue/failures"
    assert browser.get(path).status_code == 401
    log_in(browser, people["viewer"])
    assert browser.get(path).status_code == 200
    for site in ("cross-site", "same-site"):
        assert browser.get(path, headers={"sec-fetch-site": site}).status_code == 401
    assert browser.post(path).status_code in (401, 405)
    assert browser.get("/V2/devices/aps").status_code == 403  # as the viewer's token


def test_only_superusers_choose_a_fleet(browser: httpx.Client, people: dict[str, str]) -> None:
    log_in(browser, people["viewer"])
    assert browser.post("/fleet", data={"fleet": "other", "csrf": csrf(browser)}).status_code == 404
    browser.cookies.set("tidegate_fleet", "other")
    assert "<bdi>demo</bdi>" in browser.get("/keys").text
    browser.cookies.clear()
    log_in(browser, people["superuser"])
    assert browser.post("/fleet", data={"fleet": "other", "csrf": csrf(browser)}).status_code == 303
    assert "· other ·" in browser.get("/keys").text
    assert browser.post("/fleet", data={"fleet": "none", "csrf": csrf(browser)}).status_code == 404


def test_every_page_has_the_headers(browser: httpx.Client, people: dict[str, str]) -> None:
    log_in(browser, people["viewer"])
    for path in ("/login", "/keys", "/clients", "/nothing", "/clients/none", "/static/tidegate.css"):
        headers = browser.get(path, headers={"accept": "text/html"}).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy, path
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_while_clickhouse_is_away_a_page_says_so(browser: httpx.Client, people: dict[str, str]) -> None:
    log_in(browser, people["viewer"])
    answer = browser.get("/clients")
    assert answer.status_code == 503 and "ClickHouse away" in answer.text and "retry-after" in answer.headers


def test_an_unknown_address_is_a_page_for_browsers_alone(
    browser: httpx.Client, people: dict[str, str]
) -> None:
    log_in(browser, people["viewer"])
    page = browser.get("/nowhere", headers={"accept": "text/html"})
    assert page.status_code == 404 and 'action="/search"' in page.text
    for headers, path in (({}, "/nowhere"), ({"accept": "text/html"}, "/api/v1/nowhere")):
        answer = browser.get(path, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json", path


@pytest.mark.parametrize("name", ["東京 本社", "Zürich", 'a;b="c", d', "100 %", "%41", "\\074x"])
def test_a_fleet_of_any_name_is_chosen(
    browser: httpx.Client, people: dict[str, str], away: Settings, name: str
) -> None:
    """A name that Latin-1 has not was a 500."""
    file = TokenFile(away.tokens_path)
    file.create(name, fleet=name, role=Role.VIEWER)
    try:
        assert log_in(browser, people["superuser"]).status_code == 303
        await_(lambda: f"<bdi>{name}</bdi></button>" in html.unescape(browser.get("/keys").text))
        chosen = browser.post("/fleet", data={"csrf": csrf(browser), "fleet": name})
        assert chosen.status_code == 303
        assert f"<bdi>{name}</bdi></summary>" in html.unescape(browser.get("/keys").text)
    finally:
        file.revoke(name)
