"""`tidegate alerts silence`, as far as it needs no broker."""

from __future__ import annotations

from pathlib import Path

import roles

from tidegate.local.child import free_port
from tidegate.tokens import TokenFile

NO_RULE = "tidegate: --rule: no rule 'no_such'"


def silence(folder: Path, *arguments: str) -> tuple[int, str]:
    values = {"data_dir": folder, "kafka_bootstrap": f"127.0.0.1:{free_port()}"}
    done = roles.run("alerts", "silence", *arguments, values=values)
    return done.returncode, done.stderr


def test_a_fleet_that_does_not_exist_is_not_silenced(tmp_path: Path) -> None:
    """A misspelt one was told to be silenced, and its alerts went on."""
    status, said = silence(tmp_path, "dmeo", "--rule", "no_such")  # without a token file nobody knows
    assert status == 2 and said.startswith(NO_RULE)
    TokenFile(tmp_path / "tokens.json").create("phone", fleet="demo", role="ingest")
    assert silence(tmp_path, "dmeo") == (2, "tidegate: no fleet 'dmeo'; there is: demo\n")
    status, said = silence(tmp_path, "demo", "--rule", "no_such")
    assert status == 2 and said.startswith(NO_RULE)
