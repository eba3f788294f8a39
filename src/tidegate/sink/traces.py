"""The sink's spans: one of each batch that is stored."""

from __future__ import annotations

from tidegate.contracts.ledger import BatchPlan
from tidegate.sink.partition import Batch
from tidegate.tracing.spans import Kind, Traces, wall_ns


class BatchTraces:
    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def stored(self, batch: Batch, plan: BatchPlan) -> None:
        """Note a batch that ClickHouse has, from its cut to the last insert's answer."""
        span = self._traces.begin(
            f"insert {plan.stream}",
            Kind.CLIENT,
            [frame.trace for frame in batch.frames],
            at=wall_ns(batch.cut_at),
            attributes={
                "db.system.name": "clickhouse",
                "db.operation.name": "INSERT",
                "db.collection.name": plan.stream,
                "tidegate.token": plan.token,
                "tidegate.partition": plan.partition,
                "tidegate.frames": plan.frames,
                "tidegate.accepted": plan.accepted,
                "tidegate.rejected": plan.rejected,
                "tidegate.attempts": batch.attempts + 1,
            },
        )
        span.add_event("fenced", timestamp=wall_ns(batch.fenced_at))
        span.end()
