"""The crash journal: what a process died of is known to the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.worker.crash_journal import CrashJournal, RecordPosition

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
PLACE = RecordPosition("device_logs", 7, 2**40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "journal"


def die_at(path: Path, place: RecordPosition, *lines: int) -> None:
    """A process that ends without clearing its journal."""
    journal = CrashJournal(path, EPOCH)
    journal.at(place, *lines)


def test_nobody_is_suspect_at_first_and_after_records_that_went_well(path: Path) -> None:
    journal = CrashJournal(path, EPOCH)
    journal.at(PLACE)
    journal.clear()
    assert CrashJournal(path, EPOCH).suspect is None


def test_deaths_at_the_same_record_are_counted(path: Path) -> None:
    for deaths in (1, 2, 3):
        die_at(path, PLACE)
        suspect = CrashJournal(path, EPOCH).of(PLACE)
        assert suspect is not None
        assert suspect.deaths == deaths


def test_a_death_elsewhere_begins_anew(path: Path) -> None:
    die_at(path, PLACE)
    die_at(path, other := RecordPosition("device_logs", 7, 5))
    journal = CrashJournal(path, EPOCH)
    assert journal.of(PLACE) is None
    assert journal.of(other) is not None


def test_lines_that_killed_are_remembered(path: Path) -> None:
    for _ in range(3):
        die_at(path, PLACE)
    die_at(path, PLACE, 4)
    die_at(path, PLACE, 9)
    suspect = CrashJournal(path, EPOCH).of(PLACE)
    assert suspect is not None
    assert (suspect.deaths, suspect.lines) == (3, [4, 9])


def test_another_epoch_knows_no_suspects(path: Path) -> None:
    die_at(path, PLACE)
    CrashJournal(path, EPOCH)
    assert CrashJournal(path, EPOCH[:-1] + "0").suspect is None
