"""judge: which lines of one raw record have been here before, by their keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.contracts import keys
from tidegate.contracts.keys import EventKey, Piece
from tidegate.processing.keys import Change, Verdict, Window
from tidegate.telemetry import WORKER_BAD_KEYS

log = logging.getLogger(__name__)


class Judged(NamedTuple):
    """Lines that were here before, by number, and the entries of those that are new."""

    duplicates: list[int]
    reused: list[int]
    claims: list[bytes]


class Judge:
    """The keys of the record at `offset`, against those before it.

    `fresh` are keys that are new in this record or, shared by several judges, in those that are processed
    together. Nothing is claimed before `claim`.
    """

    def __init__(
        self,
        window: Window,
        offset: int,
        headers: Sequence[tuple[str, bytes]],
        fresh: dict[bytes, bytes] | None = None,
    ) -> None:
        self._window = window
        self._offset = offset
        self._fresh = {} if fresh is None else fresh
        self._claims: list[bytes] = []
        self.repeats: list[tuple[Piece, Verdict]] = []
        for piece in _pieces(headers):
            verdict = self._look(piece.key, piece.digest)
            if verdict is Verdict.NEW:
                self._claims.append(piece.key + piece.digest)
            else:
                self.repeats.append((piece, verdict))

    def events(self, found: Mapping[int, EventKey]) -> Judged:
        """The verdicts on lines with keys of their own."""
        judged = Judged([], [], [])
        for number in sorted(found):
            one = found[number]
            verdict = self._look(one.key, one.digest)
            if verdict is Verdict.NEW:
                judged.claims.append(one.key + one.digest)
            elif verdict is Verdict.DUPLICATE:
                judged.duplicates.append(number)
            elif not one.is_replayed:
                judged.reused.append(number)
        return judged

    def take_back(self, judged: Judged) -> None:
        """The lines of a verdict were not taken after all."""
        for entry in judged.claims:
            del self._fresh[entry[: keys.KEY_BYTES]]

    def claim(self, events: Sequence[bytes]) -> list[Change]:
        """The record is through: claim its pieces, and what `events` said of the lines it took."""
        entries = [*self._claims, *events]
        return self._window.claim(self._offset, entries) if entries else []

    def _look(self, key: bytes, digest: bytes) -> Verdict:
        if (same := self._fresh.get(key)) is not None:
            return Verdict.DUPLICATE if same == digest else Verdict.REUSED
        verdict = self._window.verdict(self._offset, key, digest)
        if verdict is Verdict.NEW:
            self._fresh[key] = digest
        return verdict


def _pieces(headers: Sequence[tuple[str, bytes]]) -> Sequence[Piece]:
    for name, value in headers:
        if name == keys.HEADER:
            try:
                return keys.read_pieces(value)
            except keys.BadKeys as error:
                log.warning("a record's keys cannot be read: %s", error)
                WORKER_BAD_KEYS.inc()
    return ()
