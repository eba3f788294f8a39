"""The producer's own file: what it sent, and what of it was acknowledged. A JSON document a line.

Every event has a number of its own, `batch * SPACING + index`, which travels in one of its fields, and stands
here whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec
from expected import Line

from tidegate.contracts.position import Position
from tidegate.contracts.topics import Stream

SPACING = 1000  # most events in a batch
FLEET = "demo"


class Sent(msgspec.Struct, tag="sent", frozen=True):
    """Written before the first byte goes out."""

    batch: int
    at: int  # µs
    way: str  # http or kafka
    stream: Stream
    events: list[str]  # JSON
    devices: list[str]  # whose each of them is
    bad: list[int] = []  # indexes of events that must be refused
    received: list[int] = []  # µs that the envelopes say; empty: the gateway's business

    def lines(self) -> list[Line]:
        """The events with what is said of them: their envelopes are what goes straight into Kafka."""
        received: list[str | None] = [str(at) for at in self.received]
        received = received or [None] * len(self.events)
        return [
            Line(event.encode(), FLEET, device, at)
            for event, device, at in zip(self.events, self.devices, received, strict=True)
        ]


class Acked(msgspec.Struct, tag="acked", frozen=True):
    """The answer, as it came: ids, null for what was refused; of a Kafka record its partition and offset."""

    batch: int
    at: int
    ids: list[str | None] = []
    partition: int = -1
    offset: int = -1
    attempts: int = 1  # with more than one, an earlier one may be what is stored, under its own id


Entry = Sent | Acked
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Writer:
    """Appends entries; each reaches the system before `put` returns."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def put(self, entry: Entry) -> None:
        self._file.write(_encode(entry).decode() + "\n")


class Event(msgspec.Struct):
    """One event as the log has it."""

    stream: Stream
    line: Line
    bad: bool
    sent_at: int
    acked_at: int = 0  # 0: not acknowledged
    id: str = ""  # that the acknowledgement gave; of a Kafka record's line without the epoch
    refused: bool = False  # the answer said so


def read(path: Path, epoch: str) -> dict[int, Event]:
    """Every event by its number. A last line that was cut short is left out."""
    events: dict[int, Event] = {}
    batches: dict[int, Sent] = {}
    for entry in entries(path):
        if isinstance(entry, Sent):
            batches[entry.batch] = entry
            for index, line in enumerate(entry.lines()):
                number = entry.batch * SPACING + index
                events[number] = Event(entry.stream, line, index in entry.bad, entry.at)
            continue
        sent = batches[entry.batch]
        for index in range(len(sent.events)):
            event = events[entry.batch * SPACING + index]
            if entry.attempts > 1:
                event.refused = bool(entry.ids) and entry.ids[index] is None
            elif entry.partition >= 0:
                event.id = Position(epoch, sent.stream, entry.partition, entry.offset, index).id()
            else:
                event.id = entry.ids[index] or ""
                event.refused = entry.ids[index] is None
            event.acked_at = 0 if event.refused else entry.at
    return events


def entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)
