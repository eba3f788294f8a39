"""Frames of one partition that wait to become a batch, and where a batch ends.

A batch is a part of the offset sequence: one epoch, one transform_version, nothing skipped inside. It may
span several received days: then it is one insert for each, since a table is partitioned by that day.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tidegate.sink.frame import Frame


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a batch, whichever comes first."""

    rows: int
    bytes: int
    age_seconds: float  # of its oldest frame


class BatchBuffer:
    """Holds frames in the order of their offsets until `cut` takes a batch of them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self.rows = 0
        self._frames: deque[Frame] = deque()
        self._breaks: deque[int] = deque()  # offsets of frames that must begin a batch
        self._break_next = False

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def oldest(self) -> Frame | None:
        return self._frames[0] if self._frames else None

    def add(self, frame: Frame) -> None:
        last = self._frames[-1].head if self._frames else None
        if last is not None and (
            self._break_next
            or (last.epoch, last.transform_version) != (frame.head.epoch, frame.head.transform_version)
        ):
            self._breaks.append(frame.offset)
        self._break_next = False
        self._frames.append(frame)
        self.bytes += frame.size
        self.rows += frame.head.accepted

    def break_off(self) -> None:
        """The next frame begins a batch: reading jumped."""
        self._break_next = True

    def full(self) -> bool:
        """Whether a batch is complete, whatever comes."""
        return bool(
            self._frames
            and (self._breaks or self.rows >= self.limits.rows or self.bytes >= self.limits.bytes)
        )

    def due(self, now: float) -> bool:
        """Whether a batch should be cut: complete, or old enough."""
        return self.full() or bool(self._frames and now - self._frames[0].arrived >= self.limits.age_seconds)

    def cut(self) -> list[Frame]:
        """The next batch: at least one frame, and no more than the limits take."""
        batch: list[Frame] = []
        rows = size = 0
        while self._frames:
            frame = self._frames[0]
            if batch and (
                (self._breaks and frame.offset == self._breaks[0])
                or rows + frame.head.accepted > self.limits.rows
                or size + frame.size > self.limits.bytes
            ):
                break
            self._frames.popleft()
            batch.append(frame)
            rows += frame.head.accepted
            size += frame.size
        if self._breaks and self._frames and self._frames[0].offset == self._breaks[0]:
            self._breaks.popleft()
        self.rows -= rows
        self.bytes -= size
        return batch
