"""Key files: secret keys of 256 random bits, each with an id, of which one is in use.

    {"current": "k2", "keys": {"k1": "<base64>", "k2": "<base64>"}}

What was made with a key names its id, so that it can be checked after a rotation: old keys stay in the
file until whoever runs it takes them out. The file has mode 0600, is written whole or not at all, and is
drawn once however many processes begin at the same time.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidegate import whole_file
from tidegate.errors import UsageError
from tidegate.file_signature import Signature, signature

log = logging.getLogger(__name__)

KEY_BYTES = 32
LEAST_KEY_BYTES = 16
MOST_BYTES = 1 << 20
CHECK_SECONDS = 1.0
_ID = re.compile(r"[A-Za-z0-9_]{1,16}")


class Keys(NamedTuple):
    """The keys of a file by id; `current` is the id of the one in use."""

    current: str
    keys: Mapping[str, bytes]

    def mac(self, message: bytes, *, id: str = "") -> bytes:
        """HMAC-SHA-256 of a message under the key `id`, or the current one. Raises KeyError."""
        return hmac.digest(self.keys[id or self.current], message, hashlib.sha256)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


def load(path: Path) -> Keys:
    """The keys of a file. Raises UsageError where it is missing, wrong, or open to other users."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"key file {path}: {error.strerror}") from error
    if mode & 0o007:
        raise UsageError(f"key file {path} is open to every user of the machine: chmod 600 it, and rotate it")
    if len(data) > MOST_BYTES:
        raise UsageError(f"key file {path}: larger than {MOST_BYTES} bytes")
    try:
        document = msgspec.json.decode(data, type=_Document)
        keys = {id: b64decode(text, validate=True) for id, text in document.keys.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise UsageError(f"key file {path}: {error}") from None
    for id, key in keys.items():
        if not _ID.fullmatch(id):
            raise UsageError(f"key file {path}: {id!r} is no id (1 to 16 of A-Z, a-z, 0-9 and _)")
        if len(key) < LEAST_KEY_BYTES:
            raise UsageError(f"key file {path}: key {id} has less than {LEAST_KEY_BYTES} bytes")
    if document.current not in keys:
        raise UsageError(f"key file {path}: current is {document.current!r}, which is not among the keys")
    return Keys(document.current, keys)


def load_or_create(path: Path) -> Keys:
    """The keys of a file, which is drawn if it is not there. Raises UsageError."""
    if not path.exists():
        keys = Keys("k1", {"k1": secrets.token_bytes(KEY_BYTES)})
        _write(path, keys, replace=False)
        log.info("drew key file %s", path)
    return load(path)


def rotate(path: Path) -> Keys:
    """Draw a new key and make it the current one; the old ones stay, and where there is no file this is the
    first. Raises UsageError."""
    if not path.exists():
        return load_or_create(path)
    try:
        with whole_file.alone(path):
            old = load(path)
            numbers = [int(id[1:]) for id in old.keys if re.fullmatch(r"k[0-9]{1,9}", id)]
            id = f"k{max(numbers, default=0) + 1}"
            keys = Keys(id, {**old.keys, id: secrets.token_bytes(KEY_BYTES)})
            _write(path, keys, replace=True)
    except OSError as error:
        raise UsageError(f"key file {path}: {error.strerror}") from error
    return keys


class KeyFile:
    """The keys of a file for a process that runs on: drawn at first use, reread when the file changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: Keys | None = None
        self._signature: Signature | None = None
        self._checked = float("-inf")

    def keys(self) -> Keys:
        """Raises UsageError at first use; later a wrong file is told, and the keys before it stay."""
        now = time.monotonic()
        if self._keys is not None and now - self._checked < CHECK_SECONDS:
            return self._keys
        self._checked = now
        try:
            if self._keys is None:
                load_or_create(self.path)
            found = signature(self.path)
            if found != self._signature:
                self._keys = load(self.path)
                self._signature = found
        except (OSError, UsageError) as error:
            if self._keys is None:
                raise UsageError(str(error)) from error
            log.error("%s; the keys read before stay in force", error)
        assert self._keys is not None
        return self._keys


def _write(path: Path, keys: Keys, *, replace: bool) -> None:
    document = {
        "current": keys.current,
        "keys": {id: b64encode(key).decode() for id, key in keys.keys.items()},
    }
    data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        whole_file.write(
            path, data, replace=replace
        )  # where another process was first, its keys are the ones
    except OSError as error:
        raise UsageError(f"key file {path}: {error.strerror}") from error
