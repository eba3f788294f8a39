"""Lines by their position in the raw topics: of rejects that came while a fleet's stream was paused."""

from __future__ import annotations

from confluent_kafka import Consumer

from tidegate.contracts.rejects import original_text
from tidegate.contracts.topics import Stream, raw
from tidegate.kafka.onlooker import first_record, onlooker
from tidegate.kafka.topics import read_epoch
from tidegate.replay.choice import Refused

SECONDS = 10.0
FRAMES = 64  # whose lines are remembered: a frame's rejects need not stand together


class RawLog:
    """Connects when the first line is asked for."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: Consumer | None = None
        self._epoch = ""
        self._frames: dict[tuple[Stream, int, int], list[bytes]] = {}

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def restored(self, stream: Stream, refused: Refused) -> Refused | None:
        """The reject with its line; None where the topic has it no more. Raises RetryLater."""
        if refused.original_encoding != "raw":
            return refused
        if self._consumer is None:
            self._epoch = read_epoch(self._bootstrap)
            self._consumer = onlooker(self._bootstrap, "tidegate-replay-onlooker")
        if refused.epoch != self._epoch:
            return None
        place = (stream, refused.partition, refused.offset)
        if place not in self._frames:
            while len(self._frames) >= FRAMES:
                del self._frames[next(iter(self._frames))]
            self._frames[place] = self._read(self._consumer, *place)
        lines = self._frames[place]
        if refused.number >= len(lines):
            return None
        original, encoding = original_text(lines[refused.number])
        return refused._replace(original=original, original_encoding=encoding)

    def _read(self, consumer: Consumer, stream: Stream, partition: int, offset: int) -> list[bytes]:
        """The lines that count of one record; none where it is gone."""
        record = first_record(consumer, raw(stream), partition, offset, seconds=SECONDS)
        if record is None or record.offset() != offset:
            return []
        value = bytes(record.value() or b"")
        return [line for line in value.split(b"\n") if line.strip()] or [value]
