"""Lines by their position in the raw topics: of rejects that came while a fleet's stream was paused, or under
pseudonyms."""

from __future__ import annotations

from tidegate.contracts.frames import header_text, lines_of
from tidegate.contracts.rejects import original_text
from tidegate.contracts.topics import Stream, raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.records import Records
from tidegate.kafka.topics import read_epoch
from tidegate.replay.choice import Refused

SECONDS = 10.0
FRAMES = 64  # whose lines are remembered: a frame's rejects need not stand together


class RawLog:
    """Connects when the first line is asked for."""

    def __init__(self, kafka: Connection, record_bytes: int) -> None:
        """`record_bytes`: the largest record that is read."""
        self._kafka = kafka
        self._records = Records(kafka, record_bytes=record_bytes)
        self._epoch = ""
        self._frames: dict[tuple[Stream, int, int], tuple[list[bytes], str]] = {}

    def restored(self, stream: Stream, refused: Refused) -> Refused | None:
        """The reject with its line; None where the topic has it no more. Raises RetryLater."""
        if refused.original_encoding != "raw":
            return refused
        if not self._epoch:
            self._epoch = read_epoch(self._kafka)
        if refused.epoch != self._epoch:
            return None
        position = (stream, refused.partition, refused.offset)
        if position not in self._frames:
            while len(self._frames) >= FRAMES:
                del self._frames[next(iter(self._frames))]
            self._frames[position] = self._read(*position)
        lines, device = self._frames[position]
        if refused.number >= len(lines):
            return None
        original, encoding = original_text(lines[refused.number])
        return refused._replace(
            original=original, original_encoding=encoding, device=refused.device or device
        )

    def _read(self, stream: Stream, partition: int, offset: int) -> tuple[list[bytes], str]:
        """The lines that count of one record, and its header `device`; no lines where it is gone, or refused
        unread."""
        record = self._records.first(raw(stream), partition, offset, seconds=SECONDS)
        if record is None or record.offset != offset or record.refused:
            return [], ""
        return lines_of(record.value), header_text(dict(record.headers).get("device") or b"")
