"""The overview as a page, where little is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from alert_documents import alert
from api_server import serve
from clickhouse_connect.driver.client import Client

from api.test_sessions import log_in
from tidegate.settings import Settings
from tidegate.store.alerts import block
from tidegate.store.insert import insert


@pytest.fixture
def browser(settings: Settings, tokens: dict[str, str], store: Client) -> Iterator[httpx.Client]:
    with serve(settings) as url:
        origin = {"origin": url}
        with httpx.Client(base_url=url, headers=origin, trust_env=False, timeout=60) as client:
            assert log_in(client, tokens["operator"]).status_code == 303
            yield client


def test_an_open_alert_is_shown_before_any_event_is_stored(browser: httpx.Client, store: Client) -> None:
    """A fleet whose lines are all refused, or whose events have expired, has alerts and no event."""
    assert "No data yet" in browser.get("/").text
    now = datetime.fromtimestamp(int(time.time()) - 60, UTC).isoformat()
    told = alert(id="a1", site="Toronto", stage="", started_at=now, updated_at=now)
    insert(store, str(store.database), block([told], ""), token="")
    with_alert = when_followed(browser)
    assert with_alert.status_code == 200
    assert "No data yet" not in with_alert.text and "no data yet" in with_alert.text
    assert "Toronto" in with_alert.text and 'action="/alerts/a1/ack"' in with_alert.text
    assert browser.get("/sites").status_code == browser.get("/alerts").status_code == 200


def when_followed(browser: httpx.Client) -> httpx.Response:
    """The page behind the answers that are kept for a moment."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = browser.get("/")
        if "No data yet" not in found.text:
            return found
        time.sleep(0.5)
    return found
