"""The command line: commands, statuses, tools that need no running part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tidegate.cli import main
from tidegate.local.child import free_port
from tidegate.preflight.check import masked
from tidegate.settings import table


@pytest.fixture
def tidegate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: str) -> Result:
        environment = {f"TIDEGATE_{name.upper()}": value for name, value in settings.items()}
        return CliRunner().invoke(main, arguments, env=environment)

    return run


@pytest.mark.parametrize("command", [*main.list_commands(None), "token create", "sink accept-gap"])  # type: ignore[arg-type]
def test_every_command_has_help(tidegate: Any, command: str) -> None:
    result = tidegate(*command.split(), "--help")
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_wrong_usage_and_settings_end_with_two(tidegate: Any) -> None:
    assert tidegate("nonsense").exit_code == 2
    result = tidegate("check", kafka_partitions="many")
    assert result.exit_code == 2
    assert "TIDEGATE_KAFKA_PARTITIONS: 'many' is not a whole number" in result.output


def test_tokens(tidegate: Any, tmp_path: Path) -> None:
    made = tidegate("token", "create", "gw", "--fleet", "acme", "--role", "ingest", "--rate", "50")
    token = made.output.strip()
    content = (tmp_path / "tidegate-data" / "tokens.json").read_text()
    assert token not in content and json.loads(content)["tokens"][0]["fleet"] == "acme"
    assert "acme" in tidegate("token", "list").output
    assert "50/s" in tidegate("token", "list").output
    limited = ("token", "create", "lte", "--fleet", "acme", "--role", "ingest", "--rate-bytes", "1000000")
    assert tidegate(*limited).exit_code == 0
    assert "1,000,000/s" in tidegate("token", "list").output
    assert token not in tidegate("token", "list").output
    assert tidegate("token", "create", "gw", "--fleet", "acme", "--role", "ingest").exit_code == 2
    assert tidegate("token", "create", "x", "--fleet", "acme", "--role", "king").exit_code == 2
    assert tidegate("token", "revoke", "gw").exit_code == 0
    assert tidegate("token", "revoke", "gw").exit_code == 2


def test_lookups(tidegate: Any, tmp_path: Path) -> None:
    result = tidegate("lookups")
    assert result.exit_code == 0 and "mccmnc.csv" in result.output
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sites.csv").write_text("nothing,of,this\n1,2,3\n")
    result = tidegate("lookups", "mine")
    assert result.exit_code == 1 and "sites.csv" in result.output


def test_check_masks_and_fails(tidegate: Any) -> None:
    result = tidegate(
        "check",
        kafka_bootstrap=f"127.0.0.1:{free_port()}",
        clickhouse_url=f"http://me:geheim@127.0.0.1:{free_port()}",
    )
    assert result.exit_code == 1
    assert "geheim" not in result.output
    assert "* clickhouse_url = 'http://me:***@127.0.0.1" in result.output
    assert "kafka: FAILED" in result.output and "clickhouse: FAILED" in result.output
    assert "ok       webhooks: " in result.output


def test_masks() -> None:
    rows = {row.name: row for row in table()}
    assert masked(rows["clickhouse_url"], "http://h:1") == "'http://h:1'"
    assert masked(rows["clickhouse_url"], "plain") == "'***'"
    assert masked(rows["kafka_partitions"], 4) == "4"
    # A password is no URL, whatever stands in it, and a URL that is no secret may hold one.
    assert masked(rows["kafka_sasl_password"], "hunter2://x") == "'***'"
    assert masked(rows["otel_endpoint"], "https://me:hunter2@h:4318") == "'https://me:***@h:4318'"
    assert masked(rows["kafka_bootstrap"], "h:9092,i:9092") == "'h:9092,i:9092'"
