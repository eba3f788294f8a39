"""`tidegate webhook`, as far as it needs no ClickHouse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from webhook_receiver import Reply, receiver

from tidegate.cli import main
from tidegate.local.child import free_port
from tidegate.webhooks.endpoints import key_of

KEY = "R0123456789ABCDEF"


@pytest.fixture
def webhook(tmp_path: Path) -> Any:
    def run(*arguments: str, input: str = "", **settings: str) -> Result:
        values = {
            "data_dir": str(tmp_path),
            "webhook_allow": "127.0.0.1",
            "clickhouse_url": f"http://127.0.0.1:{free_port()}",
            **settings,
        }
        environment = {f"TIDEGATE_{name.upper()}": value for name, value in values.items()}
        return CliRunner().invoke(main, ["webhook", *arguments], input=input, env=environment)

    return run


def create(webhook: Any, name: str = "noc", *more: str, **changed: str) -> Result:
    result: Result = webhook(
        "create", name, "--fleet", "demo", "--url", "https://127.0.0.1:1/x?key=hidden", *more, **changed
    )
    return result


def test_a_secret_is_printed_once(webhook: Any) -> None:
    secret = create(webhook).output.strip()
    assert key_of(secret)
    for arguments in (["list"], ["list", "--json"], ["deliveries"], ["test", "noc"]):
        result = webhook(*arguments)
        assert secret not in result.output and "hidden" not in result.output
    [row] = json.loads(webhook("list", "--json").output)["webhooks"]
    assert (row["name"], row["url"], row["secrets"]) == ("noc", "https://127.0.0.1:1/x?***", 1)
    again = webhook("rotate", "noc").output.strip()
    assert key_of(again) != key_of(secret)
    assert json.loads(webhook("list", "--json").output)["webhooks"][0]["secrets"] == 2


def test_secret_addresses_and_keys_come_from_a_file_or_standard_input(webhook: Any, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://127.0.0.1/services/T0/secret\n")
    made = webhook(
        "create", "chat", "--fleet", "demo", "--format", "slack", "--url-file", str(tmp_path / "url")
    )
    assert made.exit_code == 0 and made.output.startswith("chat (we_")
    assert "https://127.0.0.1/***" in webhook("list").output
    pager = ("create", "pager", "--fleet", "demo", "--format", "pagerduty", "--url", "https://127.0.0.1/v2")
    made = webhook(*pager, "--routing-key-file", "-", input=KEY + "\n")
    assert made.exit_code == 0 and KEY not in made.output
    assert KEY in (tmp_path / "webhooks.json").read_text()
    assert webhook("rotate", "pager").exit_code == 2
    assert webhook("rotate", "pager", "--routing-key-file", "-", input=KEY[::-1]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "x", "--fleet", "demo", "--url", "https://10.0.0.1/"), "url: 10.0.0.1 is private"),
        (("create", "x", "--fleet", "demo"), "url: is missing"),
        (("create", "x", "--fleet", "demo", "--url-file", "/nowhere"), "url: /nowhere: No such file"),
        (("create", "x", "--fleet", "demo", "--url", "https://127.0.0.1/", "--url-file", "-"), "given twice"),
        (
            ("create", "noc", "--fleet", "demo", "--url", "https://127.0.0.1/"),
            "name: fleet demo has",
        ),
        (("create", "x", "--fleet", "demo", "--format", "pagerduty"), "routing_key: "),
        (("test", "other"), "name: no webhook is named 'other'"),
        (("delete", "other"), "name: no webhook is named 'other'"),
        (("delete", "noc", "--fleet", "other"), "name: no webhook is named 'noc'"),
        (("rotate", "noc", "--overlap", "soon"), "overlap: 'soon' is not a time"),
        (("rotate", "noc", "--overlap", "99999w"), "overlap: '99999w' is more than a year"),
        (("replay",), "replay: name webhook-ids"),
        (("replay", "msg_1", "--failed"), "replay: name webhook-ids"),
    ],
)
def test_wrong_usage_names_the_field(webhook: Any, arguments: tuple[str, ...], told: str) -> None:
    create(webhook)
    result = webhook(*arguments)
    assert (result.exit_code, told in result.output) == (2, True), result.output


def test_a_list_that_cannot_be_read_is_told(webhook: Any) -> None:
    result = create(webhook, webhook_allow="10.0.0.0/99")
    assert result.exit_code == 2 and "webhook_allow: '10.0.0.0/99'" in result.output


def test_without_clickhouse_the_log_says_so(webhook: Any) -> None:
    for arguments in (["deliveries"], ["replay", "msg_1"]):
        result = webhook(*arguments)
        assert result.exit_code == 1 and "ClickHouse is away" in result.output


@pytest.mark.parametrize("status", [204, 500])
def test_a_test_says_what_came_of_it(webhook: Any, status: int, tmp_path: Path) -> None:
    with receiver(lambda path, before: Reply(status, body=b"\x1b[31mred\x07"), tmp_path) as at:
        made = webhook("create", "noc", "--fleet", "demo", "--url", f"{at.url}/hook")
        assert made.exit_code == 0
        result = webhook("test", "noc", webhook_ca_file=str(at.ca_file))
    if status == 204:
        assert result.exit_code == 0
        assert [line.split(":")[0] for line in result.output.splitlines()] == ["open", "resolved"]
        assert [json.loads(one.body)["type"] for one in at.received] == ["alert.open", "alert.resolved"]
    else:
        assert result.exit_code == 1
        assert result.output == "tidegate: noc: not delivered: answers 500: [31mred\n"


def test_deleted_and_enabled(webhook: Any) -> None:
    create(webhook)
    assert webhook("enable", "noc").exit_code == 0
    assert "noc (we_" in webhook("delete", "noc").output
    assert json.loads(webhook("list", "--json").output) == {"webhooks": []}
