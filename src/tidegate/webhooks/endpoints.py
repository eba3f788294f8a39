"""Webhook endpoints: a file that its owner alone reads, reread when it changes, written whole or not at all.

    {"endpoints": [{"id": "we_…", "name": "noc", "fleet": "demo", "format": "standard",
                    "url": "https://noc.example/hook", "secrets": [{"value": "whsec_…"}],
                    "created_at": "2026-01-01T00:00:00Z"}]}

It holds secrets as they are: notices are signed with them. So it has mode 0600 and is refused when other
users can read it. A secret is shown once, when it is made; everything else shows `masked_url`.
"""

from __future__ import annotations

import binascii
import logging
import os
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args
from urllib.parse import unquote, urlsplit

import msgspec

from tidegate import whole_file
from tidegate.contracts.alerts import Alert, Severity
from tidegate.errors import UsageError
from tidegate.file_signature import Signature, signature
from tidegate.webhooks.addresses import Allowed, BadField, check

logger = logging.getLogger(__name__)

Format = Literal["standard", "slack", "pagerduty", "teams"]
FORMATS: tuple[Format, ...] = get_args(Format)
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)  # after a rotation both secrets sign
MOST_BYTES = 16 << 20
MOST_ENDPOINTS = 1000
MOST_OF_A_FLEET = 100
MOST_NAME = 64
LEAST_HIDDEN = 6  # characters of a part of an address that may be a secret

_SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_ROUTING_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """`value` is ``whsec_<base64>`` or, for PagerDuty, the routing key."""

    value: str
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # not used from then on


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One row of the file. `sites` empty: all of the fleet. `disabled` says why nothing is sent."""

    id: str
    name: str
    fleet: str
    format: Format
    url: str
    secrets: list[Secret] = []
    severity: Severity = "info"  # the least that is told
    sites: list[str] = []
    created_at: str = ""
    disabled: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.id}, {self.name!r}, {self.fleet!r}, {self.masked_url})"

    @property
    def masked_url(self) -> str:
        """Without what may be a secret: chat systems put theirs into the path, others into the query."""
        parts = urlsplit(self.url)
        if self.format in ("slack", "teams"):
            return f"{parts.scheme}://{parts.netloc}/***"
        return f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?***" if parts.query else "")

    def hidden(self, text: str) -> str:
        """What a receiver wrote, without what is secret of the endpoint: servers quote the address that they
        were asked for, and PagerDuty's key stands in the body."""
        parts = urlsplit(self.url)
        secret = [parts.query, *re.split("[&=]", parts.query), *(one.value for one in self.secrets)]
        if self.format in ("slack", "teams"):
            secret += [parts.path, *parts.path.split("/")]
        spelled = {one for each in secret for one in (each, unquote(each)) if len(one) >= LEAST_HIDDEN}
        for one in sorted(spelled, key=len, reverse=True):
            text = text.replace(one, "***")
        return text

    def secrets_at(self, now: float) -> list[str]:
        """Those that hold at `now`, epoch seconds; the newest first."""
        return [one.value for one in self.secrets if one.until is None or now < one.until.timestamp()]

    def wants(self, alert: Alert) -> bool:
        """Whether a change of an alert is told here. People are not told of what somebody has silenced. The
        severity of an alert never falls: who was told that it opened is told that it is over."""
        return (
            alert.fleet == self.fleet
            and _SEVERITIES.index(alert.severity) >= _SEVERITIES.index(self.severity)
            and (not self.sites or alert.scope.site in self.sites)
            and (self.format == "standard" or alert.state != "silenced")
        )


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file holds."""

    endpoints: list[Endpoint] = []


class Created(NamedTuple):
    endpoint: Endpoint
    secret: str  # the only time that it is seen; empty where the format has none


_DECODER = msgspec.json.Decoder(Content)


def new_secret() -> str:
    """A signing secret in the form of Standard Webhooks."""
    return "whsec_" + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key inside a signing secret. Raises BadField."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise BadField("secret", "is not whsec_ and 24 to 64 bytes in base64")
    return key


class EndpointFile:
    """The endpoints of one file. A change is seen within `check_seconds`; a broken file is logged, and the
    last good content stays in force."""

    def __init__(
        self, path: Path | str, *, check_seconds: float = 0.5, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        self._check_seconds = check_seconds
        self._clock = clock
        self._checked = float("-inf")
        self._signature: Signature | None = None
        self._by_id: dict[str, Endpoint] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        """By id, for a process that runs on."""
        now = time.monotonic()
        if now - self._checked >= self._check_seconds:
            self._checked = now
            found = signature(self.path)
            if found is None and self._signature is not None:
                logger.error("webhooks_file %s is gone; the endpoints read before stay in force", self.path)
            elif found != self._signature:
                try:
                    self._by_id = {row.id: row for row in self.rows()}
                except UsageError as error:
                    logger.error("%s; the endpoints read before stay in force", error)
            self._signature = found
        return self._by_id

    def rows(self, fleet: str = "") -> list[Endpoint]:
        """The rows as they stand in the file now, of one fleet or of all. Raises UsageError."""
        return [row for row in self._read() if fleet in ("", row.fleet)]

    def find(self, name: str, fleet: str = "") -> Endpoint:
        """The endpoint of that name or id. Raises BadField where there is none, or one in several fleets."""
        return _find(self.rows(fleet), name)

    def create(
        self,
        name: str,
        *,
        fleet: str,
        format: str,
        url: str = "",
        allow: Allowed,
        routing_key: str = "",
        severity: str = "info",
        sites: tuple[str, ...] = (),
    ) -> Created:
        """Add an endpoint whose address has been checked. Raises BadField naming what is wrong."""
        _check_text("name", name)
        _check_text("fleet", fleet)
        if format not in FORMATS:
            raise BadField("format", f"{format!r} is none of {', '.join(FORMATS)}")
        if severity not in _SEVERITIES:
            raise BadField("severity", f"{severity!r} is none of {', '.join(_SEVERITIES)}")
        if format == "pagerduty":
            url = url or PAGERDUTY
            if not _ROUTING_KEY.fullmatch(routing_key):
                raise BadField("routing_key", "is not the integration key of a PagerDuty service")
        elif routing_key:
            raise BadField("routing_key", f"is of pagerduty alone, not of {format}")
        if not url:
            raise BadField("url", "is missing")
        check(url, allow)
        secret = new_secret() if format == "standard" else routing_key
        endpoint = Endpoint(
            id="we_" + secrets.token_hex(8),
            name=name,
            fleet=fleet,
            format=format,
            url=url,
            secrets=[Secret(secret)] if secret else [],
            severity=severity,
            sites=[*sites],
            created_at=self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        with self._locked():
            rows = self._read()
            if any(row.name == name and row.fleet == fleet for row in rows):
                raise BadField("name", f"fleet {fleet} has a webhook named {name!r} already")
            if sum(row.fleet == fleet for row in rows) >= MOST_OF_A_FLEET:
                raise BadField("name", f"fleet {fleet} has {MOST_OF_A_FLEET} webhooks already")
            if len(rows) >= MOST_ENDPOINTS:
                raise BadField("name", f"there are {MOST_ENDPOINTS} webhooks already")
            self._write([*rows, endpoint])
        return Created(endpoint, secret if format == "standard" else "")

    def rotate(
        self, name: str, *, fleet: str = "", routing_key: str = "", overlap: timedelta = OVERLAP
    ) -> Created:
        """A new secret. For `overlap` the old one signs too, so that the receiver can change over; a routing
        key is replaced at once, for PagerDuty takes one of them."""
        with self._locked():
            rows = self._read()
            old = _find([row for row in rows if fleet in ("", row.fleet)], name)
            if old.format == "standard":
                secret = new_secret()
                until = self._now() + overlap
                kept = [Secret(one, until) for one in old.secrets_at(self._clock())[:1]] if overlap else []
                found = [Secret(secret), *kept]
            elif old.format == "pagerduty":
                if not _ROUTING_KEY.fullmatch(routing_key):
                    raise BadField("routing_key", "is not the integration key of a PagerDuty service")
                secret, found = "", [Secret(routing_key)]
            else:
                raise BadField(
                    "name", f"{name!r} has no secret but its URL: delete it and create it with the new one"
                )
            new = msgspec.structs.replace(old, secrets=found)
            self._write([new if row.id == old.id else row for row in rows])
        return Created(new, secret)

    def delete(self, name: str, *, fleet: str = "") -> Endpoint:
        """Remove an endpoint; what was still owed to it is not sent."""
        with self._locked():
            rows = self._read()
            gone = _find([row for row in rows if fleet in ("", row.fleet)], name)
            self._write([row for row in rows if row.id != gone.id])
        return gone

    def disable(self, id: str, reason: str) -> None:
        """Send nothing there any more; empty `reason`: send again. Raises UsageError."""
        with self._locked():
            rows = self._read()
            self._write(
                [msgspec.structs.replace(row, disabled=reason) if row.id == id else row for row in rows]
            )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(microsecond=0)

    def _read(self) -> list[Endpoint]:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"webhooks_file {self.path}: {error.strerror}") from error
        if mode & 0o007:
            raise UsageError(
                f"webhooks_file {self.path} is open to every user of the machine: chmod 600 it, and rotate"
                " its secrets"
            )
        if len(data) > MOST_BYTES:
            raise UsageError(f"webhooks_file {self.path}: larger than {MOST_BYTES} bytes")
        try:
            rows = _DECODER.decode(data).endpoints
            _check_rows(rows)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadField) as error:
            raise UsageError(f"webhooks_file {self.path}: {error}") from None
        return rows

    def _write(self, rows: list[Endpoint]) -> None:
        data = msgspec.json.format(msgspec.json.encode(Content(rows)), indent=2) + b"\n"
        try:
            whole_file.write(self.path, data)
        except OSError as error:
            raise UsageError(f"webhooks_file {self.path}: {error.strerror}") from error
        self._checked = float("-inf")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time."""
        lock = ExitStack()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.enter_context(whole_file.alone(self.path))
        except OSError as error:
            raise UsageError(f"webhooks_file {self.path}: {error.strerror}") from error
        with lock:
            yield


def _find(rows: list[Endpoint], name: str) -> Endpoint:
    # Names are chosen, and one may be chosen that is another's id.
    found = [row for row in rows if row.id == name] or [row for row in rows if row.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        fleets = ", ".join(row.fleet for row in found)
        raise BadField("name", f"{name!r} is in fleets {fleets}: name one, or the id")
    raise BadField("name", f"no webhook is named {name!r}")


def _check_rows(rows: list[Endpoint]) -> None:
    """Raise BadField for what somebody wrote by hand and no notice could be sent by."""
    known: dict[str, int] = {}
    for number, row in enumerate(rows):
        place = f"$.endpoints[{number}]"
        first = known.setdefault(row.id, number)
        if not row.id or first != number:
            raise BadField(f"{place}.id", f"is that of $.endpoints[{first}] too" if row.id else "is empty")
        try:
            zone = datetime.fromisoformat(row.created_at).tzinfo
        except ValueError:
            zone = None
        if zone is None:
            said = f"{row.created_at[:40]!r} is no time" if row.created_at else "is missing: the time"
            raise BadField(
                f"{place}.created_at",
                f"{said} from which on the endpoint is told, with its zone, as 2026-01-01T00:00:00Z",
            )
        try:
            parts = urlsplit(row.url)
            whole = bool(parts.scheme and parts.hostname)
        except ValueError:  # its message quotes the URL
            whole = False
        if not whole:
            raise BadField(f"{place}.url", "is no URL")


def _check_text(field: str, text: str) -> None:
    if not text.strip() or len(text) > MOST_NAME:
        raise BadField(field, f"needs 1 to {MOST_NAME} characters")
    if _UNSEEN.search(text):
        raise BadField(field, f"{text!r} holds a control or direction character")
