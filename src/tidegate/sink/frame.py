"""One enriched frame as the sink holds it: its headers read, its Arrow bytes untouched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from tidegate.contracts.formats import MICROS_LIMIT
from tidegate.contracts.frames import BadFrame, EnrichedHeaders, Headers, read_headers, read_rejects
from tidegate.contracts.trace import TraceContext
from tidegate.sink.arrow_check import check_arrow

MOST_HEADERS = 64  # the worker writes twelve at most


class Frame(NamedTuple):
    """An enriched record, as the sink holds it until its batch is built."""

    head: EnrichedHeaders
    offset: int  # in the enriched topic
    value: bytes  # Arrow IPC stream of head.accepted rows
    rejects: bytes  # NDJSON of head.rejected documents
    arrived: float  # monotonic seconds
    trace: TraceContext | None = None  # that it came by, where traces are on

    @property
    def size(self) -> int:
        """Bytes that it holds in memory."""
        return len(self.value) + len(self.rejects)


def read_frame(
    headers: Iterable[tuple[str, bytes]] | None, value: bytes | None, *, offset: int, arrived: float
) -> Frame:
    """A Kafka record as a frame. Raises BadFrame for a record that no worker wrote."""
    listed = list(headers or ())
    if len(listed) > MOST_HEADERS:
        raise BadFrame(f"it has {len(listed)} headers")
    head = read_headers(listed)
    if head.accepted:
        check_arrow(value or b"", head)
    return Frame(head, offset, value or b"", _checked_rejects(listed, head), arrived)


def _checked_rejects(headers: Headers, head: EnrichedHeaders) -> bytes:
    """The documents as they came, once each was read and is of this frame."""
    if not head.rejected:
        return b""
    try:
        found = read_rejects(headers)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"header rejects: {str(error)[:200]}") from error
    if len(found) != head.rejected:
        raise BadFrame(f"it carries {len(found)} rejects, its header says {head.rejected}")
    position = (head.epoch, head.stream, head.source_partition, head.source_offset)
    if any((one.epoch, one.stream, one.partition, one.offset) != position for one in found):
        raise BadFrame("header rejects: one is of another frame")
    if any(not (0 <= one.index < head.lines and 0 <= one.received_at <= MICROS_LIMIT) for one in found):
        raise BadFrame("header rejects: an index or a received time is out of range")
    return dict(headers)["rejects"]
