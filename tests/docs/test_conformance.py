"""docs/api-conformance.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_row_has_a_test_that_is_there(repository: Path) -> None:
    there = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    page = (repository / "docs" / "api-conformance.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    rows = [row for row in rows if not row.startswith("| --- ")]
    assert rows
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1])
        assert named and set(named) <= there, row
