"""Finds the lines of one raw record that were processed before, by their keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tidegate.contracts import keys
from tidegate.contracts.frames import lines_of, record_of
from tidegate.contracts.keys import Change, EventKey, Piece
from tidegate.contracts.topics import Stream
from tidegate.steps.decode import RefusedLine
from tidegate.steps.frame import (
    EMPTY,
    KEY_REUSED,
    KeyedLines,
    Record,
    Transformed,
    unread,
    with_indexes,
)
from tidegate.telemetry import WORKER_BAD_KEYS
from tidegate.worker.dedup_window import DedupWindow, Seen

log = logging.getLogger(__name__)


class RecordDedup:
    """The keys of the record at `offset`, against those before it.

    `fresh` are keys that are new in this record or, shared by several of these, in those that are
    transformed together. Nothing is claimed before `claim`.
    """

    def __init__(
        self,
        window: DedupWindow,
        offset: int,
        headers: Sequence[tuple[str, bytes]],
        fresh: dict[bytes, bytes] | None = None,
    ) -> None:
        self._window = window
        self._offset = offset
        self._fresh = {} if fresh is None else fresh
        self._claims: list[bytes] = []
        self.repeats: list[tuple[Piece, Seen]] = []
        for piece in _pieces(headers):
            seen = self._look(piece.key, piece.digest)
            if seen is Seen.NEW:
                self._claims.append(piece.key + piece.digest)
            else:
                self.repeats.append((piece, seen))

    def events(self, found: Mapping[int, EventKey]) -> KeyedLines:
        """Tell new lines with keys of their own from repeated ones."""
        lines = KeyedLines([], [], [])
        for number in sorted(found):
            one = found[number]
            seen = self._look(one.key, one.digest)
            if seen is Seen.NEW:
                lines.claims.append(one.key + one.digest)
            elif seen is Seen.DUPLICATE:
                lines.duplicates.append(number)
            elif not one.is_replayed:
                lines.reused.append(number)
        return lines

    def take_back(self, lines: KeyedLines) -> None:
        """The lines were not taken after all."""
        for entry in lines.claims:
            del self._fresh[entry[: keys.KEY_BYTES]]

    def claim(self, events: Sequence[bytes]) -> list[Change]:
        """The record is transformed: claim its pieces, and the claims of `events`."""
        entries = [*self._claims, *events]
        return self._window.claim(self._offset, entries) if entries else []

    def _look(self, key: bytes, digest: bytes) -> Seen:
        if (same := self._fresh.get(key)) is not None:
            return Seen.DUPLICATE if same == digest else Seen.REUSED
        seen = self._window.seen(self._offset, key, digest)
        if seen is Seen.NEW:
            self._fresh[key] = digest
        return seen


def without_repeated_pieces(
    record: Record, dedup: RecordDedup | None, stream: Stream, transform: Callable[[Record], Transformed]
) -> Transformed:
    """Transform a record without the pieces that were processed before, and count or refuse those."""
    if dedup is None or not dedup.repeats:
        return transform(record)
    lines = lines_of(record.value)
    left = dict(enumerate(lines))
    refused: list[RefusedLine] = []
    duplicates = 0
    for piece, seen in dedup.repeats:
        for number in range(piece.first, min(piece.first + piece.lines, len(lines))):
            line = left.pop(number)
            if seen is Seen.DUPLICATE:
                duplicates += 1
            else:
                refused.append(unread(number, KEY_REUSED, line, record))
    found = Transformed(EMPTY[stream], [], 0)
    numbers = list(left)
    if numbers:
        found = transform(record._replace(value=record_of(left.values())))
    if found.batch.num_rows:
        own = np.array(numbers, np.uint32)[found.batch.column("index").to_numpy()]
        found = found._replace(batch=with_indexes(found.batch, pa.array(own, pa.uint32())))
    refused += [replace(line, index=numbers[line.index]) for line in found.refused]
    return found._replace(
        refused=sorted(refused, key=lambda line: line.index),
        lines=len(lines),
        duplicates=found.duplicates + duplicates,
    )


def dedup_of_each(window: DedupWindow | None, records: Sequence[Record]) -> list[RecordDedup | None]:
    """The dedup of each of several records: what is new in one is no longer so in those behind it."""
    if window is None:
        return [None] * len(records)
    fresh: dict[bytes, bytes] = {}
    return [RecordDedup(window, record.offset, record.headers, fresh) for record in records]


def _pieces(headers: Sequence[tuple[str, bytes]]) -> Sequence[Piece]:
    for name, value in headers:
        if name == keys.HEADER:
            try:
                return keys.read_pieces(value)
            except keys.BadKeys as error:
                log.warning("a record's keys cannot be read: %s", error)
                WORKER_BAD_KEYS.inc()
    return ()
