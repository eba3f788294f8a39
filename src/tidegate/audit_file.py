"""The audit file beside the token file: who made and revoked tokens, and drew keys. Lines are only added.

NDJSON; each line carries the SHA-256 of the one before it, so that a line that was changed or taken out
shows. It is written before what it tells is done: nothing is done that it does not tell.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tidegate.errors import UsageError

NAME = "audit.ndjson"


class Entry(msgspec.Struct, frozen=True):
    at: str  # ISO 8601, UTC
    kind: str  # token_created, token_revoked, key_rotated
    by: str  # user and host
    fleet: str
    subject: str  # name of the token or the key file
    details: dict[str, Any]
    previous: str  # SHA-256 of the line before, hexadecimal; empty for the first


class Found(NamedTuple):
    entries: list[Entry]
    broken: int  # number of the first line that does not follow the one before it; 0: none


def beside(path: Path) -> Path:
    """The audit file of a token or key file."""
    return path.with_name(NAME)


def operator() -> str:
    """Who runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def append(path: Path, kind: str, *, subject: str, fleet: str = "", details: Mapping[str, Any]) -> None:
    """Add a line, on disk when this returns. Raises UsageError where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(handle, fcntl.LOCK_EX)
            content = file.read()
            entry = Entry(
                at=datetime.now(UTC).isoformat(timespec="microseconds"),
                kind=kind,
                by=operator(),
                fleet=fleet,
                subject=subject,
                details=dict(details),
                previous=_last(content),
            )
            torn = b"" if content.endswith(b"\n") or not content else b"\n"  # by a power cut
            file.write(torn + msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(handle)
    except OSError as error:
        raise UsageError(f"the audit file {path} cannot be written: {error.strerror}") from error


def read(path: Path) -> Found:
    """Every line; none where there is no file. Raises UsageError where it cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Found([], 0)
    except OSError as error:
        raise UsageError(f"the audit file {path} cannot be read: {error.strerror}") from error
    entries, previous, broken = [], "", 0
    for number, line in enumerate(lines, 1):
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            broken = broken or number
        else:
            if entry.previous != previous:
                broken = broken or number
            entries.append(entry)
        previous = hashlib.sha256(line).hexdigest()
    return Found(entries, broken)


def _last(content: bytes) -> str:
    lines = content.splitlines()
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""
