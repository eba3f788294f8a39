"""Files written whole: what is there keeps its owner, group and mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate import keyfile, whole_file
from tidegate.tokens import TokenFile
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import EndpointFile

OTHER = 12_345  # a user and a group of nobody


def webhooks(path: Path) -> None:
    name = f"noc-{os.urandom(4).hex()}"
    EndpointFile(path).create(
        name, fleet="demo", format="standard", url="https://127.0.0.1/x", allow=allowed("127.0.0.1")
    )


def tokens(path: Path) -> None:
    file = TokenFile(path)
    file.create("one", fleet="demo", role="viewer")
    file.revoke("one")


@pytest.mark.parametrize("write", [tokens, webhooks, keyfile.rotate])
def test_who_may_read_a_file_may_read_it_when_it_is_written_anew(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    """`tidegate token revoke` as root left the roles, of a user of their own, with what they had read before:
    the token that was revoked let in whoever had it."""
    path = tmp_path / "file.json"
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    may_give = os.geteuid() == 0
    if may_give:
        os.chown(path, OTHER, OTHER)
    before = path.stat()
    write(path)
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert not [
        each for each in tmp_path.iterdir() if each.name.startswith(".file.json.") and each.suffix != ".lock"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another's folder")
def test_a_lock_that_root_took_keeps_the_folders_owner_in(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    with whole_file.alone(tmp_path / "file"):
        pass
    assert (tmp_path / ".file.lock").stat().st_uid == OTHER


def test_a_group_that_cannot_be_kept_is_given_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    state = path.stat()

    def fchown(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(
        os, "fstat", lambda _: os.stat_result((*state[:4], state[4] + 1, state[5] + 1, *state[6:]))
    )
    assert whole_file.write(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_what_is_there_stays_where_it_is_not_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert whole_file.write(path, b"first", replace=False)
    assert not whole_file.write(path, b"second", replace=False)
    assert path.read_bytes() == b"first" and [*tmp_path.iterdir()] == [path]
