"""limit: pausing a fleet's stream that is refused too much, and telling of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tidegate.contracts.pauses import Pause
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.pauses.control import Pauses
from tidegate.processing.flood import Flood, lines_by_fleet
from tidegate.processing.transform import Outputs
from tidegate.settings import Settings
from tidegate.telemetry import WORKER_PAUSED

log = logging.getLogger(__name__)


class Limit:
    """`send` writes a pause that begins, and its alert."""

    def __init__(self, settings: Settings, send: Callable[[Pause], None]) -> None:
        self.pauses = Pauses(settings.kafka_bootstrap)
        self._flood = Flood(
            share=settings.worker_reject_share,
            least=settings.worker_reject_lines,
            seconds=settings.worker_reject_seconds,
        )
        self._send = send

    def watch(self, stream: Stream, outputs: Outputs) -> None:
        """Count what came of one raw record; pause the fleets whose lines pass the limit."""
        if not outputs.refused_fleets and not self._flood.is_counting(stream):
            return
        accepted = lines_by_fleet(outputs.batch)
        for found in self._flood.count(stream, accepted, outputs.refused_fleets, time.monotonic()):
            if (stream, found.fleet) in self.pauses:
                continue
            pause = Pause(found.fleet, stream, datetime.now(UTC).isoformat(), found.lines, found.rejected)
            self.pauses.hold(pause)
            self._send(pause)
            log.error(
                "%s of fleet %r: %d of %d lines refused; the stream is paused: refused lines stay in the raw"
                " topic alone, as long as it keeps them. Mend the sender, then: tidegate fleet resume",
                stream,
                found.fleet,
                found.rejected,
                found.lines,
            )

    def tell(self) -> None:
        """Set the metric."""
        for stream in STREAMS:
            WORKER_PAUSED.labels(stream).set(self.pauses.of(stream))
