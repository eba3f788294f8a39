"""The record that the worker is at, written where it outlives the process.

A record that raises is dealt with in the process (`isolate`). One that kills it (memory, a fault in
native code) would kill every process that starts again behind it. The journal is a few bytes of a mapped
file, so that setting it costs no call of the kernel; a process that finds it set knows what its
predecessor died of. It may have been something else, so only the third death in a row counts.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidegate.contracts.topics import STREAMS, Stream

WHOLE = -1  # the line that stands for all lines at once
_LAYOUT = struct.Struct("<?xxxIqq")  # set, number of stream and partition, offset, line
_MOST_LINES = 1000  # lines of one record that are remembered to kill


class Suspect(msgspec.Struct):
    """A record during which the process died: how often with the whole of it, and at which lines alone."""

    epoch: str
    stream: Stream
    partition: int
    offset: int
    deaths: int = 0
    lines: list[int] = []


class RecordPosition(NamedTuple):
    stream: Stream
    partition: int
    offset: int


class CrashJournal:
    """One process's journal at `path`; the suspect of its predecessors is kept in a second file.

    `epoch` tells the offsets of one life of the topics from another's.
    """

    def __init__(self, path: Path, epoch: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._suspect_file = path.with_suffix(".json")
        self.suspect = self._read_suspect(epoch)
        if not path.exists() or path.stat().st_size != _LAYOUT.size:
            path.write_bytes(bytes(_LAYOUT.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        was_at, number, offset, line = _LAYOUT.unpack_from(self._memory)
        if was_at:
            partition, stream = divmod(number, len(STREAMS))
            self._blame(epoch, RecordPosition(STREAMS[stream], partition, offset), line)
        self.clear()

    def at(self, position: RecordPosition, line: int = WHOLE) -> None:
        """The work on a record, or on one line of it, begins."""
        number = position.partition * len(STREAMS) + STREAMS.index(position.stream)
        _LAYOUT.pack_into(self._memory, 0, True, number, position.offset, line)

    def clear(self) -> None:
        """The work on the record is done."""
        self._memory[0] = 0

    def of(self, position: RecordPosition) -> Suspect | None:
        """The suspect, if it is this record."""
        suspect = self.suspect
        if suspect is None or (suspect.stream, suspect.partition, suspect.offset) != position:
            return None
        return suspect

    def _blame(self, epoch: str, position: RecordPosition, line: int) -> None:
        suspect = self.of(position) or Suspect(epoch, *position)
        if line == WHOLE:
            suspect.deaths += 1
        elif line not in suspect.lines and len(suspect.lines) < _MOST_LINES:
            suspect.lines.append(line)
        self.suspect = suspect
        self._suspect_file.write_bytes(msgspec.json.encode(suspect))

    def _read_suspect(self, epoch: str) -> Suspect | None:
        try:
            suspect = msgspec.json.decode(self._suspect_file.read_bytes(), type=Suspect)
        except (OSError, msgspec.DecodeError):
            return None
        return suspect if suspect.epoch == epoch else None
