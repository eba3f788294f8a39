"""Counts of the write routes."""

from __future__ import annotations

from collections import Counter

from tidegate import telemetry
from tidegate.contracts.topics import Stream


class Counters:
    """Counts on their way to the metrics: plain additions here, a locked counter a quarter second later."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[Stream, int]] = Counter()
        self.replayed: Counter[Stream] = Counter()
        self.events: Counter[Stream] = Counter()
        self.refused: Counter[Stream] = Counter()
        self.bytes: Counter[Stream] = Counter()

    def publish(self) -> None:
        for (stream, status), count in self.requests.items():
            telemetry.GATEWAY_REQUESTS.labels(stream, str(status)).inc(count)
        for counts, metric in (
            (self.events, telemetry.GATEWAY_EVENTS),
            (self.refused, telemetry.GATEWAY_REFUSED),
            (self.bytes, telemetry.GATEWAY_BODY_BYTES),
            (self.replayed, telemetry.GATEWAY_REPLAYED),
        ):
            for stream, count in counts.items():
                metric.labels(stream).inc(count)
            counts.clear()
        self.requests.clear()
