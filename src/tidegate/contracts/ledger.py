"""Rows of the sink's ledger in ClickHouse."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from tidegate.contracts.topics import Stream


class BatchPlan(NamedTuple):
    """Columns of `sink_batches`, in order. Offsets are of the raw topic unless they say enriched."""

    epoch: str
    stream: Stream
    partition: int
    first: int
    last: int
    previous: int  # what the first frame says stands before it
    enriched_first: int
    enriched_last: int
    frames: int
    lines: int
    accepted: int
    rejected: int
    duplicates: int
    days: list[date]
    transform_version: str
    generation: int  # grows with every take-over of the partition
    member: str
    planned_at: datetime

    @property
    def token(self) -> str:
        """Names an immutable set of rows: whoever plans these offsets by this version means these rows."""
        return (
            f"{self.epoch}:{self.stream}:{self.partition}:{self.first}-{self.last}:{self.transform_version}"
        )

    @property
    def inserts(self) -> bool:
        """Whether the batch has anything to insert at all."""
        return bool(self.accepted or self.rejected)


class Gap(NamedTuple):
    """The frame at source offset `next` came when `after` was the last in order."""

    after: int  # -1: nothing of this epoch was taken before
    next: int
    previous: int  # what the frame at `next` says stands before it
