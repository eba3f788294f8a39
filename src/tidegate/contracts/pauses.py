"""Pauses: streams of fleets whose refused lines are kept by position alone, as records of `tidegate.control`.

The record's key is ``pause/<stream>/<fleet>``; one without a value ends the pause.
"""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Final, Literal

import msgspec

from tidegate.contracts.alerts import Alert, Scope, alert_id
from tidegate.contracts.topics import STREAMS, Stream

_PREFIX = "pause/"


class Pause(msgspec.Struct, frozen=True):
    """Why, with the counts of the window in which the limit was passed."""

    fleet: str  # empty: lines that name none
    stream: Stream
    since: str  # ISO 8601, UTC
    lines: int
    rejected: int


def key_of(stream: Stream, fleet: str) -> bytes:
    return f"{_PREFIX}{stream}/{fleet}".encode()


def read_key(key: bytes) -> tuple[Stream, str] | None:
    """The stream and fleet that a record of the control topic is about; None for one of another kind."""
    text = key.decode("utf-8", "replace")
    stream, slash, fleet = text.removeprefix(_PREFIX).partition("/")
    for known in STREAMS:
        if text.startswith(_PREFIX) and slash and stream == known:
            return known, fleet
    return None


RULE: Final = "reject_flood"


def alert(pause: Pause, *, state: Literal["open", "resolved"], at: str) -> Alert:
    """The alert about a pause; `at` (ISO 8601) is when it came to this state."""
    whose = f"fleet {pause.fleet}" if pause.fleet else "lines that name no fleet"
    scope = Scope(stream=pause.stream)
    id = alert_id(pause.fleet, RULE, scope, _micros(pause.since))
    return Alert(
        fleet=pause.fleet,
        id=id,
        sequence=1 if state == "open" else 2,
        incident=id,
        rule=RULE,
        signal=RULE,
        state=state,
        severity="critical",
        scope=scope,
        started_at=pause.since,
        updated_at=at,
        summary=f"{pause.stream}, {whose}: {pause.rejected} of {pause.lines} lines were refused",
        action=f"Mend the sender, then run: tidegate fleet resume {pause.stream} {shlex.quote(pause.fleet)}",
        details={"lines": pause.lines, "rejected": pause.rejected},
    )


def _micros(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1_000_000)
