"""transform: one raw record into everything that comes of it.

A pure composition of the steps: no clock, no client. No input makes it raise: a line on which a step
fails is set aside as a reject of kind `crash` with its bytes, and the rest of the frame goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.formats import micros_by_magnitude, parse_time
from tidegate.contracts.frames import REPLAYED_UNDER, EnrichedHeaders, Headers, write_arrow, write_headers
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Code, Fault, Reject, original_text
from tidegate.contracts.topics import Stream
from tidegate.steps.decode import RefusedLine, decode_frame
from tidegate.steps.enrich import enrich
from tidegate.steps.failures import failure_records

if TYPE_CHECKING:
    from tidegate.lookups import Lookups

log = logging.getLogger(__name__)

ATTEMPTS = 3  # at a whole frame, before it is taken apart
CUT_BYTES = 65_536  # what is kept of an original where the originals of a frame would not fit a record
NOT_SAID = 0  # received time of a line that does not say, when many records are taken at once
EXPANSION = 8  # a record that decompresses to this many times the record limit is not looked into

_ENCODE = msgspec.json.Encoder().encode
_EMPTY = {stream: pa.RecordBatch.from_pylist([], schema=schema) for stream, schema in SCHEMAS.items()}


class Record(NamedTuple):
    """A raw record as it came from Kafka."""

    partition: int
    offset: int
    previous_offset: int  # of the record before it in the partition, -1 for none
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp: int  # the record's own, µs


class Outputs(NamedTuple):
    """What one raw record yields, ready to send."""

    enriched: bytes  # an Arrow IPC stream
    headers: Headers  # of the enriched record
    failures: list[tuple[bytes, bytes]]  # key and JSON document
    rejects: list[tuple[Headers, bytes]]  # headers and JSON document
    batch: pa.RecordBatch  # what `enriched` holds
    lines: int
    crashed: int

    @property
    def size(self) -> int:
        """Bytes that wait in memory until the broker has them."""
        size = len(self.enriched) + 512
        if self.rejects:
            size += 2 * sum(len(value) for _, value in self.rejects)
        return size + sum(len(value) for _, value in self.failures)


class _Steps(NamedTuple):
    """What the steps made of a record's lines."""

    batch: pa.RecordBatch
    refused: list[RefusedLine]
    lines: int


class Transform:
    """The steps with their settings and lookups; one for each stream."""

    def __init__(
        self,
        stream: Stream,
        lookups: Lookups,
        *,
        epoch: str,
        transform_version: str,
        geohash_precision: int,
        clock_skew_seconds: int,
        max_record_bytes: int,
    ) -> None:
        self.stream: Stream = stream
        self.lookups = lookups
        self._epoch = epoch
        self._version = transform_version
        self._geohash_precision = geohash_precision
        self._clock_skew_seconds = clock_skew_seconds
        self._max_record_bytes = max_record_bytes

    def __call__(self, record: Record, fleets: Container[str] | None) -> Outputs:
        """Everything that comes of `record`; `fleets` are the known ones, None takes any."""
        if len(record.value) > EXPANSION * self._max_record_bytes:
            return self._outputs(record, self._whole_refused(record), CUT_BYTES)
        return self._fitting(record, self._attempts(record, fleets))

    def many(self, records: Sequence[Record], fleets: Container[str] | None) -> list[Outputs]:
        """The same for each of several small records, in order.

        The steps cost a frame some 0.4 ms before its first event; here records pay it together. Where a
        line is refused or a step fails, each goes by itself.
        """
        together = self._together(records, fleets) if len(records) > 1 else None
        if together is None:
            return [self(record, fleets) for record in records]
        return [self._outputs(record, found) for record, found in zip(records, together, strict=True)]

    def _together(self, records: Sequence[Record], fleets: Container[str] | None) -> list[_Steps] | None:
        if any(record.headers for record in records):  # they hold for the lines of one record
            return None
        lines = np.array([sum(map(bool, map(bytes.strip, record.value.split(b"\n")))) for record in records])
        if not lines.all():
            return None
        try:
            decoded = decode_frame(
                self.stream,
                b"\n".join(record.value for record in records),
                fleet=None,
                device=None,
                received_at=NOT_SAID,
                fleets=fleets,
                aliases=self.lookups.aliases,
            )
            if decoded.refused or pc.min(decoded.columns["received_at"]).as_py() <= NOT_SAID:
                return None
            batch = self._enrich(decoded.columns)
        except Exception:  # which record it was, the steps for each will tell
            return None
        # decode numbers the lines of all records through, in any order
        index = batch.column("index").to_numpy().astype(np.int64)
        order = np.argsort(index, kind="stable")
        if not np.array_equal(order, index):
            batch = batch.take(order)
        ends = np.cumsum(lines)
        own = np.concatenate([np.arange(count, dtype=np.uint32) for count in lines])
        batch = _with_indexes(batch, pa.array(own, pa.uint32()))
        return [
            _Steps(batch.slice(int(end - count), int(count)), [], int(count))
            for end, count in zip(ends, lines, strict=True)
        ]

    def apart(
        self,
        record: Record,
        fleets: Container[str] | None,
        *,
        guilty: Container[int],
        at_line: Callable[[int], None],
    ) -> Outputs:
        """The same for a record that kills the process: line by line, without the `guilty` ones.

        `at_line` is told each line before it is looked at, so that the next process knows what killed this.
        """
        return self._fitting(record, self._line_by_line(record, fleets, guilty, at_line))

    def _fitting(self, record: Record, found: _Steps) -> Outputs:
        originals = sum(len(line.line) for line in found.refused)
        cut = CUT_BYTES if originals > self._max_record_bytes // 3 else None
        outputs = self._outputs(record, found, cut)
        if self._fits(outputs):
            return outputs
        return self._outputs(record, self._whole_refused(record), CUT_BYTES)

    # --- the steps, and what happens when one of them fails

    def _attempts(self, record: Record, fleets: Container[str] | None) -> _Steps:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._steps(record.value, record, fleets)
            except Exception:
                log.exception(
                    "%s partition %d offset %d: a step failed, attempt %d of %d",
                    self.stream,
                    record.partition,
                    record.offset,
                    attempt,
                    ATTEMPTS,
                )
        return self._line_by_line(record, fleets)

    def _steps(self, value: bytes, record: Record, fleets: Container[str] | None) -> _Steps:
        named = dict(record.headers)
        fleet, device = named.get("fleet"), named.get("device")
        decoded = decode_frame(
            self.stream,
            value,
            fleet=None if not fleet else fleet.decode("utf-8", "replace"),
            device=None if device is None else device.decode("utf-8", "replace"),
            received_at=_received_at(named.get("received_at"), record.timestamp),
            fleets=fleets,
            aliases=self.lookups.aliases,
        )
        if len(decoded.refused) == decoded.lines:
            batch = _EMPTY[self.stream]
        else:
            batch = self._enrich(decoded.columns)
        return _Steps(batch, decoded.refused, decoded.lines)

    def _enrich(self, columns: Mapping[str, pa.Array[Any]]) -> pa.RecordBatch:
        return enrich(
            self.stream,
            columns,
            self.lookups,
            geohash_precision=self._geohash_precision,
            clock_skew_seconds=self._clock_skew_seconds,
        )

    def _line_by_line(
        self,
        record: Record,
        fleets: Container[str] | None,
        guilty: Container[int] = (),
        at_line: Callable[[int], None] = lambda _: None,
    ) -> _Steps:
        """Set the lines aside on which a step fails; take the others."""
        lines = [line for line in record.value.split(b"\n") if line.strip()] or [record.value]
        batches: list[pa.RecordBatch] = []
        refused: list[RefusedLine] = []
        for index, line in enumerate(lines):
            if index in guilty:
                fault = Fault(Code.CRASH, detail="the process died at this line")
                refused.append(_crashed(index, fault, line, record))
                continue
            at_line(index)
            try:
                found = self._steps(line, record, fleets)
            except Exception as error:
                fault = Fault(Code.CRASH, detail=f"{type(error).__name__}: {error}"[:500])
                refused.append(_crashed(index, fault, line, record))
                continue
            refused += [replace(item, index=index) for item in found.refused]
            if found.batch.num_rows:
                batches.append(_with_index(found.batch, index))
        batch = _EMPTY[self.stream]
        if batches:
            batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        return _Steps(batch, refused, len(lines))

    # --- what goes out

    def _outputs(self, record: Record, found: _Steps, cut: int | None = None) -> Outputs:
        rejects = [self._reject(record, line, cut) for line in found.refused]
        head = EnrichedHeaders(
            epoch=self._epoch,
            stream=self.stream,
            source_partition=record.partition,
            source_offset=record.offset,
            previous_offset=record.previous_offset,
            lines=found.lines,
            accepted=found.batch.num_rows,
            rejected=len(rejects),
            duplicates=0,
            transform_version=self._version,
        )
        return Outputs(
            enriched=write_arrow(found.batch),
            headers=write_headers(head, rejects),
            failures=self._failures(record, found.batch),
            rejects=[(_position_headers(reject), _ENCODE(reject)) for reject in rejects],
            batch=found.batch,
            lines=found.lines,
            crashed=sum(line.fault.code is Code.CRASH for line in found.refused),
        )

    def _failures(self, record: Record, batch: pa.RecordBatch) -> list[tuple[bytes, bytes]]:
        if not batch.num_rows:
            return []
        try:
            return failure_records(
                self.stream, batch, epoch=self._epoch, partition=record.partition, offset=record.offset
            )
        except Exception:  # a bug there must cost alerts and never events
            log.exception("%s partition %d offset %d: no failures", self.stream, *record[:2])
            return []

    def _reject(self, record: Record, line: RefusedLine, cut: int | None) -> Reject:
        fault, kept, detail = line.fault, line.line, line.fault.detail
        if cut is not None and len(kept) > cut:
            detail = f"{detail}; only the first {cut} of {len(kept)} bytes are kept".lstrip("; ")
            kept = kept[:cut]
        original, encoding = original_text(kept)
        position = Position(self._epoch, self.stream, record.partition, record.offset, line.index)
        return Reject(
            epoch=self._epoch,
            stream=self.stream,
            partition=record.partition,
            offset=record.offset,
            index=line.index,
            fleet=line.fleet,
            received_at=line.received_at,
            stage="enrich" if fault.code is Code.CRASH else "decode",
            kind=fault.kind,
            code=fault.code,
            path=fault.path,
            found=fault.found,
            allowed=fault.allowed,
            detail=detail,
            original=original,
            original_encoding=encoding,
            id=position.id(),
            device=line.device,
            origin=line.origin,
            replayed_under=_text_header(record, REPLAYED_UNDER) if line.origin else "",
        )

    def _whole_refused(self, record: Record) -> _Steps:
        """The record as a single refused line, because what comes of it would not fit a Kafka record."""
        fault = Fault(
            Code.TOO_LARGE,
            found=f"{len(record.value)} bytes",
            allowed=f"at most {self._max_record_bytes} bytes after processing",
            detail="the record is too large to process",
        )
        line = RefusedLine(0, fault, record.value, "", record.timestamp)
        return _Steps(_EMPTY[self.stream], [line], 1)

    def _fits(self, outputs: Outputs) -> bool:
        """Whether the broker will take the enriched record: its limit is on the compressed bytes."""
        rejects = sum(len(value) for _, value in outputs.rejects)
        if len(outputs.enriched) + rejects < self._max_record_bytes * 3 // 4:
            return True
        pack = zstandard.ZstdCompressor(level=1).compress
        packed = len(pack(outputs.enriched)) + (len(pack(outputs.headers[-1][1])) if rejects else 0)
        return packed < self._max_record_bytes * 3 // 4


class _Envelope(msgspec.Struct):
    fleet: str = ""
    received_at: int | None = None
    origin: str = ""


_SENDER = msgspec.json.Decoder(_Envelope)


def _crashed(index: int, fault: Fault, line: bytes, record: Record) -> RefusedLine:
    """A line that no step got to the end of; of its envelope is kept what can be read."""
    said, received_at = _Envelope(), _received_at(dict(record.headers).get("received_at"), record.timestamp)
    try:
        said = _SENDER.decode(line)
        if said.received_at is not None:
            received_at = micros_by_magnitude(said.received_at)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    fleet = said.fleet or _text_header(record, "fleet")
    return RefusedLine(index, fault, line, fleet, received_at, _text_header(record, "device"), said.origin)


def _text_header(record: Record, name: str) -> str:
    return dict(record.headers).get(name, b"").decode("utf-8", "replace")


def _received_at(header: bytes | None, timestamp: int) -> int:
    """µs: the header's, epoch by magnitude or ISO 8601, else the record's own."""
    if not header:
        return timestamp
    try:
        text = header.decode("ascii")
        return micros_by_magnitude(int(text)) if text.isdigit() else parse_time(text)
    except ValueError:
        return timestamp


def _with_index(batch: pa.RecordBatch, index: int) -> pa.RecordBatch:
    return _with_indexes(batch, pa.array([index] * batch.num_rows, pa.uint32()))


def _with_indexes(batch: pa.RecordBatch, indexes: pa.Array[Any]) -> pa.RecordBatch:
    place = batch.schema.get_field_index("index")
    columns: list[Any] = list(batch.columns)
    columns[place] = indexes
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _position_headers(reject: Reject) -> Headers:
    return [
        (name, str(value).encode("ascii"))
        for name, value in (
            ("epoch", reject.epoch),
            ("stream", reject.stream),
            ("source_partition", reject.partition),
            ("source_offset", reject.offset),
            ("index", reject.index),
        )
    ]
