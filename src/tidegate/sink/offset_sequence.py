"""The sequence of source offsets of one partition within one epoch.

Each frame names its source offset and the one before it, so the frames that count form a sequence. A worker
that died and came back writes some of it again: those are repeats. A frame that does not follow is a gap
for as long as what belongs between does not come; it is never passed over silently.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tidegate.contracts.ledger import Gap

MOST_LEFT = 100_000  # records left behind that are remembered; a gap that long is an operator's affair


class Order(Enum):
    NEXT = "next"  # continues the sequence: take it
    REPEAT = "repeat"  # was taken before: drop it
    GAP = "gap"  # does not follow: leave it, and stop until what is missing comes or is given up


class Link(NamedTuple):
    """Where a frame stands: its source offset, the source offset before it, its own enriched offset."""

    source: int
    previous: int
    enriched: int


class OffsetSequence:
    """Checks frames in the order of the enriched log. `watermark` is the last source offset in order,
    None before the first frame of the epoch.

    A batch must be cut where reading seeks (`rejoin`, `accept`). Then the order within a batch depends on the
    log from its first frame on and nothing else, and a take-over that starts there, with the batch's
    `previous` as watermark, comes to the same frames.
    """

    def __init__(self, watermark: int | None) -> None:
        self.watermark = watermark
        self.gap: Gap | None = None
        self._left: dict[int, int] = {}  # previous offset of a record left behind -> its enriched offset
        self._left_to = -1  # highest source offset left behind
        self._bridge: tuple[int, int] | None = None  # (next, previous) of an accepted gap

    def check(self, link: Link, *, raw_low: int = 0) -> Order:
        """`raw_low`: the oldest offset that the raw topic still has.

        An epoch begins with the topic's first record, or with one before which the raw topic has no more:
        what was expired before a worker was ever set up cannot come.
        """
        if self.watermark is not None and link.source <= self.watermark:
            return Order.REPEAT
        if self._follows(link, raw_low):
            self.watermark = link.source
            self.gap = None
            if link.source >= self._left_to:
                self._left.clear()
            return Order.NEXT
        if len(self._left) < MOST_LEFT:
            self._left.setdefault(link.previous, link.enriched)
            self._left_to = max(self._left_to, link.source)
        if self.gap is None:
            after = -1 if self.watermark is None else self.watermark
            self.gap = Gap(after, link.source, link.previous)
        return Order.GAP

    def rejoin(self) -> int | None:
        """After NEXT: the enriched offset of a record left behind that follows now, to read on from."""
        return self._left.pop(self.watermark, None) if self._left and self.watermark is not None else None

    def accept(self) -> int:
        """Let the sequence go on behind the gap; the enriched offset to read on from."""
        assert self.gap is not None
        self._bridge = (self.gap.next, self.gap.previous)
        self.gap = None
        return self._left.pop(self._bridge[1])

    @property
    def left_from(self) -> int | None:
        """The enriched offset of the first record left behind; None for none."""
        return min(self._left.values(), default=None)

    def _follows(self, link: Link, raw_low: int) -> bool:
        if (link.source, link.previous) == self._bridge:
            return True
        if self.watermark is None:
            return link.previous < raw_low
        return link.previous == self.watermark
