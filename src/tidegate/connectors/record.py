"""What a connector makes of a payload: events of one stream, each with an `event_id` made from its content.

So the gateway takes a payload that comes again, or that somebody recorded and plays back, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from tidegate.contracts.topics import Stream
from tidegate.errors import Rejected

Fields = Mapping[str, Any]

ID_HEX = 32  # 128 bits
DEEPEST = 100  # levels of a document: what is made of it is written again, a few levels deeper


class BadPayload(Rejected):
    """A payload that cannot be taken. `code` is one of the gateway's; `path` is in the sender's spelling."""

    def __init__(self, code: str, path: str, detail: str, *, found: str = "", allowed: str = "") -> None:
        super().__init__(f"{path or 'payload'}: {detail}")
        self.code = code
        self.path = path
        self.detail = detail
        self.found = found
        self.allowed = allowed


class Record(NamedTuple):
    """One event on its way to the gateway.

    `names` translates the gateway's name of a field to the sender's, `place` is where the event stands in the
    payload: together they name a field that the gateway refuses. `sent_at`, epoch seconds, is when it was
    sent, as its sender says; None where it says nothing.
    """

    event: dict[str, Any]
    names: Mapping[str, str] = {}
    place: str = ""
    sent_at: float | None = None

    def path(self, field: str) -> str:
        """The sender's name for a field of the event."""
        return join(self.place, self.names.get(field, field))


class Payload(NamedTuple):
    """What one delivery holds."""

    stream: Stream
    records: Sequence[Record]


def join(place: str, name: str) -> str:
    return f"{place}.{name}" if place and name else place or name


def document_of(body: bytes) -> Any:
    """A JSON document. Raises ValueError where it is none, or deeper than DEEPEST."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [inner for one in level if isinstance(one, dict | list) for inner in _inner(one)]
        if not level:
            return document
    raise ValueError(f"more than {DEEPEST} levels deep")


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def identified(connector: str, event: dict[str, Any]) -> dict[str, Any]:
    """The event with an `event_id` made from all that it says."""
    return {**event, "event_id": content_id(connector, event)}


def content_id(connector: str, content: Any) -> str:
    """A name for a content, the same in every process."""
    digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic"))
    return f"{connector}:{digest.hexdigest()[:ID_HEX]}"


def iso(seconds: Any) -> Any:
    """Epoch seconds as the text that device logs take; what is no such number as it is, for the gateway to
    refuse."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return seconds
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return seconds


def without_nothing(event: Fields) -> dict[str, Any]:
    """The fields that say something: a missing one is left out, and null is missing."""
    return {name: value for name, value in event.items() if value is not None}
