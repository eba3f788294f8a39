"""Transforms raw records: the steps, without what was processed before, and isolated where they fail."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Container, Sequence
from functools import partial

import pyarrow as pa

from tidegate.contracts import keys, native
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.contracts.trace import TRACEPARENT
from tidegate.lookups import Lookups
from tidegate.lookups.failures import FailureCatalogue
from tidegate.pseudonyms import Stored
from tidegate.settings import Settings, days_of_fleets
from tidegate.steps.frame import CUT_BYTES, FrameSteps, Outputs, Record, Transformed
from tidegate.steps.unlisted_failures import unlisted
from tidegate.steps.version import transform_version
from tidegate.telemetry import WORKER_SETTLED_TIMES, WORKER_UNLISTED
from tidegate.worker.crash_journal import CrashJournal, RecordPosition
from tidegate.worker.dedup import RecordDedup, dedup_of_each, without_repeated_pieces
from tidegate.worker.dedup_window import DedupTable, DedupWindow
from tidegate.worker.isolate import ATTEMPTS, attempt, line_by_line

log = logging.getLogger(__name__)

CAREFUL_RECORDS = 4096  # behind a death, before records are transformed together again


class Transform:
    """The steps of one stream as the worker runs them. No input makes it raise but where memory is short:
    MemoryError ends the process, for good lines would become rejects."""

    def __init__(self, steps: FrameSteps) -> None:
        self.steps = steps

    def __call__(
        self, record: Record, fleets: Container[str] | None, window: DedupWindow | None = None
    ) -> Outputs:
        """The outputs of `record`; `fleets` are the known ones, None takes any.

        `window` knows the keys of the records before it, and takes this one's; None looks at no keys.
        """
        if self._stays_closed(record):
            return self._refused_whole(record)
        dedup = _dedup(window, record)
        found = without_repeated_pieces(
            record, dedup, self.steps.stream, lambda thin: attempt(self.steps, thin, fleets, dedup)
        )
        outputs = self._made(record, dedup, found)
        return self._line_by_line(record, fleets, window) if outputs is None else outputs

    def many(
        self, records: Sequence[Record], fleets: Container[str] | None, window: DedupWindow | None = None
    ) -> list[Outputs]:
        """The same for each of several small records, in order.

        The steps cost a frame some 0.4 ms before its first event; here records pay it together. Those that
        have a refused line, a line with a key of its own or one that makes a step fail go by themselves.
        """
        if len(records) > 1 and not any(map(self._goes_alone, records)):
            dedups = dedup_of_each(window, records)
            if not any(dedup is not None and dedup.repeats for dedup in dedups):
                together = self.steps.transform_together(records, fleets)
                return [
                    (None if found is None else self._made(record, dedup, found))
                    or self(record, fleets, window)
                    for record, found, dedup in zip(records, together, dedups, strict=True)
                ]
        return [self(record, fleets, window) for record in records]

    def _goes_alone(self, record: Record) -> bool:
        """Whether a record's headers hold for its lines, or it is too large to be looked into."""
        return self._stays_closed(record) or _speaks_for_lines(record)

    def _stays_closed(self, record: Record) -> bool:
        return record.refused is not None or len(record.value) > self.steps.max_record_bytes

    def apart(
        self,
        record: Record,
        fleets: Container[str] | None,
        window: DedupWindow | None = None,
        *,
        guilty: Container[int],
        at_line: Callable[[int], None],
    ) -> Outputs:
        """The same for a record that kills the process: line by line, without the `guilty` ones.

        `at_line` is told each line before it is looked at, so that the next process knows what killed this.
        """
        if self._stays_closed(record):
            return self._refused_whole(record)
        return self._line_by_line(record, fleets, window, guilty, at_line)

    def _line_by_line(
        self,
        record: Record,
        fleets: Container[str] | None,
        window: DedupWindow | None,
        guilty: Container[int] = (),
        at_line: Callable[[int], None] = lambda _: None,
    ) -> Outputs:
        dedup = _dedup(window, record)
        found = without_repeated_pieces(
            record,
            dedup,
            self.steps.stream,
            lambda thin: line_by_line(self.steps, thin, fleets, dedup, guilty, at_line),
        )
        return self._made(record, dedup, found) or self._refused_whole(record, "nothing could be made of it")

    def _refused_whole(self, record: Record, crash: str = "") -> Outputs:
        return self.steps.outputs(record, self.steps.whole_refused(record, crash), CUT_BYTES)

    def _made(self, record: Record, dedup: RecordDedup | None, found: Transformed) -> Outputs | None:
        """The outputs of a record, or it as one refused line where they would not fit a Kafka record; None
        where they cannot be made. Only what is made is claimed."""
        originals = sum(len(line.line) for line in found.refused)
        cut = CUT_BYTES if originals > self.steps.max_record_bytes // 3 else None
        try:
            outputs = self.steps.outputs(record, found, cut)
            if not self.steps.fits(outputs):
                return self._refused_whole(record)
        except MemoryError:
            raise
        except Exception:
            log.exception(
                "%s partition %d offset %d: no outputs can be made of %d lines",
                self.steps.stream,
                record.partition,
                record.offset,
                found.lines,
            )
            return None
        return _claiming(outputs, dedup, found)


class Transforms:
    """The transform of each stream; the crash journal knows which record it is at.

    `fleets` are the known ones, `paused` those of a stream whose refused lines stay in the raw topic.
    """

    def __init__(
        self,
        settings: Settings,
        epoch: str,
        tables: Lookups,
        *,
        fleets: Container[str],
        paused: Container[tuple[Stream, str]],
        keys: DedupTable,
        journal: CrashJournal,
        pseudonyms: Stored | None = None,
    ) -> None:
        self._fleets = fleets
        self._keys = keys
        self._journal = journal
        self._careful = CAREFUL_RECORDS
        decoders = native.choose(settings.decoder).decoders
        self._by_stream = {
            stream: FrameSteps(
                stream,
                tables,
                epoch=epoch,
                transform_version=transform_version(settings, tables, pseudonyms),
                geohash_precision=settings.worker_geohash_precision,
                clock_skew_seconds=settings.worker_clock_skew_seconds,
                max_record_bytes=settings.kafka_max_record_bytes,
                keep_days=getattr(settings, f"ttl_{stream}_days"),
                keep_rejects_days=settings.ttl_rejects_days,
                fleet_days=days_of_fleets(settings.fleet_retention_days),
                pseudonyms=pseudonyms,
                decoder=decoders.get(stream),
            )
            for stream in STREAMS
        }
        for steps in self._by_stream.values():
            steps.paused = paused

    def of(self, stream: Stream, records: list[Record]) -> list[Outputs]:
        """The outputs of each of these records of one partition, in order; at least one.

        Together, but where a process died not long ago: then each by itself, to know what it dies of.
        """
        steps = self._by_stream[stream]
        transform = Transform(steps)
        window = self._keys.window(stream, records[0].partition)
        window.advance(min(records[-1].timestamp, time.time_ns() // 1000))
        if self._journal.suspect is not None and self._careful > 0:
            self._careful -= len(records)
            outputs = [self._suspected(transform, record, window) for record in records]
        else:
            self._journal.at(RecordPosition(stream, records[0].partition, records[0].offset))
            outputs = transform.many(records, self._fleets, window)
            self._journal.clear()
        if steps.bounded:
            WORKER_SETTLED_TIMES.labels(stream).inc(steps.bounded)
            steps.bounded = 0
        return outputs

    @property
    def catalogue(self) -> FailureCatalogue:
        """Of failures, with what was learned."""
        return self._by_stream["client_events"].lookups.failures

    def learn(self, rows: pa.RecordBatch) -> None:
        """Count the failures that the catalogue does not list, and keep their texts for such without one.

        `rows` are accepted ones of `client_events`.
        """
        steps = self._by_stream["client_events"]
        catalogue = steps.lookups.failures
        found = unlisted(rows, catalogue)
        if found:
            WORKER_UNLISTED.inc(found.total())
            taught = catalogue.with_learned(found)
            if taught.learned != catalogue.learned:
                steps.lookups = dataclasses.replace(steps.lookups, failures=taught)

    def _suspected(self, transform: Transform, record: Record, window: DedupWindow) -> Outputs:
        position = RecordPosition(transform.steps.stream, record.partition, record.offset)
        self._journal.at(position)
        suspect = self._journal.of(position)
        if suspect is None:
            outputs = transform(record, self._fleets, window)
        elif suspect.deaths < ATTEMPTS:
            log.error("a process died at %s partition %d offset %d; trying again", *position)
            outputs = transform(record, self._fleets, window)
        else:
            log.error("%d processes died at %s partition %d offset %d", suspect.deaths, *position)
            outputs = transform.apart(
                record,
                self._fleets,
                window,
                guilty=frozenset(suspect.lines),
                at_line=partial(self._journal.at, position),
            )
        self._journal.clear()
        return outputs


def _dedup(window: DedupWindow | None, record: Record) -> RecordDedup | None:
    return None if window is None else RecordDedup(window, record.offset, record.headers)


def _claiming(outputs: Outputs, dedup: RecordDedup | None, found: Transformed) -> Outputs:
    if dedup is None:
        return outputs
    claims = dedup.claim(found.claims)
    return outputs._replace(claims=claims) if claims else outputs


def _speaks_for_lines(record: Record) -> bool:
    """Whether the record's headers hold for its lines, which then cannot be taken with those of others."""
    return any(name not in (keys.HEADER, TRACEPARENT) for name, _ in record.headers)
