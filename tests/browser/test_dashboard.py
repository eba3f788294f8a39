"""The dashboard as people use it, in a real browser."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from browser.conftest import FAILING, HOSTILE, SECRET, Place, Watched
from tidegate.contracts.alerts import acknowledgement_key, silence_key
from tidegate.kafka import control
from tidegate.kafka.connection import connection
from tidegate.login_links import login_link
from tidegate.tokens import hash_token

TORONTO = "/sites/Toronto"
CLIENT = f"/clients/{FAILING}"


def paths(place: Place) -> list[str]:
    hostile = quote(HOSTILE, safe="")
    return [
        *("/", "/sites", TORONTO, f"/sites/{hostile}", "/clients", CLIENT, f"{CLIENT}?view=grid"),
        *("/alerts", f"/alerts/{place.alert}", "/map", "/map?of=logs", "/pipeline", "/keys", "/webhooks"),
        *("/search?q=to", "/nowhere", "/sites/Nowhere", "/clients/00:00:00:00:00:00"),
    ]


def test_ten_seconds(watched: Watched, place: Place) -> None:
    """From the login link to which site, at which stage, why, whom it hits and what to do."""
    page = watched.context.new_page()
    page.goto(login_link(place.settings, hash_token(place.tokens["viewer"])))
    incident = page.locator("article.incident").first
    expect(incident).to_be_visible(timeout=60_000)
    said = incident.inner_text()
    assert page.url == place.url + "/"
    for expected in (
        "CRITICAL",
        "Toronto",
        "RADIUS (aaa)",
        "50 % of attempts fail",
        "usual 0.4 %",
        "40 of 80 clients",
        "4 of 4 APs",
        "SSID eduroam only",
        "RADIUS server did not respond (902/1): 97.0 % of the excess",
        "Check that the RADIUS server answers",
        "config_change radius.server at AP1",
    ):
        assert expected in said, (expected, said)
    assert incident.evaluate("one => one.getBoundingClientRect().y") < 200  # without scrolling
    took = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert took > 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_no_page_is_wider_than_a_phone(
    chromium: Browser, place: Place, axe: str, scheme: Any
) -> None:
    wrong: dict[str, Any] = {}
    with chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, bypass_csp=True
    ) as context:
        context.set_default_timeout(60_000)
        watched = Watched(context, place)
        page = watched.page("administrator")
        # What differs in the dark is contrast: the pages with charts and states are enough.
        dark = ["/", TORONTO, CLIENT, f"/alerts/{place.alert}", "/pipeline"]
        for path in dark if scheme == "dark" else ["/login?next=/", *paths(place)]:
            page.goto(place.url + path)
            page.evaluate(axe)
            found = page.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
            )
            broken = [
                (each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"])
                for each in found["violations"]
            ]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                broken.append(("wider than the screen", "", ""))
            if broken:
                wrong[path] = broken
        assert not watched.outside
    assert not wrong, wrong


def test_every_page_reads_without_javascript(chromium: Browser, place: Place) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(login_link(place.settings, hash_token(place.tokens["operator"])))
        page.click("text=Open the dashboard")
        expect(page.locator("article.incident h2").first).to_contain_text("Toronto")
        for path, text in {
            TORONTO: "RADIUS server did not respond",
            CLIENT: "✖",
            f"{CLIENT}?view=grid": "eduroam",
            "/alerts": "Logins fail at Toronto",
            "/pipeline": "Ledger",
            "/map": "Toronto",
        }.items():
            page.goto(place.url + path)
            expect(page.locator("main")).to_contain_text(text)


def test_a_site_without_an_excess_says_what_failed_and_what_is_usual(watched: Watched, place: Place) -> None:
    page = watched.page()
    page.goto(f"{place.url}/sites/{quote(HOSTILE, safe='')}")
    said = page.locator("main").inner_text()
    assert "No more failures than usual." in said
    assert re.search(r"\d of [\d,]+ attempts failed; [\d.]+ % is usual\.", said), said
    page.goto(place.url + TORONTO)
    said = page.locator("main").inner_text()
    assert re.search(r"[\d,]+ failures beyond the usual [\d.]+ % of [\d,]+ attempts\.", said), said


def test_by_keyboard_alone(watched: Watched, place: Place) -> None:
    page = watched.page()
    press = page.keyboard.press

    def keys(*names: str) -> None:
        for name in names:
            press(name)

    keys("g", "s")
    page.wait_for_url("**/sites")
    keys("j", "Enter")
    page.wait_for_url("**/sites/Toronto")
    keys("3")
    page.wait_for_url("**window=8h*")
    keys("[")
    page.wait_for_url("**end=*")
    keys("]")
    page.wait_for_url(lambda url: "end=" not in url)
    keys("/")
    expect(page.locator(".search input")).to_be_focused()
    page.keyboard.type(FAILING.upper())
    press("Enter")
    page.wait_for_url(f"**{CLIENT}")
    keys("t")
    page.wait_for_url("**view=grid*")
    keys("g", "p")
    page.wait_for_url("**/pipeline")
    keys("?")
    page.wait_for_url("**/keys")
    keys("g", "m")
    page.wait_for_url("**/map")
    keys("g", "o")
    page.wait_for_url(place.url + "/")
    press("Tab")  # the skip link is first, and seen when it has the focus
    expect(page.locator(".skip")).to_be_focused()
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]


def test_acknowledge_and_silence_by_keyboard(watched: Watched, place: Place) -> None:
    """What a person says becomes a signed record of the control topic, under the name of the token."""
    page = watched.page("operator")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/alerts")
    page.keyboard.press("a")
    page.wait_for_url("**said=ack")
    expect(page.locator(".notice.ok")).to_contain_text("acknowledgement was sent")
    page.click("text=Silence 1h")
    page.wait_for_url("**said=silence")
    _, records = control.read(connection(place.settings))
    said = {record.key: record.value for record in records}
    ack = said[acknowledgement_key("demo", place.alert)]
    silence = said[silence_key("demo", "stage-failures", "Toronto")]
    assert ack is not None and b'"by":"operator"' in ack
    assert silence is not None and b'"site":"Toronto"' in silence


def test_a_viewer_reads_and_is_offered_nothing_else(watched: Watched, place: Place) -> None:
    page = watched.page("viewer")
    page.goto(place.url + "/alerts")
    expect(page.locator("article.incident")).to_contain_text("Toronto")
    expect(page.locator("main button:has-text('Ack')")).to_have_count(0)
    csrf = page.locator("input[name=csrf]").first.get_attribute("value") or ""
    answer = page.request.post(
        f"{place.url}/alerts/{place.alert}/ack", form={"csrf": csrf}, headers={"origin": place.url}
    )
    assert answer.status == 403


def test_hostile_names_are_text(watched: Watched, place: Place) -> None:
    page = watched.page()
    for path in ("/sites", f"/sites/{quote(HOSTILE, safe='')}", "/map", TORONTO, CLIENT):
        page.goto(place.url + path)
        assert "owned" not in page.title().replace(HOSTILE.partition("\u202e")[0], "")
        assert page.locator("img").count() == 0
        assert page.locator("svg b, table b:text('1')").count() == 0
        assert "\u202e" not in page.content()
    page.goto(place.url + "/sites")
    expect(page.locator("main")).to_contain_text("<img src=x onerror=")


def test_live_updates_come_without_a_reload(watched: Watched) -> None:
    page = watched.page()
    expect(page.locator("[data-live-state]")).to_contain_text("live")
    page.evaluate("window.stays = 1; document.querySelector('article.incident').remove()")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("article.incident").first).to_contain_text("Toronto")
    assert page.evaluate("window.stays") == 1


def test_the_theme_is_remembered(watched: Watched, place: Place) -> None:
    page = watched.page()
    page.click("button[name=theme]")
    page.wait_for_load_state()
    page.goto(place.url + "/sites")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"


def test_swagger_ui_authorizes_and_tries_it_out(watched: Watched, place: Place) -> None:
    page = watched.page(None)
    page.goto(place.url + "/docs")
    page.click("button.authorize")
    page.fill(".auth-container input", place.tokens["viewer"])
    page.click(".auth-btn-wrapper button.authorize")
    page.click(".auth-btn-wrapper .btn-done")
    call = page.locator(".opblock", has_text="/api/v1/catalogue/failures").first
    call.locator(".opblock-summary-control").click()
    call.locator("button.execute").click()
    expect(call.locator(".live-responses-table tbody td.response-col_status").first).to_contain_text("200")


def test_another_fleet_answers_nowhere(place: Place) -> None:
    """Every page, export and event with every name of the other fleet: none of it is told."""
    names = ("Secret-HQ", SECRET, "secret-ssid", place.secret_alert)
    with httpx.Client(base_url=place.url, headers={"origin": place.url}, trust_env=False, timeout=60) as web:
        assert web.post("/login", data={"token": place.tokens["administrator"]}).status_code == 303
        csrf = re.search(r'name="csrf" value="([^"]+)"', web.get("/keys").text)
        assert csrf
        web.cookies.set("tidegate_fleet", "other")
        tried = [
            *paths(place),
            *("/sites/Secret-HQ", f"/clients/{SECRET}", f"/alerts/{place.secret_alert}"),
            *("/search?q=secret", "/search?q=a4:83:e7:99", "/alerts?state=all", "/?fleet=other"),
            *(
                f"/api/v1/insight/{call}?fleet={fleet}{more}&format={format}"
                for call in ("overview", "sle", "contrast", "changes")
                for fleet in ("other", "demo")
                for more in ("", "&site=Secret-HQ")
                for format in ("csv", "ndjson")
            ),
            "/api/v1/insight/sites/Secret-HQ?format=csv&fleet=other",
            f"/V5/devices/clientevents/{SECRET}/0/10",
        ]
        for path in tried:
            answer = web.get(path, follow_redirects=False)
            sent = {name for name in names if name in path}
            told = [name for name in names if name in answer.text and name not in sent]
            assert not told, (path, told)
            if sent and path.startswith(("/sites/", "/clients/", "/alerts/")):
                assert answer.status_code in (400, 403, 404, 422), (path, answer.status_code)
        for action in ("ack", "silence"):
            answer = web.post(
                f"/alerts/{place.secret_alert}/{action}", data={"csrf": csrf[1], "length": "1h"}
            )
            assert answer.status_code == 404
    _, records = control.read(connection(place.settings))
    assert acknowledgement_key("other", place.secret_alert) not in {record.key for record in records}


def test_live_resumes_is_bounded_by_fleet_and_needs_a_login(place: Place) -> None:
    with httpx.Client(base_url=place.url, trust_env=False, timeout=60) as web:
        assert web.get("/api/v1/live").status_code == 401
        bearer = {"authorization": f"Bearer {place.tokens['viewer']}"}
        first = _events(web, bearer, 1)
        assert first[0]["event"] == "overview" and '"Toronto"' in first[0]["data"]
        assert "Secret-HQ" not in first[0]["data"]
        again = _events(web, bearer | {"last-event-id": "1000000-0000000000000000"}, 2)
        assert [each["event"] for each in again] == ["alert", "overview"]
        assert place.alert in again[0]["data"] and place.secret_alert not in again[0]["data"]
        assert web.get("/api/v1/live?fleet=other", headers=bearer).status_code == 403


def _events(web: httpx.Client, headers: dict[str, str], count: int) -> list[dict[str, str]]:
    """The first so many events."""
    found: list[dict[str, str]] = []
    with web.stream("GET", "/api/v1/live", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "event" in event:
                found.append(event)
                if len(found) == count:
                    return found
                event = {}
            else:
                event = {}
    return found


def test_a_page_prints(watched: Watched) -> None:
    page: Page = watched.page()
    page.emulate_media(media="print")
    expect(page.locator("header nav")).to_be_hidden()
    expect(page.locator("article.incident").first).to_be_visible()
    assert page.pdf()[:5] == b"%PDF-"
