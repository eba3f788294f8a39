"""marks: the records behind the keys of what is about to be committed, in the changelog of their table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tidegate.contracts.topics import RAW_STREAMS, Stream
from tidegate.processing.emitter import Emitter
from tidegate.processing.keys import Keys
from tidegate.telemetry import WORKER_KEYS, WORKER_KEYS_COVERED
from tidegate.worker.lanes import Place


class KeyMarks:
    """Writes what the table of keys lets go of, and the marks. (Its claims go out with the frames.)"""

    def __init__(self, keys: Keys, emitter: Emitter) -> None:
        self._keys = keys
        self._emitter = emitter

    def recovered(self, positions: Mapping[Place, int]) -> None:
        """The table was read again after an assignment; `positions` are where our raw partitions stand."""
        self._keys.recovered(_by_stream(positions))
        self._tell()

    async def mark(self, positions: Mapping[Place, int]) -> None:
        """Let go of old keys, and set a mark behind the keys of what is about to be committed.

        Asked for a topic's end, the embedded broker leaves out all but the first record of the last batch,
        and Faust would read the table up to there only. With the mark the last batch is one behind all the
        keys that count.
        """
        self._emitter.send_keys(self._keys.forget())
        marks = self._keys.marks(_by_stream(positions))
        if marks:
            there = asyncio.Event()
            self._emitter.send_keys(marks, there.set)
            await there.wait()
        self._tell()

    def _tell(self) -> None:
        held = self._keys.held()
        WORKER_KEYS.set(held.keys)
        WORKER_KEYS_COVERED.set(held.covered_seconds)


def _by_stream(positions: Mapping[Place, int]) -> dict[tuple[Stream, int], int]:
    return {(RAW_STREAMS[topic], partition): position for (topic, partition), position in positions.items()}
