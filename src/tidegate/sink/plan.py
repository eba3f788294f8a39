"""The plan of a batch: its row in the ledger, written before the batch is inserted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from tidegate.contracts.ledger import BatchPlan
from tidegate.sink.frame import Frame


def plan_of(frames: Sequence[Frame], days: list[date], *, generation: int, member: str) -> BatchPlan:
    """The plan of a batch of at least one frame."""
    first, last = frames[0], frames[-1]
    heads = [frame.head for frame in frames]
    return BatchPlan(
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


def differences(planned: BatchPlan, again: BatchPlan) -> list[str]:
    """What a batch that was cut again has otherwise than its plan; empty: the same rows."""
    return [
        f"{name} {getattr(planned, name)} then, {getattr(again, name)} now"
        for name in IMMUTABLE
        if getattr(planned, name) != getattr(again, name)
    ]
