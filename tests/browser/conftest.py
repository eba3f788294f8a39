"""A browser, Debian's Chromium, before the api over a store that holds one incident; all started once."""

from __future__ import annotations

import csv
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import table_rows
from api_server import serve
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import builders
from tidegate.contracts.alerts import Alert, Cause, Impact, Scope, alert_id
from tidegate.kafka import topics
from tidegate.local.broker import Broker
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.login_links import login_link
from tidegate.lookups import load
from tidegate.settings import Settings
from tidegate.store import alerts
from tidegate.store.insert import insert
from tidegate.tokens import Role, TokenFile, hash_token

HOSTILE = "<img src=x onerror=document.title='owned'>\u202eetis"
SITES = {1: "Toronto", 2: "Sydney", 3: HOSTILE, 9: "Secret-HQ"}
FAILING = "a4:83:e7:00:00:01"
SECRET = "a4:83:e7:99:99:99"
AXE = "axe-core@4.10.3"

expect.set_options(timeout=60_000)  # as the contexts': the machine may be busy


@dataclass(frozen=True)
class Place:
    url: str
    settings: Settings
    tokens: dict[str, str]
    alert: str
    secret_alert: str
    bootstrap: str


@pytest.fixture(scope="session")
def place(
    clickhouse: ClickHouseServer, embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("browser")
    settings = settings_of(
        clickhouse,
        api_listen=f"127.0.0.1:{free_port()}",
        data_dir=str(folder),
        kafka_bootstrap=embedded_broker.bootstrap,
    )
    topics.ensure_topics(settings)
    file = TokenFile(settings.tokens_path)
    tokens = {role.value: file.create(role.value, fleet="demo", role=role) for role in Role}
    tokens["other"] = file.create("other", fleet="other", role=Role.ADMINISTRATOR)
    with migrated(settings) as store:
        ids = seed(store, folder)
        with serve(settings) as url:
            yield Place(url, settings, tokens, *ids, embedded_broker.bootstrap)


def seed(store: Client, folder: Path) -> tuple[str, str]:
    """Three sites of `demo`, of which Toronto's RADIUS server does not answer, and one of `other`."""
    with (folder / "sites.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(("fleet", "location_id", "name", "latitude", "longitude", "timezone"))
        for location, name in SITES.items():
            fleet = "other" if location == 9 else "demo"
            table.writerow((fleet, location, name, 43.65 - location, -79.38 + 9 * location, "UTC"))
    lookups, table_rows.LOOKUPS = table_rows.LOOKUPS, load(str(folder))
    try:
        return _seed(store)
    finally:
        table_rows.LOOKUPS = lookups


def attempt(location: int, client: int, at: float, failed: bool, ssid: str = "eduroam") -> dict[str, Any]:
    """One attempt at `at` (epoch seconds)."""
    ms = int(at * 1000)
    common = {
        "macAddress": f"a4:83:e7:00:{location if location != 1 else 0:02x}:{client:02x}",
        "locationId": {"type": "locallocationid", "id": location},
        "timestamp": int(at * 1e6),
        "ssid": ssid,
        "bssid": f"00:11:74:8c:{location:02x}:{client % 4:02x}",
        "associatedAPName": f"AP{client % 4}-<b>{location}</b>",
        "associationTimestamp": ms - 150,
        "authenticationTimestamp": ms - 100,
        "networkTimestamp": ms,
    }
    if not failed:
        return builders.success(**common, aaaLatency=20, dhcpLatency=30, dnsLatency=10)
    return builders.failure(
        **common,
        failureCode=902,
        failure="RADIUS authentication failed",
        subFailureCode=1,
        subFailure="RADIUS server did not respond",
    )


def _seed(store: Client) -> tuple[str, str]:
    now = int(time.time()) // 60 * 60
    offset = 0
    for ago in (3 * 3600, 2 * 3600, 3600, 480, 240, 60):  # the incident began eight minutes ago
        for location in (1, 2, 3):
            at = now - ago
            events = [
                attempt(
                    location,
                    client,
                    at + client / 10,
                    failed=location == 1 and ago < 600 and client % 2 == 1,
                    ssid="eduroam" if client % 4 < 3 else "guest",
                )
                for client in range(80)
            ]
            offset += 1
            table_rows.store(
                store, "client_events", *events, offset=offset, received_at=(at + 10) * 1_000_000
            )
    secret = attempt(9, 1, now - 60, failed=False) | {"macAddress": SECRET, "ssid": "secret-ssid"}
    table_rows.store(
        store,
        "client_events",
        secret,
        fleet="other",
        offset=offset + 1,
        received_at=(now - 50) * 1_000_000,
    )
    log = builders.device_log(datetime=_iso(now - 600), action="config_change", variable_name="radius.server")
    log["parent"] = {"id": "ap-1", "name": "AP1", "model": "C-260", "location": "Toronto"}
    table_rows.store(store, "device_logs", log, offset=1, received_at=(now - 590) * 1_000_000)
    found = []
    for fleet, site in (("demo", "Toronto"), ("other", "Secret-HQ")):
        scope = Scope(site=site, stage="aaa")
        alert = Alert(
            fleet=fleet,
            id=alert_id(fleet, "stage-failures", scope, (now - 480) * 1_000_000),
            sequence=1,
            incident=f"incident-{fleet}",
            rule="stage-failures",
            signal="stage_failures",
            state="open",
            severity="critical",
            scope=scope,
            started_at=_iso(now - 480),
            updated_at=_iso(now - 420),
            impact=Impact(240, 120, 0.004, 40, 80, 4, 4),
            cause=Cause(902, 1, "RADIUS server did not respond", 0.97, "ssid", "eduroam"),
            summary=f"Logins fail at {site}: the RADIUS server did not respond",
            action="Check that the RADIUS server answers",
        )
        insert(store, str(store.database), alerts.block([alert], ""), alert.id)
        found.append(alert.id)
    return found[0], found[1]


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for the session: Playwright's event loop counts as running until it is stopped, and nothing else of
    this process could run one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium")
    arguments = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


class Watched:
    """A browser's context that notes what leaves the origin and what breaks."""

    def __init__(self, context: BrowserContext, place: Place) -> None:
        self.context = context
        self.place = place
        self.outside: list[str] = []
        self.broken: list[str] = []
        context.on("request", lambda request: self._request(request.url))
        context.on("weberror", lambda error: self.broken.append(str(error.error)))
        context.on("console", lambda message: self._said(message.text))
        context.set_default_timeout(60_000)

    def _request(self, url: str) -> None:
        if not url.startswith((self.place.url + "/", "data:", "blob:")):
            self.outside.append(url)

    def _said(self, text: str) -> None:
        if "Content Security Policy" in text or "Refused to" in text:
            self.broken.append(text)

    def page(self, role: str | None = "operator") -> Page:
        """A page of somebody who is logged in."""
        page = self.context.new_page()
        if role is not None:
            page.goto(login_link(self.place.settings, hash_token(self.place.tokens[role])))
            page.wait_for_url(self.place.url + "/")
        return page


@pytest.fixture
def watched(chromium: Browser, place: Place) -> Iterator[Watched]:
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        found = Watched(context, place)
        yield found
    assert not found.outside and not found.broken, (found.outside, found.broken)


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which npm fetches for the test and nobody commits."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", AXE]
    subprocess.run(command, cwd=folder, check=True, timeout=240)
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
