"""Prometheus' promtool, as `make promtool` builds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import toolchains
import yaml

MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Skips where it is not built; with `CI` set that is a failure."""
    [version] = re.findall(r"^PROMTOOL := (\S+)", MAKEFILE.read_text("utf-8"), re.MULTILINE)
    built = Path.home() / ".cache/tidegate" / f"promtool-{version}"
    program = shutil.which("promtool", path=f"{built}:{os.environ['PATH']}")
    if program is None:
        toolchains.refuse("needs promtool: `make promtool` builds it")
        raise AssertionError
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)


def unit_tests(folder: Path, tests: list[dict[str, Any]], *, rules: Path | None = None) -> None:
    """Assert that these groups of promtool's unit tests hold, a sample a minute, on a file of rules."""
    document = {
        "rule_files": [str(rules)] if rules else [],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", **test} for test in tests],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    done = promtool("test", "rules", "tests.yml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
