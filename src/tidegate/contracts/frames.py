"""Frames: Kafka records that carry many events.

Raw: NDJSON, a line an envelope or, where the record's headers name the fleet, a bare event.
Enriched: one Arrow IPC stream with the columns of `columns.SCHEMAS`; the coordinates stand in headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_type_hints

import msgspec
import pyarrow as pa

from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.rejects import Reject
from tidegate.contracts.topics import STREAMS, Stream

Headers = list[tuple[str, bytes]]
_REJECTS = msgspec.json.Decoder(Reject)
_ENCODER = msgspec.json.Encoder()


class BadFrame(ValueError):
    """A record of an enriched topic that Tidegate did not write."""


class EnrichedHeaders(NamedTuple):
    """The coordinates and the arithmetic of one enriched frame: lines = accepted + rejected + duplicates."""

    epoch: str
    stream: Stream
    source_partition: int
    source_offset: int
    previous_offset: int  # of the source record before it, -1 for the first of a topic
    lines: int
    accepted: int
    rejected: int
    duplicates: int
    transform_version: str


_TYPES = get_type_hints(EnrichedHeaders)
LONGEST_HEADER = 1024  # bytes of a header, but for the rejects
MOST_LINES = 1 << 31  # of a record; a batch adds up those of its frames
_EPOCH = re.compile("[0-9A-HJKMNP-TV-Z]{26}")  # a ULID


BOM = b"\xef\xbb\xbf"
"""A byte order mark: it may stand in front of a body and of a record, and means nothing."""


def lines_of(value: bytes) -> list[bytes]:
    """The lines of a raw record that count, in the order of their indexes: those that are not blank. A record
    without any has one, so that it has an outcome."""
    value = value.removeprefix(BOM)
    return [line for line in value.split(b"\n") if line.strip()] or [value]


def record_of(lines: Iterable[bytes]) -> bytes:
    """The raw record of these lines: the inverse of lines_of, also where the first begins with a mark of its
    own, which is none of the record's."""
    value = b"\n".join(lines)
    return BOM + value if value.startswith(BOM) else value


REPLAYED_UNDER = "replayed_under"
"""Header of a raw record that `tidegate replay` wrote: the transform_version by which its lines pass."""


def header_text(value: bytes) -> str:
    """A header of a request or a record as text: UTF-8, or Latin-1 where it is not UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def envelope_prefix(fleet: str, received_at: int, device: str | None = None, *, origin: str = "") -> bytes:
    """What stands before an event in a raw frame; the event's bytes and ``}`` follow. Time in µs.

    `origin` is the id under which a line was refused first that now comes again.
    """
    text = b'{"fleet":' + _ENCODER.encode(fleet) + b',"received_at":%d' % received_at
    if origin:
        text += b',"origin":' + _ENCODER.encode(origin)
    if device is not None:
        text += b',"device":' + _ENCODER.encode(device)
    return text + b',"event":'


def envelope_line(prefix: bytes, event: bytes) -> bytes:
    """One line of a raw frame, without its newline. `event` is one JSON value, possibly pretty-printed."""
    return prefix + without_breaks(event) + b"}"


def without_breaks(event: bytes) -> bytes:
    """The event on one line. A raw line break can only stand between JSON tokens (inside a string it is
    refused as not JSON), so a blank in its place changes nothing."""
    if b"\n" in event or b"\r" in event:
        return event.replace(b"\n", b" ").replace(b"\r", b" ")
    return event


def write_headers(head: EnrichedHeaders, rejects: Iterable[Reject] = ()) -> Headers:
    """The Kafka headers of an enriched frame."""
    headers: Headers = [(name, str(value).encode("ascii")) for name, value in head._asdict().items()]
    lines = [_ENCODER.encode(reject) for reject in rejects]
    if lines:
        headers.append(("rejects", b"\n".join(lines)))
    return headers


def read_headers(headers: Iterable[tuple[str, bytes]]) -> EnrichedHeaders:
    """The inverse of write_headers. Raises BadFrame naming the header that is missing or wrong."""
    found: Mapping[str, bytes] = dict(headers)
    values: dict[str, Any] = {}
    for name, type_ in _TYPES.items():
        raw = found.get(name)
        if raw is None:
            raise BadFrame(f"header {name} is missing")
        if len(raw) > LONGEST_HEADER:
            raise BadFrame(f"header {name} has {len(raw)} bytes")
        text = raw.decode("ascii", "replace")
        if type_ is int:
            try:
                values[name] = int(text)
            except ValueError:
                raise BadFrame(f"header {name}: {text!r} is not a whole number") from None
            if not -1 <= values[name] < 1 << 63 or (values[name] < 0 and name != "previous_offset"):
                raise BadFrame(f"header {name}: {text} is out of range")
        else:
            values[name] = text
    if values["stream"] not in STREAMS:
        raise BadFrame(f"header stream: {values['stream']!r} is not a stream")
    if not _EPOCH.fullmatch(values["epoch"]):
        raise BadFrame(f"header epoch: {values['epoch'][:64]!r} is no ULID")
    head = EnrichedHeaders(**values)
    if head.lines > MOST_LINES:
        raise BadFrame(f"header lines: {head.lines} is out of range")
    if not head.previous_offset < head.source_offset:
        raise BadFrame(f"previous_offset {head.previous_offset} is not before {head.source_offset}")
    if head.lines != head.accepted + head.rejected + head.duplicates:
        raise BadFrame(f"lines {head.lines} is not accepted + rejected + duplicates")
    return head


def read_rejects(headers: Iterable[tuple[str, bytes]]) -> list[Reject]:
    """The rejects that travel with an enriched frame."""
    raw = dict(headers).get("rejects")
    return _REJECTS.decode_lines(raw) if raw else []


_HEADS = [(schema, schema.serialize().to_pybytes()) for schema in SCHEMAS.values()]
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def write_arrow(batch: pa.RecordBatch) -> bytes:
    """A record batch as one uncompressed Arrow IPC stream (the Kafka batch around it is compressed)."""
    schema: pa.Schema = batch.schema
    head = next((head for known, head in _HEADS if known.equals(schema, check_metadata=True)), None)
    return b"".join((schema.serialize() if head is None else head, batch.serialize(), _END_OF_STREAM))


def read_arrow(value: bytes) -> pa.RecordBatch:
    """The inverse of write_arrow. Raises BadFrame if the bytes are no Arrow stream of one batch."""
    try:
        with pa.ipc.open_stream(value) as reader:
            return reader.read_next_batch()
    except (pa.ArrowInvalid, StopIteration, OSError) as error:
        raise BadFrame(f"not an Arrow IPC stream: {error}") from error
