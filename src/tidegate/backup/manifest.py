"""What a backup is: a folder of files, and `manifest.json`, which is written last. Without it it is none.

Each file is the answer to one SELECT in ClickHouse's Native format, compressed with zstd, with its SHA-256 in
the manifest. A backup holds no keys, no tokens and no passwords.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from tidegate.errors import Rejected, Stop

NAME = "manifest.json"
FORMAT = 1
CHUNK_BYTES = 1 << 20


class Part(msgspec.Struct, frozen=True):
    """One file."""

    table: str
    file: str  # its path within the folder
    columns: list[str]
    sha256: str
    size: int  # bytes of the file
    rows: int | None = None  # None where the table may have grown while it was read
    views: bool = False  # rows go in with the materialized views in place, which make the rollups of them
    token: str = ""  # of the insert: the sink may send the same block again


class Position(msgspec.Struct, frozen=True):
    """Where the sink stood in one partition: everything up to here is in the backup, nothing behind it."""

    epoch: str
    stream: str
    partition: int
    raw_last: int  # offset of the last raw record whose lines are stored
    enriched_last: int


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: `manifest.json` in its folder, written last."""

    format: int
    version: str  # Tidegate's
    clickhouse: str
    taken_at: str
    epoch: str  # the newest; empty before the first batch
    migrations: dict[int, str]  # checksum by number
    cut: list[Position]
    alerts: dict[int, int]  # by partition: the first offset of tidegate.alerts that may not be in it
    parts: list[Part]
    rebuilt_from: str = ""  # rollups of received days from here on are made anew; empty: all of them


def write(folder: Path, manifest: Manifest) -> None:
    """Make the folder a backup, at once or not at all."""
    place, draft = folder / NAME, folder / f".{NAME}"
    with create(draft) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place)


def create(path: Path) -> BinaryIO:
    """A new file of a backup, its owner's alone. Whoever else may write to the folder has it lead nowhere."""
    path.unlink(missing_ok=True)  # of an attempt before
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def read(folder: Path) -> Manifest:
    """Raises Rejected for what is no backup, or one that this version cannot read."""
    try:
        text = (folder / NAME).read_bytes()
    except OSError as error:
        raise Rejected(f"{folder} is no backup: {NAME}: {error.strerror}") from error
    try:
        found = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"{folder / NAME} cannot be read: {error}") from error
    if found.format != FORMAT:
        raise Rejected(f"{folder} is a backup of format {found.format}; this version reads {FORMAT}")
    return found


def check(folder: Path, manifest: Manifest) -> None:
    """Raise Stop, naming the file, where one is missing or is not as it was written."""
    for part in manifest.parts:
        digest = hashlib.sha256()
        try:
            with (folder / part.file).open("rb") as file:
                while piece := file.read(CHUNK_BYTES):
                    digest.update(piece)
        except OSError as error:
            raise Stop(f"{folder / part.file}: {error.strerror}") from error
        if digest.hexdigest() != part.sha256:
            raise Stop(f"{folder / part.file} is not what was written: its SHA-256 differs from {NAME}")
