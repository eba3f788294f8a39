"""Bearer tokens: a file of hashes, reread when it changes, written whole or not at all.

    {"tokens": [{"name": "gw-7", "sha256": "<hex of the token>", "fleet": "demo", "role": "ingest",
                 "rate_events_per_second": 5000, "rate_bytes_per_second": 10000000,
                 "created_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}],
     "fleets": ["demo", "a-fleet-without-tokens"]}

Only hashes are stored: `create` returns a token once. A token belongs to one fleet; the role superuser
sees all fleets. From `expires_at` on a token lets nobody in. The fleets that exist are those of the tokens,
expired ones among them, and those listed under `fleets`.

`read` is the one parser of the file; `TokenFile` is for roles that ask who somebody is, `fleets` of the
worker for which fleets exist.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from tidegate import audit_file, whole_file
from tidegate.errors import UsageError
from tidegate.file_signature import Signature, signature

logger = logging.getLogger(__name__)


class Role(StrEnum):
    SUPERUSER = "superuser"  # everything, in all fleets
    ADMINISTRATOR = "administrator"  # reads and writes in its fleet
    OPERATOR = "operator"  # reads in its fleet
    VIEWER = "viewer"  # reads in its fleet, but not the access points
    INGEST = "ingest"  # writes in its fleet; reads only the state of a single event


WRITERS = frozenset({Role.INGEST, Role.ADMINISTRATOR, Role.SUPERUSER})
EDITORS = frozenset({Role.ADMINISTRATOR, Role.SUPERUSER})
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
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def is_expired(self, now: float) -> bool:
        """Whether the token has ended at `now`, epoch seconds."""
        return self.expires_at is not None and now >= self.expires_at.timestamp()

    @property
    def all_fleets(self) -> bool:
        return self.role is Role.SUPERUSER


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file holds."""

    tokens: list[Token] = []
    fleets: list[str] = []

    def known_fleets(self) -> frozenset[str]:
        """Every fleet that exists."""
        return frozenset(self.fleets) | {row.fleet for row in self.tokens}


MOST_BYTES = 64 << 20
"""A larger file is refused: it is something else, and would fill the memory of every role."""

_DECODER = msgspec.json.Decoder(Content)
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def read(path: Path) -> Content | None:
    """What the file holds; None where it is not there. Raises UsageError where it is wrong or unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"tokens_file {path}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"tokens_file {path}: larger than {MOST_BYTES} bytes")
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"tokens_file {path}: {error}") from error


def expiry(text: str, now: datetime) -> datetime:
    """The moment that ``--expires`` means: ``90d`` from `now` on (m, h, d, w), or an ISO 8601 date or time.

    A date is its first moment, a time without a zone is UTC. Raises UsageError for anything else, and for
    what lies in the past.
    """
    try:
        if match := _DURATION.fullmatch(text.strip().lower()):
            moment = now + timedelta(**{_UNITS[match[2]]: int(match[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"expires: {text!r} is no time from now (90d, 12h, 30m, 2w), date (2027-01-31) or ISO 8601 time"
        ) from None
    if moment <= now:
        raise UsageError(f"expires: {moment:%Y-%m-%dT%H:%M:%SZ} lies in the past")
    return moment.replace(microsecond=0)


def hash_token(token: str) -> str:
    """What the file keeps of a token. Tokens carry 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenFile:
    """The tokens of one file.

    A change is seen within `check_seconds`. A missing file has no tokens; a broken one is logged and the
    last good content stays in force, so that a slip of an editor locks nobody out.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        check_seconds: float = 0.5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells the epoch seconds by which tokens expire."""
        self.path = Path(path)
        self._check_seconds = check_seconds
        self._clock = clock
        self._checked = float("-inf")
        self._signature: Signature | None = None
        self._by_hash: dict[str, Token] = {}
        self._fleets: frozenset[str] = frozenset()

    def lookup(self, token: str) -> Token | None:
        """The row of a token as it came in the request; None for one that is unknown or has expired."""
        return self._current(self._find(token))

    def by_hash(self, sha256: str) -> Token | None:
        """The row of the token with that hash, lower case; None as `lookup`."""
        self._refresh()
        return self._current(self._by_hash.get(sha256))

    def refusal(self, token: str) -> str:
        """Why `lookup` found nothing, for the answer to whoever sent the token."""
        found = self._find(token)
        if found is not None and found.expires_at is not None and found.is_expired(self._clock()):
            return f"the token expired at {written(found.expires_at)}"
        return "the token is not known"

    def _current(self, found: Token | None) -> Token | None:
        return None if found is None or found.is_expired(self._clock()) else found

    def _find(self, token: str) -> Token | None:
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
        expires_at: datetime | None = None,
    ) -> str:
        """Add a token and return it: the only time that it is seen. Raises UsageError on a taken name."""
        if not name or not fleet:
            raise UsageError("a token needs a name and a fleet")
        for what, text in (("name", name), ("fleet", fleet)):
            if _CONTROL.search(text):
                raise UsageError(f"{what}: {text!r} holds a control character")
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
            created_at=written(datetime.now(UTC)),
            expires_at=expires_at,
        )
        with self._locked():
            content = self._read()
            if any(other.name == name for other in content.tokens):
                raise UsageError(f"there is a token named {name!r} already")
            details = {"role": known.value, "expires_at": expires_at and written(expires_at)}
            audit_file.append(
                audit_file.beside(self.path), "token_created", subject=name, fleet=fleet, details=details
            )
            self._write(Content([*content.tokens, row], content.fleets))
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
            for row in gone:
                audit_file.append(
                    audit_file.beside(self.path),
                    "token_revoked",
                    subject=name,
                    fleet=row.fleet,
                    details={"role": row.role.value},
                )
            fleets = list(dict.fromkeys([*content.fleets, *(row.fleet for row in gone)]))
            self._write(Content(kept, fleets))
        return True

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < self._check_seconds:
            return
        self._checked = now
        found = signature(self.path)
        if found == self._signature:
            return
        try:
            content = self._read()
        except UsageError as error:
            logger.error("%s; the tokens read before stay in force", error)
        else:
            self._by_hash = {row.sha256.lower(): row for row in content.tokens}
            self._fleets = content.known_fleets()
        self._signature = found

    def _read(self) -> Content:
        return read(self.path) or Content()

    def _write(self, content: Content) -> None:
        data = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        whole_file.write(self.path, data)
        self._checked = float("-inf")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: a read-change-write of two at once would lose a token."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file.alone(self.path):
            yield


def written(moment: datetime) -> str:
    """A moment as it stands in the file and in answers: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
