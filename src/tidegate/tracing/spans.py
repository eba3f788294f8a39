"""Spans, and the way out for them: OTLP over HTTP, by the SDK's own thread.

A span has one parent and any number of links. Where events of many requests or frames go on as one, the
first of them is the parent, so that a request's own trace goes on to the end, and the others are links.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from tidegate import __version__
from tidegate.contracts.trace import TraceContext, write_traceparent

MOST_LINKS = 1000  # of a span; further ones are counted by the SDK as dropped
QUEUE_SPANS = 8192  # that wait for the receiver; further ones are dropped, and the log says so
EXPORT_MS = 1000
CLOSE_SECONDS = 3.0


class Kind(Enum):
    """What a span is in OpenTelemetry's conventions."""

    SERVER = SpanKind.SERVER  # answers a request
    PRODUCER = SpanKind.PRODUCER  # writes a record
    CONSUMER = SpanKind.CONSUMER  # takes one
    CLIENT = SpanKind.CLIENT  # asks a database


class Traces:
    """The spans of one process. `begin` and `end` may be called from any thread, and wait for nothing."""

    def __init__(self, role: str, endpoint: str, share: float) -> None:
        """`share` of the traces that begin here are kept; others as their parent's flag says."""
        # Retries are told again when they have failed.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        resource = {
            "service.name": f"tidegate-{role}",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
        self._provider = TracerProvider(
            resource=Resource.create(resource),
            sampler=ParentBased(TraceIdRatioBased(share)),
            span_limits=SpanLimits(max_links=MOST_LINKS),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, schedule_delay_millis=EXPORT_MS)
        )
        self._tracer = self._provider.get_tracer("tidegate", __version__)

    def begin(
        self,
        name: str,
        kind: Kind,
        causes: Sequence[TraceContext | None] = (),
        *,
        at: int | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span that began at `at`, ns since 1970 (None: now); `causes` are what it is the work of."""
        known = list(dict.fromkeys(cause for cause in causes if cause is not None))
        # One that is kept comes first, or the trace would end where the first of a frame's requests has none.
        known.sort(key=lambda cause: not cause.sampled)
        parent = trace.set_span_in_context(NonRecordingSpan(_remote(known[0]))) if known else Context()
        links = [Link(_remote(cause)) for cause in known[1 : MOST_LINKS + 1] if cause.sampled]
        return self._tracer.start_span(
            name, parent, kind.value, attributes=attributes, links=links, start_time=at
        )

    def close(self) -> None:
        """Send what waits, within CLOSE_SECONDS."""
        sender = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sender.start()
        sender.join(CLOSE_SECONDS)


def context(span: Span) -> TraceContext:
    """What names a span to others."""
    found = span.get_span_context()
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled)


def header(span: Span) -> bytes:
    """The `traceparent` of what a span writes."""
    return write_traceparent(context(span))


def wall_ns(monotonic: float) -> int:
    """Nanoseconds since 1970 of a reading of the monotonic clock, seconds."""
    return time.time_ns() - round((time.monotonic() - monotonic) * 1e9)


def _remote(cause: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if cause.sampled else TraceFlags.DEFAULT)
    return SpanContext(cause.trace_id, cause.span_id, is_remote=True, trace_flags=flags)
