"""Alerts: one JSON document for each change of an alert's state, for consumers of `tidegate.alerts`.

Keyed ``fleet/site``, so that one site's changes stay in order. At least once: a repeat has the same `id` and
`sequence`. The changes of one alert are numbered 1, 2, 3 … without a gap.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

import msgspec

State = Literal["open", "acked", "flapping", "silenced", "resolved"]
Severity = Literal["info", "warning", "critical"]
Signal = Literal[
    "stage_failures",  # attempts that fail at a stage
    "slow_stage",  # successes that spend longer than usual in a stage
    "disassociations",  # clients that are thrown off
    "clock_skew",  # events whose device time is not to be trusted
    "no_events",  # silence where there is traffic at this hour
    "insecure_network",  # connections over open or WEP networks
    "unapproved_network",
    "reject_flood",  # lines of a fleet that are refused (contracts/pauses.py)
]
ACTIVE: frozenset[State] = frozenset({"open", "acked", "flapping", "silenced"})


class Scope(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """What an alert is about; an empty field is not told apart. Site "" with a stage is the whole fleet."""

    site: str = ""
    stage: str = ""
    ssid: str = ""
    ap: str = ""
    stream: str = ""


class Impact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Figures since the alert opened, or at its opening over the window that opened it.

    Clients and access points are distinct ones: exactly while they are fewer than 256, else with a standard
    error of some 6 %.
    """

    attempts: int = 0
    failures: int = 0
    usual: float = 0.0  # share of attempts that usually fail here at this hour, 0 to 1
    clients: int = 0  # failing
    clients_seen: int = 0
    aps: int = 0  # with failures
    aps_seen: int = 0


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """What most of the failures beyond the usual have in common."""

    code: int | None = None  # vendor failure code
    sub_code: int | None = None
    reason: str = ""  # text of the code, as the events or the catalogue have it
    share: float = 0.0  # of the failures beyond the usual, 0 to 1
    dimension: str = ""  # ssid, ap, … whose one value explains them; empty where they are even
    value: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Times are ISO 8601 UTC. `id` is the same while the alert lasts, `incident` that of the alerts that
    belong together: the stages of a site, the sites of a fleet that fail for one cause."""

    fleet: str
    id: str
    sequence: int  # of this change, from 1
    incident: str
    rule: str
    signal: Signal
    state: State
    severity: Severity
    scope: Scope
    started_at: str  # start of the first minute that counts to it
    updated_at: str  # when it came to this state
    by: str = ""  # who acknowledged or silenced it
    until: str = ""  # end of a silence
    impact: Impact = Impact()
    cause: Cause = Cause()
    summary: str = ""  # one sentence for people: what, where, since when, whom
    action: str = ""  # what to do
    details: dict[str, float | int | str] = {}  # further figures, by name


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """No alerts of a fleet's rule and site until a time; an empty rule or site is any."""

    fleet: str
    rule: str = ""
    site: str = ""
    until: str
    by: str


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody looks after an alert."""

    fleet: str
    id: str
    by: str
    at: str


_DECODE = msgspec.json.Decoder(Alert)
_UINT32, _UINT64, _INT64 = range(1 << 32), range(1 << 64), range(-(1 << 63), 1 << 63)


def read(value: bytes | str | None) -> Alert:
    """The change that a record of `tidegate.alerts` tells. Raises ValueError for one that tells none."""
    try:
        alert = _DECODE.decode(value or b"")
        for text in (alert.started_at, alert.updated_at, alert.until or alert.updated_at):
            moment(text)
    except (msgspec.DecodeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    for within, names, source in (
        (_UINT32, ("sequence",), alert),
        (_UINT32, ("clients", "clients_seen", "aps", "aps_seen"), alert.impact),
        (_UINT64, ("attempts", "failures"), alert.impact),
        (_INT64, ("code", "sub_code"), alert.cause),
    ):
        for name in names:
            number = getattr(source, name)
            if number is not None and number not in within:  # of the table's column
                raise ValueError(f"{name} is out of range")
    if not alert.sequence:
        raise ValueError("sequence 0")
    return alert


def moment(text: str) -> datetime:
    """A time of an alert. Raises ValueError for text that is none."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def record_key(alert: Alert) -> bytes:
    """The key of its records in `tidegate.alerts`."""
    return f"{alert.fleet}/{alert.scope.site}".encode()


_ACK = "alert/ack/"
_SILENCE = "alert/silence/"


def alert_id(fleet: str, rule: str, scope: Scope, minute: int) -> str:
    """The identity of an alert: of its fleet, rule, scope and the minute (µs since 1970) that opened it."""
    text = "\0".join([fleet, rule, *map(str, msgspec.structs.astuple(scope)), str(minute)])
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def acknowledgement_key(fleet: str, id: str) -> bytes:
    """Key of the record of `tidegate.control` that acknowledges an alert; signed as every record there."""
    return f"{_ACK}{fleet}/{id}".encode()


def silence_key(fleet: str, rule: str, site: str) -> bytes:
    """Key of the record of `tidegate.control` that silences; one without a value ends the silence."""
    return _SILENCE.encode() + b"\0".join(part.encode() for part in (fleet, rule, site))


def is_acknowledgement(key: bytes) -> bool:
    return key.startswith(_ACK.encode())


def is_silence(key: bytes) -> bool:
    return key.startswith(_SILENCE.encode())
