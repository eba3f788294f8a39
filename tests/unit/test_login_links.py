"""Links that log in: once, in time, and told apart from anything that was never made."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate.login_links import LoginLinks


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_link_is_good_once(tmp_path: Path) -> None:
    links = LoginLinks(tmp_path / "links")
    code = links.create("ab" * 32, seconds=60)
    assert links.take(code) == "ab" * 32
    assert links.take(code) is None
    assert LoginLinks(tmp_path / "links").take(code) is None


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    links = LoginLinks(tmp_path)
    code = links.create("cd" * 32, seconds=60)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(links.take, [code] * 40))
    assert sorted(each for each in found if each) == ["cd" * 32]


def test_a_link_ends(tmp_path: Path) -> None:
    clock = Clock()
    links = LoginLinks(tmp_path, clock=clock)
    code = links.create("ef" * 32, seconds=60)
    clock.now += 60
    assert links.take(code) is None


def test_a_link_that_is_good_for_days_is_not_swept_away_before(tmp_path: Path) -> None:
    clock = Clock()
    links = LoginLinks(tmp_path, clock=clock)
    days = [links.create("ef" * 32, seconds=7 * 86_400) for _ in range(2)]
    short = links.create("ab" * 32, seconds=60)
    (tmp_path / "foreign").write_text("no link")
    for path in tmp_path.iterdir():
        os.utime(path, (clock.now, clock.now))
    clock.now += 2 * 86_400
    links.create("ab" * 32, seconds=60)
    assert links.take(days[0]) == "ef" * 32
    assert len([*tmp_path.iterdir()]) == 2 and links.take(short) is None
    clock.now += 7 * 86_400
    links.create("ab" * 32, seconds=60)
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("code", ["", "../tokens.json", "x" * 43, "a" * 42 + "\n", "/etc/passwd", "é" * 43])
def test_what_is_no_code(tmp_path: Path, code: str) -> None:
    links = LoginLinks(tmp_path)
    made = links.create("00" * 32, seconds=60)
    assert links.take(code) is None
    assert links.take(made) == "00" * 32


def test_neither_code_nor_token_stands_in_the_folder_and_it_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    code = LoginLinks(folder).create("12" * 32, seconds=60)
    [file] = folder.iterdir()
    assert code not in file.name and code not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
