"""Following the alerts of a fleet, by server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from alert_documents import alert
from api_server import client_of
from clickhouse_connect.driver.client import Client
from waiting import PATIENCE

from tidegate.api import live
from tidegate.settings import Settings
from tidegate.store.alerts import block
from tidegate.store.insert import insert

LONG_AGO = f"{int(time.time() - 600) * 1_000_000}-{live.NOTHING}"


def told(store: Client, ids: list[str], seconds_ahead: float = 0.0) -> None:
    at = datetime.fromtimestamp(int(time.time() + seconds_ahead), UTC).isoformat()
    changes = [alert(id=id, site=id, started_at=at, updated_at=at) for id in ids]
    insert(store, str(store.database), block(changes, ""), token="")


@contextmanager
def followed(client: httpx.Client) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events behind ten minutes ago."""
    with client.stream("GET", "/api/v1/live", headers={"last-event-id": LONG_AGO}) as answer:
        assert answer.status_code == 200

        def events() -> Iterator[tuple[str, Any]]:
            kind, give_up = "", time.monotonic() + PATIENCE
            for line in answer.iter_lines():
                assert time.monotonic() < give_up
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))

        yield events()


def ids_until(events: Iterator[tuple[str, Any]], last: str) -> list[str]:
    found: list[str] = []
    for kind, document in events:
        if kind == "alert":
            found.append(document["id"])
            if found[-1] == last:
                break
    return found


def test_more_alerts_at_once_than_an_answer_holds_are_all_told(
    settings: Settings, tokens: dict[str, str], store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an outage at all sites only the first 500 changes were told, and no change of any alert after it."""
    monkeypatch.setattr(live, "CHANGES", 5)
    monkeypatch.setattr(live, "TICK", 0.1)
    wave = [f"a{number:02}" for number in range(18)]
    told(store, wave)
    with client_of(settings, tokens["viewer"]) as client, followed(client) as events:
        assert ids_until(events, wave[-1]) == wave
        told(store, ["b"])
        assert ids_until(events, "b") == ["b"]


def test_a_change_of_a_time_to_come_hides_none_until_then(
    settings: Settings, tokens: dict[str, str], store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK", 0.1)
    told(store, ["c"], seconds_ahead=250)
    with client_of(settings, tokens["viewer"]) as client, followed(client) as events:
        assert ids_until(events, "c")[-1] == "c"
        told(store, ["d"])
        assert ids_until(events, "d") == ["d"]


def test_a_fleet_that_follows_often_keeps_no_other_out(
    settings: Settings, tokens: dict[str, str], store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 connections of one token, and nobody of any other fleet followed any more."""
    monkeypatch.setattr(live, "HEARTBEAT", 0.2)

    def follow(token: str) -> tuple[int, Any]:
        request = client.build_request(
            "GET", "/api/v1/live", headers={"authorization": f"Bearer {tokens[token]}"}
        )
        answer = client.send(request, stream=True)
        held.callback(answer.close)
        lines = answer.iter_lines()
        if answer.status_code == 200:
            assert next(lines).startswith("retry")
        return answer.status_code, lines

    with client_of(settings, None, api_live_connections=4) as client, ExitStack() as held:
        first = [follow("viewer") for _ in range(4)]
        assert [status for status, _ in first] == [200] * 4
        assert follow("operator")[0] == 503, "of the same fleet"
        others = [follow("other") for _ in range(2)]
        assert [status for status, _ in others] == [200, 200]
        for _, lines in first[2:]:
            for _ in lines:
                pass  # it ends
        assert follow("other")[0] == 503, "each has a half"
        assert any(line for line in others[0][1])
