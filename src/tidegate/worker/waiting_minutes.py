"""The documents of `tidegate.health` that wait until their minute is complete, and are read then.

A minute of a site is told again every five seconds while it changes: of all documents but the last no more
than whose they are is read.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import lru_cache

import msgspec

from tidegate.contracts.counts import MinuteCounts, check
from tidegate.contracts.topics import Stream
from tidegate.steps.detect import UnitKey, micros
from tidegate.worker.minutes import AHEAD

log = logging.getLogger(__name__)

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class Head(msgspec.Struct):
    """Whose minute a document is: the first fields of a `MinuteCounts`."""

    stream: Stream
    fleet: str
    site: str | None
    minute: str


_HEAD = msgspec.json.Decoder(Head)
_DOCUMENT = msgspec.json.Decoder(MinuteCounts)
_BEHIND = b',"counts":'  # the field behind the head; within a text, quotes have a backslash

_micros = lru_cache(maxsize=256)(micros)


def minute_of(text: str, now: int) -> int:
    """µs of the minute that a document names. Raises ValueError for one that no worker can have told by then,
    behind which every other would be over."""
    minute = _micros(text)
    if minute > now + AHEAD:
        raise ValueError(f"minute {text} lies ahead")
    return minute


def head_of(value: bytes) -> Head:
    """Raises what is UNREADABLE."""
    end = value.find(_BEHIND)
    if end > 0:
        try:
            return _HEAD.decode(value[:end] + b"}")
        except UNREADABLE:  # in another order than ours
            pass
    return _HEAD.decode(value)


class WaitingMinutes:
    """By partition and minute: each unit's newest document."""

    def __init__(self) -> None:
        self._values: dict[int, dict[int, dict[UnitKey, bytes]]] = defaultdict(dict)

    def clear(self) -> None:
        self._values.clear()

    def put(self, partition: int, value: bytes, *, folded: int, now: int) -> None:
        """Keep a document unless its minute is `folded` already. Raises what is UNREADABLE."""
        head = head_of(value)
        minute = minute_of(head.minute, now)
        if minute > folded:
            unit_key = (head.stream, head.fleet, head.site or "")
            self._values[partition].setdefault(minute, {})[unit_key] = value

    def first(self, partition: int, closed: int) -> int:
        """The first of the waiting minutes and of the one that is complete."""
        return min([closed, *self._values[partition]])

    def take(self, partition: int, minute: int) -> dict[UnitKey, MinuteCounts]:
        """The documents of a minute, which wait no longer. What is no document is told and left out."""
        found: dict[UnitKey, MinuteCounts] = {}
        for unit_key, value in self._values[partition].pop(minute, {}).items():
            try:
                document = _DOCUMENT.decode(value)
                check(document)
                if (document.stream, document.fleet, document.site or "") != unit_key:
                    raise ValueError("it names another site further on")
            except UNREADABLE as error:
                log.warning("a minute of %r cannot be read: %s", unit_key, error)
                continue
            found[unit_key] = document
        return found

    def drop(self, partition: int, up_to: int) -> None:
        """Forget the documents of the minutes up to one."""
        waiting = self._values[partition]
        for minute in [minute for minute in waiting if minute <= up_to]:
            del waiting[minute]
