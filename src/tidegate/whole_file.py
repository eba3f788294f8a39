"""Files that are written whole or not at all, and read by processes of other users than who writes them.

A role runs as a user of its own, and a command often as root. So a file that is written anew keeps its owner,
its group and its mode: as the writer's own the roles could read it no more, and would go on with what they
read before, a token that was revoked among it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OWNER_ONLY = 0o600


def write(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write the file; False where there is one and it is not to be replaced. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, OWNER_ONLY)
        with os.fdopen(handle, "wb") as file:
            if replace:
                _like(path, handle)
            file.write(data)
            file.flush()
            os.fsync(handle)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # fails where another process was first
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One writer of the file at a time: of two that read, change and write it at once, one's change would be
    lost. Raises OSError."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        folder = path.parent.stat()
        with suppress(PermissionError):  # made by root it would keep the folder's owner out
            os.fchown(handle, folder.st_uid, folder.st_gid)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _like(path: Path, handle: int) -> None:
    """Owner, group and mode of the file that is there, as far as this process may give them away."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return
    own = os.fstat(handle)
    mode = stat.S_IMODE(before.st_mode) & 0o777
    if own.st_gid != before.st_gid:
        try:
            os.fchown(handle, -1, before.st_gid)
        except PermissionError:
            mode &= ~0o070  # the group that may read it is not this one
    if own.st_uid != before.st_uid:
        with suppress(PermissionError):
            os.fchown(handle, before.st_uid, -1)
    os.fchmod(handle, mode)
