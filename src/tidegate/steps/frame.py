"""One raw record → its columns, failures and refused lines, ready to send.

A pure composition of the steps: no clock, no client. What a step raises passes through; `worker.isolate`
takes the record apart then.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import zstandard

from tidegate.contracts import json_text
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.formats import parse_moment
from tidegate.contracts.frames import (
    BOM,
    REPLAYED_UNDER,
    EnrichedHeaders,
    Headers,
    header_text,
    record_of,
    write_arrow,
    write_headers,
)
from tidegate.contracts.keys import Change, EventKey
from tidegate.contracts.limits import largest_event
from tidegate.contracts.native import Decoder
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Code, Fault, Reject, original_text
from tidegate.contracts.topics import Stream
from tidegate.pseudonyms import Stored
from tidegate.steps.decode import Decoded, RefusedLine, decode_frame, not_a_time
from tidegate.steps.enrich import enrich
from tidegate.steps.failures import failure_records
from tidegate.steps.pseudonymise import faceless, pseudonymise
from tidegate.steps.received import Times, bounded, bounded_one, kept_days, kept_days_of

if TYPE_CHECKING:
    from tidegate.lookups import Lookups

log = logging.getLogger(__name__)

CUT_BYTES = 65_536  # what is kept of an original where the originals of a frame would not fit a record
NOT_SAID = 0  # received time of a line that does not say, when many records are taken at once

EMPTY_DAYS: Mapping[str, int] = MappingProxyType({})

_ENCODE = msgspec.json.Encoder().encode
EMPTY = {stream: pa.RecordBatch.from_pylist([], schema=schema) for stream, schema in SCHEMAS.items()}


class Record(NamedTuple):
    """A raw record as it came from Kafka."""

    partition: int
    offset: int
    previous_offset: int  # of the record before it in the partition, -1 for none
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp: int  # the record's own, µs
    refused: Fault | None = None  # why it was not read: then it is one refused line


class Outputs(NamedTuple):
    """What one raw record yields, ready to send."""

    enriched: bytes  # an Arrow IPC stream
    headers: Headers  # of the enriched record
    failures: list[tuple[bytes, bytes]]  # key and JSON document
    rejects: list[tuple[Headers, bytes]]  # headers and JSON document
    batch: pa.RecordBatch  # what `enriched` holds
    lines: int
    crashed: int
    duplicates: int = 0
    claims: Sequence[Change] = ()  # records for the changelog of the keys
    refused_fleets: Sequence[str] = ()  # of each reject

    @property
    def size(self) -> int:
        """Bytes that wait in memory until the broker has them."""
        size = len(self.enriched) + 512
        if self.rejects:
            size += 2 * sum(len(value) for _, value in self.rejects)
        size += sum(len(value or b"") for _, value in self.claims)
        return size + sum(len(value) for _, value in self.failures)


class Transformed(NamedTuple):
    """The lines of a record behind the steps."""

    batch: pa.RecordBatch
    refused: list[RefusedLine]
    lines: int
    duplicates: int = 0
    claims: Sequence[bytes] = ()  # keys of the events that were taken, each with its digest


class KeyedLines(NamedTuple):
    """Lines with a key of their own that were processed before, by number, and the claims of new ones."""

    duplicates: list[int]
    reused: list[int]
    claims: list[bytes]


class LineDedup(Protocol):
    """Tells new lines with keys of their own from repeated ones; `worker.dedup` is its implementation."""

    def events(self, found: Mapping[int, EventKey]) -> KeyedLines: ...

    def take_back(self, lines: KeyedLines) -> None:
        """The lines were not taken after all."""


class FrameSteps:
    """The steps of one stream with their settings and lookups."""

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
        keep_days: int = 0,
        keep_rejects_days: int = 0,
        fleet_days: Mapping[str, int] = EMPTY_DAYS,
        pseudonyms: Stored | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        """`decoder` is the native one of the stream; None for Python alone. `pseudonyms`: what goes out has
        them in place of MACs of clients and device ids; None for none."""
        self.stream: Stream = stream
        self.lookups = lookups
        self._decoder = decoder
        self._epoch = epoch
        self._version = transform_version
        self._geohash_precision = geohash_precision
        self._clock_skew_seconds = clock_skew_seconds
        self.max_record_bytes = max_record_bytes
        self._keep_days, self._keep_rejects_days = keep_days, keep_rejects_days
        self._fleet_days = fleet_days
        self._pseudonyms = pseudonyms
        self.paused: Container[tuple[Stream, str]] = ()  # whose refused lines stay in the raw topic alone
        self.bounded = 0  # received times that were replaced so far

    def transform_together(
        self, records: Sequence[Record], fleets: Container[str] | None
    ) -> list[Transformed | None]:
        """Transform records as one: their lines share the fixed cost of the steps, some 0.4 ms.

        None for each record with a line that is refused, has a key of its own or does not say when it was
        received, and for all where a step fails: they must go by themselves.
        """
        nothing: list[Transformed | None] = [None] * len(records)
        values = [record.value.removeprefix(BOM) for record in records]
        lines = np.array([sum(map(bool, map(bytes.strip, value.split(b"\n")))) for value in values])
        if not lines.all():
            return nothing
        of_line = np.repeat(np.arange(len(records)), lines)  # the record of each line
        try:
            decoded = decode_frame(
                self.stream,
                record_of(values),
                fleet=None,
                device=None,
                received_at=NOT_SAID,
                fleets=fleets,
                max_event_bytes=largest_event(self.max_record_bytes),
                aliases=self.lookups.aliases,
                native=self._decoder,
            )
            columns = decoded.columns
            numbers = columns["index"].to_numpy()
            said = columns["received_at"].to_numpy() > NOT_SAID
            careful = [line.index for line in decoded.refused] + list(decoded.keys)
            good = np.ones(len(records), np.bool_)
            good[of_line[careful]] = good[of_line[numbers[~said]]] = False
            if not good.any():
                return nothing
            if not good.all():
                kept = good[of_line[numbers]]
                columns = {name: column.filter(pa.array(kept)) for name, column in columns.items()}
                numbers = numbers[kept]
            written = np.array([record.timestamp for record in records])
            batch = self._enrich(columns, written[of_line[numbers]])
        except Exception:  # which record it was, the steps for each will tell
            return nothing
        # decode numbers the lines of all records through, in any order
        order = np.argsort(numbers, kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            batch = batch.take(order)
        own = np.concatenate([np.arange(count, dtype=np.uint32) for count in lines[good]])
        batch = with_indexes(batch, pa.array(own, pa.uint32()))
        ends = np.cumsum(np.where(good, lines, 0))
        return [
            Transformed(batch.slice(int(end - count), int(count)), [], int(count)) if whole else None
            for end, count, whole in zip(ends, lines, good, strict=True)
        ]

    def transform(
        self, value: bytes, record: Record, fleets: Container[str] | None, dedup: LineDedup | None
    ) -> Transformed:
        """One record, decoded and enriched; bad lines are in `refused`. Raises only for a bug in a step.

        `fleets` are those that may be named, None for any; `dedup` leaves out lines whose key came before.
        """
        named = dict(record.headers)
        received_at = _received_at(named.get("received_at"), record.timestamp)
        no_time = received_at if isinstance(received_at, Fault) else None
        decoded = decode_frame(
            self.stream,
            value,
            fleet=_text_header(record, "fleet") or None,
            device=_text_header(record, "device") or None,
            received_at=record.timestamp if isinstance(received_at, Fault) else received_at,
            no_time=no_time,
            fleets=fleets,
            max_event_bytes=largest_event(self.max_record_bytes),
            aliases=self.lookups.aliases,
            native=self._decoder,
        )
        if len(decoded.refused) == decoded.lines:
            return Transformed(EMPTY[self.stream], decoded.refused, decoded.lines)
        if decoded.keys and dedup is not None:
            return self._without_repeats(decoded, record, dedup)
        batch = self._enrich(decoded.columns, _written(record, decoded.columns))
        return Transformed(batch, decoded.refused, decoded.lines)

    def _without_repeats(self, decoded: Decoded, record: Record, dedup: LineDedup) -> Transformed:
        """The steps for lines some of which have a key of their own."""
        keyed = dedup.events(decoded.keys)
        columns, gone = decoded.columns, [*keyed.duplicates, *keyed.reused]
        if gone:
            kept = pa.array(~np.isin(columns["index"].to_numpy(), gone))
            columns = {name: column.filter(kept) for name, column in columns.items()}
        batch = EMPTY[self.stream]
        if len(columns["index"]):
            try:
                batch = self._enrich(columns, _written(record, columns))
            except Exception:
                dedup.take_back(keyed)
                raise
        reused = [unread(number, KEY_REUSED, decoded.keys[number].line, record) for number in keyed.reused]
        refused = sorted([*decoded.refused, *reused], key=lambda line: line.index)
        return Transformed(batch, refused, decoded.lines, len(keyed.duplicates), keyed.claims)

    def _enrich(self, columns: Mapping[str, pa.Array[Any]], written: Times) -> pa.RecordBatch:
        """`written`: the time of each line's record, µs."""
        keep_days = kept_days(columns["fleet"], self._fleet_days, self._keep_days)
        received, count = bounded(columns["received_at"], written, keep_days=keep_days)
        self.bounded += count
        batch = enrich(
            self.stream,
            {**columns, "received_at": received},
            self.lookups,
            geohash_precision=self._geohash_precision,
            clock_skew_seconds=self._clock_skew_seconds,
        )
        return batch if self._pseudonyms is None else pseudonymise(self.stream, batch, self._pseudonyms)

    # --- what goes out

    def outputs(self, record: Record, found: Transformed, cut: int | None = None) -> Outputs:
        """What goes out of a transformed record. `cut`: the bytes that a reject keeps of its line, None for
        all."""
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
            duplicates=found.duplicates,
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
            refused_fleets=[line.fleet for line in found.refused],
            duplicates=found.duplicates,
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
        fault, kept, device = line.fault, line.line, line.device
        if self._pseudonyms is not None:
            fault, device = faceless(fault, line.fleet, self._pseudonyms), ""
        detail = fault.detail
        keep_days = kept_days_of(line.fleet, self._fleet_days, self._keep_rejects_days)
        if cut is not None and len(kept) > cut:
            detail = f"{detail}; only the first {cut} of {len(kept)} bytes are kept".lstrip("; ")
            kept = kept[:cut]
        original, encoding = original_text(kept)
        if self._pseudonyms is not None or (self.stream, line.fleet) in self.paused:
            original, encoding = "", "raw"
        position = Position(self._epoch, self.stream, record.partition, record.offset, line.index)
        return Reject(
            epoch=self._epoch,
            stream=self.stream,
            partition=record.partition,
            offset=record.offset,
            index=line.index,
            fleet=line.fleet,
            received_at=bounded_one(line.received_at, record.timestamp, keep_days=keep_days),
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
            device=device,
            origin=line.origin,
            replayed_under=_text_header(record, REPLAYED_UNDER) if line.origin else "",
        )

    def whole_refused(self, record: Record, crash: str = "") -> Transformed:
        """The record as a single refused line, because it was not read, or what comes of it would not fit a
        Kafka record. `crash`: or why else it is beyond all steps."""
        fault = record.refused or Fault(
            Code.TOO_LARGE,
            found=f"{len(record.value)} bytes",
            allowed=f"at most {self.max_record_bytes} bytes after processing",
            detail="the record is too large to process",
        )
        if crash:
            fault = Fault(Code.CRASH, detail=crash)
        line = RefusedLine(0, fault, record.value, "", record.timestamp)
        return Transformed(EMPTY[self.stream], [line], 1)

    def fits(self, outputs: Outputs) -> bool:
        """Whether the broker will take the enriched record: its limit is on the compressed bytes."""
        rejects = sum(len(value) for _, value in outputs.rejects)
        if len(outputs.enriched) + rejects < self.max_record_bytes * 3 // 4:
            return True
        pack = zstandard.ZstdCompressor(level=1).compress
        packed = len(pack(outputs.enriched)) + (len(pack(outputs.headers[-1][1])) if rejects else 0)
        return packed < self.max_record_bytes * 3 // 4


KEY_REUSED = Fault(
    Code.KEY_REUSED,
    allowed="the same content, or a new key",
    detail="another content came before under this Idempotency-Key or event_id",
)


class _Envelope(msgspec.Struct):
    fleet: str = ""
    received_at: int | float | str | None = None
    origin: str = ""


_SENDER = msgspec.json.Decoder(_Envelope)


def unread(index: int, fault: Fault, line: bytes, record: Record) -> RefusedLine:
    """A line that no step got to the end of; of its envelope is kept what can be read."""
    said, of_record = _Envelope(), _received_at(dict(record.headers).get("received_at"), record.timestamp)
    received_at = record.timestamp if isinstance(of_record, Fault) else of_record
    try:
        sender = {name: msgspec.Raw(bytes(value)) for name, value in json_text.fields(line).items()}
        sender.pop("event", None)
        said = _SENDER.decode(_ENCODE(sender))
        if said.received_at is not None:
            received_at = parse_moment(said.received_at)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    fleet = said.fleet or _text_header(record, "fleet")
    return RefusedLine(index, fault, line, fleet, received_at, _text_header(record, "device"), said.origin)


def _text_header(record: Record, name: str) -> str:
    return header_text(dict(record.headers).get(name) or b"")


def _received_at(header: bytes | None, timestamp: int) -> int | Fault:
    """µs: the header's, as an envelope would say it, or the record's own where there is none."""
    if not header:
        return timestamp
    text = header_text(header)
    try:
        return parse_moment(text)
    except ValueError:
        return not_a_time(text[:80])


def _written(record: Record, columns: Mapping[str, pa.Array[Any]]) -> Times:
    return np.full(len(columns["index"]), record.timestamp, np.int64)


def with_index(batch: pa.RecordBatch, index: int) -> pa.RecordBatch:
    return with_indexes(batch, pa.array([index] * batch.num_rows, pa.uint32()))


def with_indexes(batch: pa.RecordBatch, indexes: pa.Array[Any]) -> pa.RecordBatch:
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
