"""transforms: the transform of each stream, with what goes on beside it: the fleets, the keys, the marker."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Container
from functools import partial

import pyarrow as pa

from tidegate.contracts.topics import STREAMS, Stream
from tidegate.lookups import Lookups
from tidegate.processing.keys import Keys, Window
from tidegate.processing.marker import Marker, Place
from tidegate.processing.transform import ATTEMPTS, Outputs, Record, Transform
from tidegate.settings import Settings
from tidegate.steps.learn import unlisted
from tidegate.telemetry import WORKER_SETTLED_TIMES, WORKER_UNLISTED

log = logging.getLogger(__name__)

CAREFUL_RECORDS = 4096  # behind a death, before records are transformed together again


class Transforms:
    """`fleets` are the known ones, `paused` those of a stream whose refused lines stay in the raw topic."""

    def __init__(
        self,
        settings: Settings,
        epoch: str,
        tables: Lookups,
        *,
        fleets: Container[str],
        paused: Container[tuple[Stream, str]],
        keys: Keys,
        marker: Marker,
    ) -> None:
        self._fleets = fleets
        self._keys = keys
        self._marker = marker
        self._careful = CAREFUL_RECORDS
        self._by_stream = {
            stream: Transform(
                stream,
                tables,
                epoch=epoch,
                transform_version=f"{settings.transform_version}.{tables.digest[:8]}",
                geohash_precision=settings.worker_geohash_precision,
                clock_skew_seconds=settings.worker_clock_skew_seconds,
                max_record_bytes=settings.kafka_max_record_bytes,
                keep_days=getattr(settings, f"ttl_{stream}_days"),
                keep_rejects_days=settings.ttl_rejects_days,
            )
            for stream in STREAMS
        }
        for transform in self._by_stream.values():
            transform.paused = paused

    def of(self, stream: Stream, records: list[Record]) -> list[Outputs]:
        """What comes of each of these records of one partition, in order; at least one.

        Together, but where a process died not long ago: then each by itself, to know what it dies of.
        """
        transform = self._by_stream[stream]
        window = self._keys.window(stream, records[0].partition)
        window.advance(min(records[-1].timestamp, time.time_ns() // 1000))
        if self._marker.suspect is not None and self._careful > 0:
            self._careful -= len(records)
            outputs = [self._suspected(transform, record, window) for record in records]
        else:
            self._marker.at(Place(stream, records[0].partition, records[0].offset))
            outputs = transform.many(records, self._fleets, window)
            self._marker.clear()
        if transform.settled:
            WORKER_SETTLED_TIMES.labels(stream).inc(transform.settled)
            transform.settled = 0
        return outputs

    def learn(self, rows: pa.RecordBatch) -> None:
        """Count the failures that the catalogue does not list, and keep their texts for such without one.

        `rows` are accepted ones of `client_events`.
        """
        transform = self._by_stream["client_events"]
        catalogue = transform.lookups.failures
        found = unlisted(rows, catalogue)
        if found:
            WORKER_UNLISTED.inc(found.total())
            taught = catalogue.with_learned(found)
            if taught.learned != catalogue.learned:
                transform.lookups = dataclasses.replace(transform.lookups, failures=taught)

    def _suspected(self, transform: Transform, record: Record, window: Window) -> Outputs:
        place = Place(transform.stream, record.partition, record.offset)
        self._marker.at(place)
        suspect = self._marker.of(place)
        if suspect is None:
            outputs = transform(record, self._fleets, window)
        elif suspect.deaths < ATTEMPTS:
            log.error("a process died at %s partition %d offset %d; trying again", *place)
            outputs = transform(record, self._fleets, window)
        else:
            log.error("%d processes died at %s partition %d offset %d", suspect.deaths, *place)
            outputs = transform.apart(
                record,
                self._fleets,
                window,
                guilty=frozenset(suspect.lines),
                at_line=partial(self._marker.at, place),
            )
        self._marker.clear()
        return outputs
