"""A plan: the ledger's row of one batch, written before the batch is inserted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from tidegate.contracts.topics import Stream
from tidegate.sink.frame import Frame


class Plan(NamedTuple):
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


def plan_of(frames: Sequence[Frame], days: list[date], *, generation: int, member: str) -> Plan:
    """The plan of a batch of at least one frame."""
    first, last = frames[0], frames[-1]
    heads = [frame.head for frame in frames]
    return Plan(
        epoch=first.head.epoch,
        stream=first.head.stream,
        partition=first.head.source_partition,
        first=first.head.source_offset,
        last=last.head.source_offset,
        previous=first.head.previous_offset,
        enriched_first=first.offset,
        enriched_last=last.offset,
        frames=len(frames),
        lines=sum(head.lines for head in heads),
        accepted=sum(head.accepted for head in heads),
        rejected=sum(head.rejected for head in heads),
        duplicates=sum(head.duplicates for head in heads),
        days=days,
        transform_version=first.head.transform_version,
        generation=generation,
        member=member,
        planned_at=datetime.now(UTC),
    )


IMMUTABLE = (
    "epoch",
    "stream",
    "partition",
    "first",
    "last",
    "previous",
    "enriched_first",
    "enriched_last",
    "frames",
    "lines",
    "accepted",
    "rejected",
    "duplicates",
    "days",
    "transform_version",
)


def differences(planned: Plan, again: Plan) -> list[str]:
    """What a batch that was cut again has otherwise than its plan; empty: the same rows."""
    return [
        f"{name} {getattr(planned, name)} then, {getattr(again, name)} now"
        for name in IMMUTABLE
        if getattr(planned, name) != getattr(again, name)
    ]
