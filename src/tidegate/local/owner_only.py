"""Keeps the data folder its owner's alone: folders 0700, files 0600."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

OTHERS = 0o077


def keep_private(folder: Path) -> int:
    """From here on this process and its children make files for their owner alone; what is in `folder`
    already, and open to others, is closed to them. Returns how many files and folders that were.
    """
    os.umask(OTHERS)
    folder.mkdir(parents=True, exist_ok=True)
    closed = int(_close(folder))
    for at, folders, files in os.walk(folder):
        closed += sum(_close(Path(at, name)) for name in (*folders, *files))
    return closed


def _close(path: Path) -> bool:
    with suppress(FileNotFoundError):  # it may be a file of a process that is at its end
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & OTHERS:
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
            return True
    return False
