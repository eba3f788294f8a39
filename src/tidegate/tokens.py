"""Bearer tokens: a file of hashes, reread when it changes, written whole or not at all.

    {"tokens": [{"name": "gw-7", "sha256": "<hex of the token>", "fleet": "demo", "role": "ingest",
                 "rate_events_per_second": 5000, "rate_bytes_per_second": 10000000,
                 "created_at": "2026-01-01T00:00:00Z"}],
     "fleets": ["demo", "a-fleet-without-tokens"]}

Only hashes are stored: `create` returns a token once. A token belongs to one fleet; the role superuser
sees all fleets. The fleets that exist are those of the tokens and those listed under `fleets`.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from tidegate.errors import UsageError

logger = logging.getLogger(__name__)


class Role(StrEnum):
    SUPERUSER = "superuser"  # everything, in all fleets
    ADMINISTRATOR = "administrator"  # reads and writes in its fleet
    OPERATOR = "operator"  # reads in its fleet
    VIEWER = "viewer"  # reads in its fleet, but not the access points
    INGEST = "ingest"  # writes in its fleet; reads only the state of a single event


WRITERS = frozenset({Role.INGEST, Role.ADMINISTRATOR, Role.SUPERUSER})
READERS = frozenset({Role.SUPERUSER, Role.ADMINISTRATOR, Role.OPERATOR, Role.VIEWER})


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the file. Rates of 0 are no limit of its own: the settings' default holds."""

    name: str
    sha256: str
    fleet: str
    role: Role
    rate_events_per_second: float = 0
    rate_bytes_per_second: float = 0
    created_at: str = ""

    @property
    def all_fleets(self) -> bool:
        return self.role is Role.SUPERUSER


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    tokens: list[Token] = []
    fleets: list[str] = []


_DECODER = msgspec.json.Decoder(_Content)


def hash_token(token: str) -> str:
    """What the file keeps of a token. Tokens carry 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenFile:
    """The tokens of one file.

    A change is seen within `check_seconds`. A missing file has no tokens; a broken one is logged and the
    last good content stays in force, so that a slip of an editor locks nobody out.
    """

    def __init__(self, path: Path | str, *, check_seconds: float = 0.5) -> None:
        self.path = Path(path)
        self._check_seconds = check_seconds
        self._checked = float("-inf")
        self._signature: tuple[int, int, int] | None = None
        self._by_hash: dict[str, Token] = {}
        self._fleets: frozenset[str] = frozenset()

    def lookup(self, token: str) -> Token | None:
        """The row of a token as it came in the request, or None."""
        self._refresh()
        return self._by_hash.get(hash_token(token))

    def fleets(self) -> frozenset[str]:
        """Every fleet that exists."""
        self._refresh()
        return self._fleets

    def list(self) -> list[Token]:
        """The rows as they stand in the file now. Raises UsageError if it is broken."""
        return list(self._read().tokens)

    def create(
        self,
        name: str,
        *,
        fleet: str,
        role: Role | str,
        rate_events_per_second: float = 0,
        rate_bytes_per_second: float = 0,
    ) -> str:
        """Add a token and return it: the only time that it is seen. Raises UsageError on a taken name."""
        if not name or not fleet:
            raise UsageError("a token needs a name and a fleet")
        try:
            known = Role(role)
        except ValueError:
            raise UsageError(f"role: {role!r} is none of {', '.join(Role)}") from None
        token = "tg_" + secrets.token_urlsafe(32)
        row = Token(
            name=name,
            sha256=hash_token(token),
            fleet=fleet,
            role=known,
            rate_events_per_second=rate_events_per_second,
            rate_bytes_per_second=rate_bytes_per_second,
            created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        with self._locked():
            content = self._read()
            if any(other.name == name for other in content.tokens):
                raise UsageError(f"there is a token named {name!r} already")
            self._write(_Content([*content.tokens, row], content.fleets))
        return token

    def revoke(self, name: str) -> bool:
        """Remove the token of that name; False if there is none. Its fleet stays known, so that events
        of it which are still in Kafka are not refused."""
        with self._locked():
            content = self._read()
            gone = [row for row in content.tokens if row.name == name]
            if not gone:
                return False
            kept = [row for row in content.tokens if row.name != name]
            fleets = list(dict.fromkeys([*content.fleets, *(row.fleet for row in gone)]))
            self._write(_Content(kept, fleets))
        return True

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < self._check_seconds:
            return
        self._checked = now
        try:
            state = self.path.stat()
        except OSError:
            signature = None
        else:
            signature = (state.st_mtime_ns, state.st_size, state.st_ino)
        if signature == self._signature:
            return
        try:
            content = self._read()
        except UsageError as error:
            logger.error("%s; the tokens read before stay in force", error)
        else:
            self._by_hash = {row.sha256.lower(): row for row in content.tokens}
            self._fleets = frozenset(content.fleets) | {row.fleet for row in content.tokens}
        self._signature = signature

    def _read(self) -> _Content:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return _Content()
        except OSError as error:
            raise UsageError(f"tokens_file {self.path}: {error.strerror}") from error
        try:
            return _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"tokens_file {self.path}: {error}") from error

    def _write(self, content: _Content) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        data = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self._checked = float("-inf")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: a read-change-write of two at once would lose a token."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
