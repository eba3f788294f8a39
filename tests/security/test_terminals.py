"""What commands print of what strangers wrote: it commands no terminal, and makes no line of its own."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
import roles
from alert_documents import alert
from click.testing import CliRunner
from databases import migrated, settings_of

from tidegate.cli import main
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.alerts import block
from tidegate.store.insert import insert
from tidegate.verify.balance import Finding
from tidegate.verify.report import Report, show

ODD = "\x1b]0;theirs\x07\x9b2J\r\u202eeno\u2028two\nverdict: balanced"
EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"


def is_harmless(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.mark.parametrize("finding", [Finding(f"alert {ODD}", "SELECT 1"), Finding("x", f"SELECT '{ODD}'")])
def test_a_finding_of_verify(finding: Finding) -> None:
    said: list[str] = []
    report = Report(date(2026, 1, 1), date(2026, 1, 2), [], findings=[finding])
    show(report, said.append)
    text = "\n".join(said)
    assert "theirs" in text and is_harmless(text)
    assert "\nverdict" not in text
    [told] = json.loads(report.as_json())["findings"]
    assert ODD in told["what"] + told["sql"], "the document has it as it is"


def test_the_error_of_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "\x1b]0;theirs\x07\x9b2J"
    folder.mkdir()
    result = CliRunner().invoke(main, ["webhook", "list"], env={"TIDEGATE_WEBHOOKS_FILE": str(folder)})
    assert result.exit_code == 2
    assert "theirs" in result.output and is_harmless(result.output)


def test_a_list_of_alerts(clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    settings = settings_of(clickhouse, data_dir=str(tmp_path), kafka_bootstrap=f"127.0.0.1:{free_port()}")
    with migrated(settings) as client:
        rows = [alert(id=f"id{ODD}"), alert(id="b", fleet=f"fleet{ODD}"), alert(id="c", summary=ODD)]
        insert(client, settings.clickhouse_database, block(rows, EPOCH), token="")
        values = {
            name: getattr(settings, name)
            for name in ("clickhouse_url", "clickhouse_database", "data_dir", "kafka_bootstrap")
        }
        done = roles.run("alerts", "list", values=values)
    assert len(done.stdout.splitlines()) == len(rows), done
    assert done.stdout.count("theirs") == len(rows) and is_harmless(done.stdout)
