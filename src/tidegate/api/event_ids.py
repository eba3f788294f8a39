"""Reads the ids of events in paths."""

from __future__ import annotations

from tidegate.api.problems import Problem
from tidegate.contracts.position import Position, parse_id
from tidegate.contracts.topics import Stream

UINT32 = 2**32


def position_of(id: str, stream: Stream | None = None) -> Position:
    """The position that an id names. Raises Problem not_found for anything that no 201 ever gave."""
    position = parse_id(id)
    if position is None or (stream is not None and position.stream != stream):
        raise Problem("not_found")
    if position.partition >= UINT32 or position.index >= UINT32:
        raise Problem("not_found")
    return position
