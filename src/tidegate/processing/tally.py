"""tally: the counts of what a lane has sent on and not yet committed.

Counting many frames at once is far cheaper than each by itself, so frames leave only their few columns
here until a commit is due.
"""

from __future__ import annotations

from collections import deque

import msgspec
import pyarrow as pa

from tidegate.contracts.topics import Stream
from tidegate.steps import learn
from tidegate.steps.aggregate import Partial, aggregate, merge_all

_ALWAYS = ["received_at", "fleet", "stage", "outcome"]
COUNTED: dict[Stream, list[str]] = {
    "connection_logs": [*_ALWAYS, "network_name"],
    "client_events": [*_ALWAYS, "site", "ssid", "aaa_latency", "dhcp_latency", "dns_latency", *learn.COLUMNS],
    "device_logs": [*_ALWAYS, "device_location"],
}
"""The columns that `aggregate` and `learn` read."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The counts of one raw partition's frames from `start` up to a commit, or those of a few sites.

    `start` is a committed position, so blocks of one partition never overlap in part: two with the same
    start are two tries at the same frames, and the later one (of the higher group generation) holds.
    """

    stream: Stream
    partition: int  # of the raw topic
    start: int
    generation: int
    partials: list[Partial]


class Tally:
    """The counts of one lane."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream = stream
        self._waiting: deque[tuple[int, pa.RecordBatch]] = deque()
        self._counted: list[Partial] = []
        self.newest: pa.RecordBatch | None = None  # what `before` counted last

    def add(self, offset: int, batch: pa.RecordBatch) -> None:
        """A frame was sent on."""
        if batch.num_rows:
            self._waiting.append((offset, batch.select(COUNTED[self.stream])))

    def before(self, position: int) -> list[Partial]:
        """The counts of all frames below `position` since `settle`."""
        batches = []
        while self._waiting and self._waiting[0][0] < position:
            batches.append(self._waiting.popleft()[1])
        self.newest = None
        if batches:
            self.newest = rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
            self._counted = merge_all([*self._counted, *aggregate(self.stream, rows)])
        return self._counted

    def settle(self) -> None:
        """What `before` gave last is committed."""
        self._counted = []
