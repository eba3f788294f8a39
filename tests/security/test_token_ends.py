"""Bearer tokens that should have ended, and secrets that are shown: attacks on the running product."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_server import client_of
from click.testing import CliRunner
from databases import migrated, settings_of
from gateways import CLIENT_EVENTS, GatewayProcess, running_gateway
from waiting import await_

import builders
from tidegate.cli import main
from tidegate.local.broker import Broker
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.tokens import TokenFile

ENDED = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def gateway(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(embedded_broker.bootstrap, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def settings(clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    made = settings_of(clickhouse, data_dir=str(tmp_path_factory.mktemp("api")))
    with migrated(made):
        yield made


def test_a_token_of_last_year_does_not_write_any_more(gateway: GatewayProcess) -> None:
    """A token had no end: one that was lost years ago still wrote."""
    token = gateway.tokens.create("lost", fleet="demo", role="ingest", expires_at=ENDED)
    await_(lambda: gateway.post(CLIENT_EVENTS, builders.success(), token=token).status_code == 401)
    answer = gateway.post(CLIENT_EVENTS, builders.success(), token=token)
    assert answer.json()["detail"] == "the token expired at 2026-01-31T00:00:00Z"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert gateway.post(CLIENT_EVENTS, builders.success(), token="tg_guess").json()["detail"] == (
        "the token is not known"
    )


def test_a_token_ends_while_it_is_in_use(gateway: GatewayProcess) -> None:
    """It was good for as long as the file named it."""
    ends = datetime.now(UTC) + timedelta(seconds=4)
    token = gateway.tokens.create("brief", fleet="demo", role="ingest", expires_at=ends)
    await_(lambda: gateway.post(CLIENT_EVENTS, builders.success(), token=token).status_code == 201)
    await_(lambda: gateway.post(CLIENT_EVENTS, builders.success(), token=token).status_code == 401)
    assert datetime.now(UTC) >= ends


def test_a_token_of_last_year_does_not_read_any_more(settings: Settings) -> None:
    """As the gateway, the API let a token in for ever."""
    file = TokenFile(settings.tokens_path)
    good = file.create("good", fleet="demo", role="viewer", expires_at=datetime(2999, 1, 1, tzinfo=UTC))
    ended = file.create("ended", fleet="demo", role="viewer", expires_at=ENDED)
    with client_of(settings, None) as api:
        path = "/api/v1/inventory_device_log/"
        assert api.get(path, headers={"authorization": f"Bearer {good}"}).status_code == 200
        answer = api.get(path, headers={"authorization": f"Bearer {ended}"})
        assert answer.status_code == 401
        assert answer.json()["detail"] == "the token expired at 2026-01-31T00:00:00Z"


def test_a_token_is_made_with_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`token create` had no way to say one."""
    monkeypatch.setenv("TIDEGATE_DATA_DIR", str(tmp_path))

    def tidegate(*arguments: str) -> Any:
        return CliRunner().invoke(main, arguments)

    create = ("token", "create", "--fleet", "demo", "--role", "ingest")
    assert tidegate(*create, "a", "--expires", "90d").exit_code == 0
    assert tidegate(*create, "b", "--expires", "2999-01-31").exit_code == 0
    assert tidegate(*create, "c").exit_code == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "tokens.json").read_text())["tokens"]}
    ends = datetime.fromisoformat(rows["a"]["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=10)
    assert rows["b"]["expires_at"] == "2999-01-31T00:00:00Z" and "expires_at" not in rows["c"]
    for wrong in ("2001-01-01", "soon", "0d", "-1d", "999999w", ""):
        refused = tidegate(*create, "x", "--expires", wrong)
        assert refused.exit_code == 2 and "expires" in refused.output, (wrong, refused.output)
    content = json.loads((tmp_path / "tokens.json").read_text())
    content["tokens"][0]["expires_at"] = "2026-01-31T00:00:00Z"
    (tmp_path / "tokens.json").write_text(json.dumps(content))
    listed = {line.split()[0]: line for line in tidegate("token", "list").output.splitlines()}
    assert "2026-01-31T00:00:00Z (expired)" in listed["a"]
    assert listed["b"].endswith("2999-01-31T00:00:00Z") and listed["c"].endswith("-")
    content["tokens"][0]["expires_at"] = "next year"
    (tmp_path / "tokens.json").write_text(json.dumps(content))
    broken = tidegate("token", "list")
    assert broken.exit_code == 2 and "tokens[0].expires_at" in broken.output


PASSWORDS = ["p@zq7x", "p@s:s@w0rqx", "a/b@c", "s3cret#", "%40%2f", "q?x@y", "line\nbreak@", "@", "@@"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_check_shows_no_part_of_a_password(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `http://user:p@zq7x@host` it showed `zq7x`; a `/` in a password made a traceback that quoted it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_CLICKHOUSE_URL", f"http://tide:{password}@127.0.0.1:1")
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code in (1, 2) and not isinstance(result.exception, ValueError)
    shown = [line for line in result.output.splitlines() if "clickhouse" in line.lower()]
    assert any("clickhouse_url = 'http://tide:***@127.0.0.1:1'" in line for line in shown), shown
    parts = [part for part in re.split(r"[@:/?#\s]", password) if len(part) > 1]
    assert not [part for part in parts for line in shown if part in line.replace("http://", "")], shown
