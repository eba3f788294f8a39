"""A scratch folder for pipes, rows that come in and the engine's configuration.

It is removed with its process; one that was left behind, by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "tidegate-pipes-"


class Scratch:
    """In the system's folder for temporary files: pipes need not work where the store lies.

    The folder is locked as long as its process lives, however that ends.
    """

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        while True:
            self.path = tempfile.mkdtemp(prefix=PREFIX)
            self._lock = _locked(Path(self.path))
            if self._lock is not None and os.path.isdir(self.path):
                return
            if self._lock is not None:  # another process swept it before it was locked
                os.close(self._lock)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _sweep(folder: Path) -> None:
    """Remove the folders of processes that were killed."""
    for left in folder.glob(f"{PREFIX}*"):
        lock = _locked(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """The descriptor that holds the lock; None while another process has it, or the folder is not ours."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    os.close(lock)
    return None
