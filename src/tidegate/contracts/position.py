"""The identity of an event: where its line stands in the log of one epoch.

The public id is the position written down: ``<epoch>-<stream letter><partition>-<offset>-<index>``,
e.g. ``01K9ZQ4T3M8W5X0R2B7C6D1E9F-c3-1042-17``. ClickHouse computes the same text from the columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.contracts.topics import Stream

STREAM_LETTERS: dict[Stream, str] = {"connection_logs": "c", "client_events": "w", "device_logs": "d"}
_STREAMS: dict[str, Stream] = {letter: stream for stream, letter in STREAM_LETTERS.items()}
ID_PATTERN = "([0-9A-HJKMNP-TV-Z]{26})-([cwd])([0-9]{1,10})-([0-9]{1,19})-([0-9]{1,10})"
_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, slots=True)
class Position:
    epoch: str  # ULID of one life of the topics
    stream: Stream
    partition: int  # of the raw topic
    offset: int  # of the raw record
    index: int  # of the line in the frame, blank lines not counted

    def id(self) -> str:
        return f"{self.epoch}-{STREAM_LETTERS[self.stream]}{self.partition}-{self.offset}-{self.index}"


def parse_id(text: str) -> Position | None:
    """The position that a public id names; None if the text is not an id."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    epoch, letter, partition, offset, index = match.groups()
    return Position(epoch, _STREAMS[letter], int(partition), int(offset), int(index))


def is_id_of(stream: Stream, text: str) -> bool:
    """Whether the text is the id of a line of this stream."""
    position = parse_id(text)
    return position is not None and position.stream == stream


def id_expression(stream: Stream) -> str:
    """The ClickHouse expression that computes the id from the position columns."""
    letter = STREAM_LETTERS[stream]
    return f"concat(epoch, '-{letter}', toString(partition), '-', toString(offset), '-', toString(index))"
