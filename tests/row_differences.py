"""Rows as ClickHouse has them, beside what the models say of their lines (`expected.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from expected import Line, Refusal

START = datetime(1970, 1, 1, tzinfo=UTC)
POSITION = frozenset({"id", "epoch", "partition", "offset", "index"})
Differences = dict[str, tuple[str, str]]
"""By column: what is stored and what should be, as text."""


def unlike(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> Differences:
    """What of an event's row, its position left out, is not as `wanted`. Times are datetimes with a zone."""
    return _differences({name: value for name, value in row.items() if name not in POSITION}, wanted)


def unlike_reject(row: Mapping[str, Any], wanted: Refusal, line: Line, *, bare: bool = False) -> Differences:
    """The same of a row of `rejects`. `bare`: the line is an event under its record's headers."""
    said = {
        "code": str(wanted.code),
        **{name: getattr(wanted, name) for name in ("path", "found", "allowed", "detail", "fleet")},
        "received_at": wanted.received_at,
        "original": (line.event if bare else line.envelope()).decode("utf-8"),
        "original_encoding": "utf8",
        "device": (line.device or "") if bare else "",
        "origin": "",
    }
    return _differences({name: row[name] for name in said}, said)


def _differences(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> Differences:
    pairs = {name: (_plain(row, name), _plain(wanted, name)) for name in {**row, **wanted}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(row: Mapping[str, Any], name: str) -> str:
    """A value as text, since 0.0 and -0.0, True and 1 are equal and not the same; a time in µs."""
    if name not in row:
        return "no such column"
    value = row[name]
    return str(micros(value)) if isinstance(value, datetime) else repr(value)


def micros(moment: datetime) -> int:
    """Since 1970, exactly. Raises TypeError for a time without a zone."""
    delta = moment - START
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
