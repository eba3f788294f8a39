"""Key files: drawn once, private, and wrong ones told by what is wrong."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate import keyfile
from tidegate.errors import UsageError

KEY = base64.b64encode(bytes(range(32))).decode()


def test_processes_that_begin_together_draw_one_key(tmp_path: Path) -> None:
    path = tmp_path / "data" / "key.json"
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(keyfile.load_or_create, [path] * 64))
    assert len({keys.keys["k1"] for keys in found}) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["key.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "truncated"),
        ("[]", "object"),
        (json.dumps({"current": "k2", "keys": {"k1": KEY}}), "current is 'k2'"),
        (json.dumps({"current": "k1", "keys": {"k1": "AAAA"}}), "less than 16 bytes"),
        (json.dumps({"current": "k1", "keys": {"k1": "*"}}), "base64"),
        (json.dumps({"current": "k 1", "keys": {"k 1": KEY}}), "is no id"),
        (json.dumps({"current": "k1", "keys": {"k1": KEY}, "kyes": 1}), "kyes"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=str(path)) as raised:
        keyfile.load(path)
    assert says in str(raised.value) and KEY not in str(raised.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    keyfile.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="open to every user"):
        keyfile.load(path)


def test_a_running_process_sees_a_rotation_and_outlives_a_slip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyfile, "CHECK_SECONDS", 0.0)
    file = keyfile.KeyFile(tmp_path / "key.json")
    first = file.keys()
    second = keyfile.rotate(file.path)
    assert (second.current, set(second.keys)) == ("k2", {"k1", "k2"})
    assert file.keys() == second and first.keys["k1"] == second.keys["k1"]
    file.path.write_text("{")
    assert file.keys() == second


def test_the_first_rotation_draws_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pseudonym-key.json"
    assert keyfile.rotate(path).current == "k1"
    assert (keyfile.rotate(path).current, set(keyfile.load(path).keys)) == ("k2", {"k1", "k2"})


def test_rotations_at_once_lose_no_key(tmp_path: Path) -> None:
    """What was made with a key that another rotation wrote over could be neither checked nor found again."""
    path = tmp_path / "key.json"
    keyfile.load_or_create(path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(keyfile.rotate, [path] * 40))
    kept = keyfile.load(path)
    assert {keys.current: keys.keys[keys.current] for keys in made}.items() <= kept.keys.items()
    assert len(kept.keys) == 41
