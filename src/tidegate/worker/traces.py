"""The worker's spans: one of each raw record that is transformed."""

from __future__ import annotations

from tidegate.contracts.topics import Stream, raw
from tidegate.contracts.trace import TRACEPARENT, context_of
from tidegate.steps.frame import Outputs, Record
from tidegate.tracing.spans import Kind, Traces, header


class RecordTraces:
    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def transformed(self, stream: Stream, record: Record, outputs: Outputs, begun: int) -> None:
        """Note that `record` became `outputs`, and put the trace into the header of the enriched record.

        `begun`: when its transform began, ns since 1970; of records that are transformed together all have
        the time of all.
        """
        topic = raw(stream)
        span = self._traces.begin(
            f"transform {topic}",
            Kind.CONSUMER,
            [context_of(record.headers, TRACEPARENT)],
            at=begun,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "tidegate.lines": outputs.lines,
                "tidegate.accepted": outputs.batch.num_rows,
                "tidegate.rejected": len(outputs.rejects),
                "tidegate.duplicates": outputs.duplicates,
            },
        )
        outputs.headers.append((TRACEPARENT, header(span)))
        span.end()
