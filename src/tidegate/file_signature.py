"""What tells one state of a file from another, for who reads it again when it changes."""

from __future__ import annotations

from pathlib import Path

Signature = tuple[int, int, int]


def signature(path: Path) -> Signature | None:
    """None where the file is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_size, state.st_ino)
