"""One enriched frame as the sink holds it: its headers read, its Arrow bytes untouched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tidegate.contracts.frames import EnrichedHeaders, read_headers


class Frame(NamedTuple):
    head: EnrichedHeaders
    offset: int  # in the enriched topic
    value: bytes  # Arrow IPC stream of head.accepted rows
    rejects: bytes  # NDJSON of head.rejected documents
    arrived: float  # monotonic seconds

    @property
    def size(self) -> int:
        """Bytes that it holds in memory."""
        return len(self.value) + len(self.rejects)


def read_frame(
    headers: Iterable[tuple[str, bytes]] | None, value: bytes | None, *, offset: int, arrived: float
) -> Frame:
    """A Kafka record as a frame. Raises BadFrame for a record that no worker wrote."""
    listed = list(headers or ())
    head = read_headers(listed)
    return Frame(head, offset, value or b"", dict(listed).get("rejects") or b"", arrived)
