"""dispatch: what comes of the records that wait in a lane, on its way to the broker."""

from __future__ import annotations

import time

from tidegate.contracts.topics import Stream
from tidegate.processing.emitter import Emitter, count
from tidegate.processing.lane import Lane
from tidegate.processing.limit import Limit
from tidegate.telemetry import (
    WORKER_CRASHES,
    WORKER_FAILURES,
    WORKER_FRAMES,
    WORKER_LINES,
    WORKER_TRANSFORM_SECONDS,
)
from tidegate.worker.transforms import Transforms


class Dispatch:
    """Makes frames in flight of the records that wait."""

    def __init__(self, transforms: Transforms, emitter: Emitter, limit: Limit) -> None:
        self._transforms = transforms
        self._emitter = emitter
        self._limit = limit

    def send(self, stream: Stream, lane: Lane) -> None:
        """Transform the records that wait in a lane, and send what comes of them."""
        records, lane.waiting = lane.waiting, []
        if not records:
            return
        begun = time.perf_counter()
        for record, outputs in zip(records, self._transforms.of(stream, records), strict=True):
            frame = lane.take(record.offset, outputs=count(outputs), size=outputs.size)
            self._emitter.send(stream, record.partition, frame, outputs)
            lane.tally.add(record.offset, outputs.batch)
            self._limit.watch(stream, outputs)
            WORKER_LINES.labels(stream, "accepted").inc(outputs.batch.num_rows)
            if outputs.duplicates:
                WORKER_LINES.labels(stream, "duplicate").inc(outputs.duplicates)
            if outputs.rejects:
                WORKER_LINES.labels(stream, "rejected").inc(len(outputs.rejects))
                WORKER_CRASHES.labels(stream).inc(outputs.crashed)
            if outputs.failures:
                WORKER_FAILURES.labels(stream).inc(len(outputs.failures))
        WORKER_FRAMES.labels(stream).inc(len(records))
        WORKER_TRANSFORM_SECONDS.labels(stream).inc(time.perf_counter() - begun)
