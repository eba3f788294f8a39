"""Frames: Kafka records that carry many events.

Raw: NDJSON, a line an envelope or, where the record's headers name the fleet, a bare event.
Enriched: one Arrow IPC stream with the columns of `columns.SCHEMAS`; the coordinates stand in headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, get_type_hints

import msgspec
import pyarrow as pa

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


REPLAYED_UNDER = "replayed_under"
"""Header of a raw record that `tidegate replay` wrote: the transform_version by which its lines pass."""


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
    """One line of a raw frame, without its newline. `event` is one JSON value, possibly pretty-printed.

    A raw line break can only stand between JSON tokens (inside a string it is refused as not JSON),
    so a blank in its place changes nothing.
    """
    if b"\n" in event or b"\r" in event:
        event = event.replace(b"\n", b" ").replace(b"\r", b" ")
    return prefix + event + b"}"


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
    values: dict[str, str | int] = {}
    for name, type_ in _TYPES.items():
        raw = found.get(name)
        if raw is None:
            raise BadFrame(f"header {name} is missing")
        text = raw.decode("ascii", "replace")
        if type_ is int:
            try:
                values[name] = int(text)
            except ValueError:
                raise BadFrame(f"header {name}: {text!r} is not a whole number") from None
        else:
            values[name] = text
    if values["stream"] not in STREAMS:
        raise BadFrame(f"header stream: {values['stream']!r} is not a stream")
    head = EnrichedHeaders(**values)  # type: ignore[arg-type]
    if head.lines != head.accepted + head.rejected + head.duplicates:
        raise BadFrame(f"lines {head.lines} is not accepted + rejected + duplicates")
    return head


def read_rejects(headers: Iterable[tuple[str, bytes]]) -> list[Reject]:
    """The rejects that travel with an enriched frame."""
    raw = dict(headers).get("rejects")
    return _REJECTS.decode_lines(raw) if raw else []


def write_arrow(batch: pa.RecordBatch) -> bytes:
    """A record batch as one uncompressed Arrow IPC stream (the Kafka batch around it is compressed)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def read_arrow(value: bytes) -> pa.RecordBatch:
    """The inverse of write_arrow. Raises BadFrame if the bytes are no Arrow stream of one batch."""
    try:
        with pa.ipc.open_stream(value) as reader:
            return reader.read_next_batch()
    except (pa.ArrowInvalid, StopIteration, OSError) as error:
        raise BadFrame(f"not an Arrow IPC stream: {error}") from error
