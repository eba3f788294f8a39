"""Settings that are not what their writer thinks: refused before anything starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import roles


def tidegate(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = roles.environment(settings)
    return subprocess.run(
        roles.command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", ["gateway", "worker", "sink", "api", "check", "topics", "migrate"])
def test_a_misspelt_limit_is_not_passed_over(tmp_path: Path, command: str) -> None:
    """It was before: a gateway with `TIDEGATE_GATEWAY_MAX_BODY_BYTE` ran with the default limit."""
    done = tidegate(tmp_path, command, gateway_max_body_byte="1000")
    assert done.returncode == 2
    assert "TIDEGATE_GATEWAY_MAX_BODY_BYTE is no setting" in done.stderr
    assert "did you mean TIDEGATE_GATEWAY_MAX_BODY_BYTES?" in done.stderr


def test_a_misspelt_secret_is_not_shown_where_it_is_refused(tmp_path: Path) -> None:
    """A password in a variable with a slip in its name ran without one; it is not printed now either."""
    done = tidegate(tmp_path, "check", clickhouse_ur="http://tidegate:geheim@127.0.0.1:1")
    assert done.returncode == 2
    assert "did you mean TIDEGATE_CLICKHOUSE_URL?" in done.stderr
    assert "geheim" not in done.stdout + done.stderr
