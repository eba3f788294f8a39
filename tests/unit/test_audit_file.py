"""The audit file: what is written before it is done, and what shows when a line was touched."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegate import audit_file
from tidegate.errors import UsageError
from tidegate.tokens import TokenFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / audit_file.NAME


def add(path: Path, *subjects: str) -> None:
    for subject in subjects:
        audit_file.append(path, "token_created", subject=subject, fleet="demo", details={"role": "viewer"})


def test_lines_follow_one_another(path: Path) -> None:
    assert audit_file.read(path) == ([], 0)
    add(path, "a", "b", "ü\n")
    found = audit_file.read(path)
    assert [(entry.kind, entry.subject) for entry in found.entries] == [
        ("token_created", subject) for subject in ("a", "b", "ü\n")
    ]
    assert found.broken == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "line"),
    [("changed", 3), ("gone", 2), ("first gone", 1), ("unreadable", 2), ("swapped", 2)],
)
def test_a_line_that_was_touched_shows(path: Path, change: str, line: int) -> None:
    add(path, "a", "b", "c", "d")
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "changed":
        lines[1] = lines[1].replace(b'"b"', b'"x"')
    elif change == "gone":
        del lines[1]
    elif change == "first gone":
        del lines[0]
    elif change == "unreadable":
        lines[1] = b"?\n"
    else:
        lines[1:3] = reversed(lines[1:3])
    path.write_bytes(b"".join(lines))
    assert audit_file.read(path).broken == line


def test_a_line_that_was_torn_is_told_and_the_next_stands_by_itself(path: Path) -> None:
    add(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-20])
    add(path, "c")
    found = audit_file.read(path)
    assert [entry.subject for entry in found.entries] == ["a", "c"]
    assert found.broken == 2


def test_tokens_are_on_record_before_they_are_there(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    until = datetime(2099, 1, 1, tzinfo=UTC)
    secret = tokens.create("one", fleet="demo", role="viewer", expires_at=until)
    assert tokens.revoke("one") and not tokens.revoke("one")
    path = tmp_path / audit_file.NAME
    created, revoked = audit_file.read(path).entries
    assert (created.kind, created.fleet, created.subject) == ("token_created", "demo", "one")
    assert created.details == {"role": "viewer", "expires_at": "2099-01-01T00:00:00Z"}
    assert (revoked.kind, revoked.fleet, revoked.subject) == ("token_revoked", "demo", "one")
    assert secret not in path.read_text() and created.by == audit_file.operator()
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="audit file"):
        tokens.create("two", fleet="demo", role="viewer")
    assert tokens.list() == []


@pytest.mark.parametrize("text", ['{"at":"\udcff"}', '{"x":' + "[" * 100_000])
def test_a_line_that_cannot_be_read_at_all_is_told(path: Path, text: str) -> None:
    """It ended `tidegate audit`, which is there to tell of it."""
    add(path, "a")
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "surrogateescape") + b"\n")
    assert audit_file.read(path).broken == 2
