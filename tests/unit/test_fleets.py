"""The fleets that exist: trouble with the file is never held against an event."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tidegate.errors import RetryLater
from tidegate.fleets import Fleets


def write(path: Path, **content: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    os.replace(fresh, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_fleets_are_those_of_tokens_and_those_listed(path: Path) -> None:
    write(path, tokens=[{"name": "a", "sha256": "00", "fleet": "demo", "role": "ingest"}], fleets=["bare"])
    fleets = Fleets(path)
    assert "demo" in fleets
    assert "bare" in fleets
    assert "other" not in fleets


def test_without_a_file_there_is_nothing_to_decide_with(path: Path) -> None:
    with pytest.raises(RetryLater, match=r"tokens\.json is not there"):
        Fleets(path)


def test_a_fleet_made_a_moment_ago_is_known(path: Path) -> None:
    write(path, fleets=["demo"])
    fleets = Fleets(path)
    assert "new" not in fleets
    write(path, fleets=["demo", "new"])
    assert "new" in fleets


@pytest.mark.parametrize("trouble", ["missing", "broken"])
def test_fleets_stay_known_while_the_file_is_in_trouble(path: Path, trouble: str) -> None:
    write(path, fleets=["demo"])
    fleets = Fleets(path)
    if trouble == "missing":
        path.unlink()
    else:
        path.write_text("{", encoding="utf-8")
    assert "other" not in fleets
    assert "demo" in fleets
