"""The gateway's spans: one of each request whose token is known, one of each frame that is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.trace import Span, Status, StatusCode

from tidegate.contracts.topics import Stream, raw
from tidegate.contracts.trace import TRACEPARENT, TraceContext, context_of
from tidegate.tracing.spans import Kind, Traces, context, header, wall_ns

_NAME = TRACEPARENT.encode()


@dataclass(slots=True)
class FrameSpan:
    header: bytes  # the traceparent of the record
    offset: int | None = None  # where it is in the log; None: it is not known to be there


class RequestTraces:
    """`current` is the span of the request that the running task answers."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._request: ContextVar[Span | None] = ContextVar("request", default=None)

    def begin(self, path: str, fleet: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A request whose token is known, to be accepted or refused: strangers do not begin traces. Its own
        `traceparent` is gone on with."""
        span = self._traces.begin(
            f"POST {path}",
            Kind.SERVER,
            [context_of(headers, _NAME)],
            attributes={"http.request.method": "POST", "http.route": path, "tidegate.fleet": fleet},
        )
        self._request.set(span)

    def end(self, status: int | None) -> None:
        """The request, if one began, is answered with `status`; None: its client has gone."""
        span = self._request.get()
        if span is None:
            return
        self._request.set(None)
        if status is None or status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        span.end()

    @property
    def current(self) -> TraceContext | None:
        span = self._request.get()
        return None if span is None else context(span)

    @contextmanager
    def frame(
        self, stream: Stream, partition: int, lines: int, *, born: float, requests: Sequence[TraceContext]
    ) -> Iterator[FrameSpan]:
        """Around the writing of a frame with events of `requests`: from `born` (monotonic clock, s), when it
        got its first one, to the broker's ack."""
        topic = raw(stream)
        span = self._traces.begin(
            f"send {topic}",
            Kind.PRODUCER,
            requests,
            at=wall_ns(born),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": str(partition),
                "tidegate.lines": lines,
            },
        )
        written = FrameSpan(header(span))
        try:
            yield written
        finally:
            if written.offset is None:
                span.set_status(Status(StatusCode.ERROR))
            else:
                span.set_attribute("messaging.kafka.offset", written.offset)
            span.end()
