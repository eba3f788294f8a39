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

from tidegate.contracts import keys
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.formats import micros_by_magnitude, parse_time
from tidegate.contracts.frames import REPLAYED_UNDER, EnrichedHeaders, Headers, write_arrow, write_headers
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Code, Fault, Reject, original_text
from tidegate.contracts.topics import Stream
from tidegate.processing.judge import Judge
from tidegate.processing.keys import Change, Verdict, Window
from tidegate.steps.decode import Decoded, RefusedLine, decode_frame
from tidegate.steps.enrich import enrich
from tidegate.steps.failures import failure_records
from tidegate.steps.received import Times, settle, settle_one

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


class _Steps(NamedTuple):
    """What the steps made of a record's lines."""

    batch: pa.RecordBatch
    refused: list[RefusedLine]
    lines: int
    duplicates: int = 0
    claims: Sequence[bytes] = ()  # keys of the events that were taken, each with its digest


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
        keep_days: int = 0,
        keep_rejects_days: int = 0,
    ) -> None:
        self.stream: Stream = stream
        self.lookups = lookups
        self._epoch = epoch
        self._version = transform_version
        self._geohash_precision = geohash_precision
        self._clock_skew_seconds = clock_skew_seconds
        self._max_record_bytes = max_record_bytes
        self._keep_days, self._keep_rejects_days = keep_days, keep_rejects_days
        self.paused: Container[tuple[Stream, str]] = ()  # whose refused lines stay in the raw topic alone
        self.settled = 0  # received times that could not be, so far

    def __call__(
        self, record: Record, fleets: Container[str] | None, window: Window | None = None
    ) -> Outputs:
        """Everything that comes of `record`; `fleets` are the known ones, None takes any.

        `window` knows the keys of the records before it, and takes this one's; None looks at no keys.
        """
        if len(record.value) > EXPANSION * self._max_record_bytes:
            return self._outputs(record, self._whole_refused(record), CUT_BYTES)
        judge = None if window is None else Judge(window, record.offset, record.headers)
        return self._fitting(
            record, judge, self._judged(record, judge, lambda thin: self._attempts(thin, fleets, judge))
        )

    def many(
        self, records: Sequence[Record], fleets: Container[str] | None, window: Window | None = None
    ) -> list[Outputs]:
        """The same for each of several small records, in order.

        The steps cost a frame some 0.4 ms before its first event; here records pay it together. Where a
        line is refused, was here before or a step fails, each goes by itself.
        """
        if len(records) > 1 and not any(_speaks_for_lines(record) for record in records):
            judges = _judges(window, records)
            if not any(judge is not None and judge.repeats for judge in judges):
                together = self._together(records, fleets)
                if together is not None:
                    return [
                        _claiming(self._outputs(record, found), judge, found)
                        for record, found, judge in zip(records, together, judges, strict=True)
                    ]
        return [self(record, fleets, window) for record in records]

    def _together(self, records: Sequence[Record], fleets: Container[str] | None) -> list[_Steps] | None:
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
            if decoded.refused or decoded.keys or pc.min(decoded.columns["received_at"]).as_py() <= NOT_SAID:
                return None
            numbers = decoded.columns["index"].to_numpy()
            of_line = np.repeat([record.timestamp for record in records], lines)
            batch = self._enrich(decoded.columns, of_line[numbers])
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
        window: Window | None = None,
        *,
        guilty: Container[int],
        at_line: Callable[[int], None],
    ) -> Outputs:
        """The same for a record that kills the process: line by line, without the `guilty` ones.

        `at_line` is told each line before it is looked at, so that the next process knows what killed this.
        """
        judge = None if window is None else Judge(window, record.offset, record.headers)
        return self._fitting(
            record,
            judge,
            self._judged(
                record, judge, lambda thin: self._line_by_line(thin, fleets, judge, guilty, at_line)
            ),
        )

    def _judged(self, record: Record, judge: Judge | None, steps: Callable[[Record], _Steps]) -> _Steps:
        """What the steps make of a record without the pieces that were here before, and those beside it."""
        if judge is None or not judge.repeats:
            return steps(record)
        lines = _lines(record)
        left = dict(enumerate(lines))
        refused: list[RefusedLine] = []
        duplicates = 0
        for piece, verdict in judge.repeats:
            for number in range(piece.first, min(piece.first + piece.lines, len(lines))):
                line = left.pop(number)
                if verdict is Verdict.DUPLICATE:
                    duplicates += 1
                else:
                    refused.append(_unread(number, _REUSED, line, record))
        found = _Steps(_EMPTY[self.stream], [], 0)
        numbers = list(left)
        if numbers:
            found = steps(record._replace(value=b"\n".join(left.values())))
        if found.batch.num_rows:
            own = np.array(numbers, np.uint32)[found.batch.column("index").to_numpy()]
            found = found._replace(batch=_with_indexes(found.batch, pa.array(own, pa.uint32())))
        refused += [replace(line, index=numbers[line.index]) for line in found.refused]
        return found._replace(
            refused=sorted(refused, key=lambda line: line.index),
            lines=len(lines),
            duplicates=found.duplicates + duplicates,
        )

    def _fitting(self, record: Record, judge: Judge | None, found: _Steps) -> Outputs:
        originals = sum(len(line.line) for line in found.refused)
        cut = CUT_BYTES if originals > self._max_record_bytes // 3 else None
        outputs = self._outputs(record, found, cut)
        if self._fits(outputs):
            return _claiming(outputs, judge, found)
        return self._outputs(record, self._whole_refused(record), CUT_BYTES)

    # --- the steps, and what happens when one of them fails

    def _attempts(self, record: Record, fleets: Container[str] | None, judge: Judge | None) -> _Steps:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._steps(record.value, record, fleets, judge)
            except Exception:
                log.exception(
                    "%s partition %d offset %d: a step failed, attempt %d of %d",
                    self.stream,
                    record.partition,
                    record.offset,
                    attempt,
                    ATTEMPTS,
                )
        return self._line_by_line(record, fleets, judge)

    def _steps(
        self, value: bytes, record: Record, fleets: Container[str] | None, judge: Judge | None
    ) -> _Steps:
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
            return _Steps(_EMPTY[self.stream], decoded.refused, decoded.lines)
        if decoded.keys and judge is not None:
            return self._without_repeats(decoded, record, judge)
        batch = self._enrich(decoded.columns, _written(record, decoded.columns))
        return _Steps(batch, decoded.refused, decoded.lines)

    def _without_repeats(self, decoded: Decoded, record: Record, judge: Judge) -> _Steps:
        """The steps for lines some of which have a key of their own."""
        judged = judge.events(decoded.keys)
        columns, gone = decoded.columns, [*judged.duplicates, *judged.reused]
        if gone:
            kept = pa.array(~np.isin(columns["index"].to_numpy(), gone))
            columns = {name: column.filter(kept) for name, column in columns.items()}
        batch = _EMPTY[self.stream]
        if len(columns["index"]):
            try:
                batch = self._enrich(columns, _written(record, columns))
            except Exception:
                judge.take_back(judged)
                raise
        reused = [_unread(number, _REUSED, decoded.keys[number].line, record) for number in judged.reused]
        refused = sorted([*decoded.refused, *reused], key=lambda line: line.index)
        return _Steps(batch, refused, decoded.lines, len(judged.duplicates), judged.claims)

    def _enrich(self, columns: Mapping[str, pa.Array[Any]], written: Times) -> pa.RecordBatch:
        """`written`: the time of each line's record, µs."""
        received, count = settle(columns["received_at"], written, keep_days=self._keep_days)
        self.settled += count
        return enrich(
            self.stream,
            {**columns, "received_at": received},
            self.lookups,
            geohash_precision=self._geohash_precision,
            clock_skew_seconds=self._clock_skew_seconds,
        )

    def _line_by_line(
        self,
        record: Record,
        fleets: Container[str] | None,
        judge: Judge | None,
        guilty: Container[int] = (),
        at_line: Callable[[int], None] = lambda _: None,
    ) -> _Steps:
        """Set the lines aside on which a step fails; take the others."""
        lines = _lines(record)
        batches: list[pa.RecordBatch] = []
        claims: list[bytes] = []
        duplicates = 0
        refused: list[RefusedLine] = []
        for index, line in enumerate(lines):
            if index in guilty:
                fault = Fault(Code.CRASH, detail="the process died at this line")
                refused.append(_unread(index, fault, line, record))
                continue
            at_line(index)
            try:
                found = self._steps(line, record, fleets, judge)
            except Exception as error:
                fault = Fault(Code.CRASH, detail=f"{type(error).__name__}: {error}"[:500])
                refused.append(_unread(index, fault, line, record))
                continue
            refused += [replace(item, index=index) for item in found.refused]
            claims += found.claims
            duplicates += found.duplicates
            if found.batch.num_rows:
                batches.append(_with_index(found.batch, index))
        batch = _EMPTY[self.stream]
        if batches:
            batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        return _Steps(batch, refused, len(lines), duplicates, claims)

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
        fault, kept, detail = line.fault, line.line, line.fault.detail
        if cut is not None and len(kept) > cut:
            detail = f"{detail}; only the first {cut} of {len(kept)} bytes are kept".lstrip("; ")
            kept = kept[:cut]
        original, encoding = original_text(kept)
        if (self.stream, line.fleet) in self.paused:
            original, encoding = "", "raw"
        position = Position(self._epoch, self.stream, record.partition, record.offset, line.index)
        return Reject(
            epoch=self._epoch,
            stream=self.stream,
            partition=record.partition,
            offset=record.offset,
            index=line.index,
            fleet=line.fleet,
            received_at=settle_one(line.received_at, record.timestamp, keep_days=self._keep_rejects_days),
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


def _speaks_for_lines(record: Record) -> bool:
    """Whether the record's headers hold for its lines, which then cannot be taken with those of others."""
    return any(name != keys.HEADER for name, _ in record.headers)


def _judges(window: Window | None, records: Sequence[Record]) -> list[Judge | None]:
    """A judge for each of several records: what is new in one is no more in those behind it."""
    if window is None:
        return [None] * len(records)
    fresh: dict[bytes, bytes] = {}
    return [Judge(window, record.offset, record.headers, fresh) for record in records]


def _claiming(outputs: Outputs, judge: Judge | None, found: _Steps) -> Outputs:
    if judge is None:
        return outputs
    claims = judge.claim(found.claims)
    return outputs._replace(claims=claims) if claims else outputs


def _lines(record: Record) -> list[bytes]:
    """The lines of a record that count, as `decode_frame` counts them."""
    return [line for line in record.value.split(b"\n") if line.strip()] or [record.value]


_REUSED = Fault(
    Code.KEY_REUSED,
    allowed="the same content, or a new key",
    detail="another content came before under this Idempotency-Key or event_id",
)


class _Envelope(msgspec.Struct):
    fleet: str = ""
    received_at: int | None = None
    origin: str = ""


_SENDER = msgspec.json.Decoder(_Envelope)


def _unread(index: int, fault: Fault, line: bytes, record: Record) -> RefusedLine:
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


def _written(record: Record, columns: Mapping[str, pa.Array[Any]]) -> Times:
    return np.full(len(columns["index"]), record.timestamp, np.int64)


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
