"""The files of a backup: whose they are, and where they are written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tidegate.backup import manifest
from tidegate.backup.manifest import Manifest
from tidegate.errors import Rejected

EMPTY = Manifest(
    format=1,
    version="1",
    clickhouse="1",
    taken_at="",
    epoch="",
    migrations={},
    cut=[],
    alerts={},
    parts=[],
)


def test_a_link_in_the_folder_leads_nowhere(tmp_path: Path) -> None:
    """A folder that was there may be another's: what stood behind its links was written over."""
    folder, victim = tmp_path / "backup", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"mine")
    for name in ("00001-rejects.native.zst", f".{manifest.NAME}"):
        (folder / name).symlink_to(victim)
    with manifest.create(folder / "00001-rejects.native.zst") as file:
        file.write(b"rows")
    manifest.write(folder, EMPTY)
    assert victim.read_bytes() == b"mine"
    for path in folder.iterdir():
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600 and not path.is_symlink()
    assert manifest.read(folder) == EMPTY


@pytest.mark.parametrize("text", [b"", b"{", b'{"format":1,"version":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_what_is_no_manifest_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / manifest.NAME).write_bytes(text)
    with pytest.raises(Rejected, match=manifest.NAME):
        manifest.read(tmp_path)
