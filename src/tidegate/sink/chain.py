"""The order of one partition's frames within one epoch.

Each frame names its source offset and the one before it, so the frames that count form a chain. A worker
that died and came back writes some of it again: those are repeats. A frame that does not follow is a gap
for as long as what belongs between does not come; it is never passed over silently.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    NEXT = "next"  # continues the chain: take it
    REPEAT = "repeat"  # was taken before: drop it
    GAP = "gap"  # does not follow: leave it, and stop until what is missing comes or is given up
    REREAD = "reread"  # a gap, but records left behind may follow now: read again from `left_from`


class Link(NamedTuple):
    """Where a frame stands: its source offset, the source offset before it, its own enriched offset."""

    source: int
    previous: int
    enriched: int


class Gap(NamedTuple):
    """The frame at source offset `next` came when `after` was the last in order."""

    after: int  # -1: nothing of this epoch was taken before
    next: int
    previous: int  # what the frame at `next` says stands before it


class Chain:
    """Judges frames in the order of the enriched log. `watermark` is the last source offset in order,
    None before the first frame of the epoch.

    Judging depends on the log from a batch's first frame on and nothing else, so that a take-over which
    starts there with the batch's `previous` as watermark comes to the same frames.
    """

    def __init__(self, watermark: int | None) -> None:
        self.watermark = watermark
        self.gap: Gap | None = None
        self.left_from: int | None = None  # enriched offset of the first record left behind
        self._left_to = -1  # highest source offset left behind
        self._left_at: int | None = None  # watermark when the first was left
        self._bridge: tuple[int, int] | None = None  # (next, previous) of an accepted gap

    def judge(self, link: Link, *, first_in_log: bool = False) -> Verdict:
        """`first_in_log`: the record is the oldest that the enriched topic still has.

        The first frame of an epoch may follow any offset there: what came before was expired, from the
        raw topic or from this one, before a sink was ever set up. Anywhere else it must be the first.
        """
        if self.watermark is not None and link.source <= self.watermark:
            return Verdict.REPEAT
        if self._follows(link, first_in_log):
            self.watermark = link.source
            self.gap = None
            if link.source >= self._left_to:
                self._forget_left()
            return Verdict.NEXT
        if self.left_from is not None and self.watermark != self._left_at:
            return Verdict.REREAD
        if self.left_from is None:
            self.left_from, self._left_at = link.enriched, self.watermark
        self._left_to = max(self._left_to, link.source)
        if self.gap is None:
            after = -1 if self.watermark is None else self.watermark
            self.gap = Gap(after, link.source, link.previous)
        return Verdict.GAP

    def reread(self) -> int:
        """The enriched offset to read again from, after a REREAD: records left behind may follow now."""
        assert self.left_from is not None
        start = self.left_from
        self._forget_left()
        self.gap = None
        return start

    def accept(self) -> int:
        """Let the chain go on behind the gap; the enriched offset to read again from."""
        assert self.gap is not None
        self._bridge = (self.gap.next, self.gap.previous)
        return self.reread()

    def _follows(self, link: Link, first_in_log: bool) -> bool:
        if (link.source, link.previous) == self._bridge:
            return True
        if self.watermark is None:
            return link.previous == -1 or first_in_log
        return link.previous == self.watermark

    def _forget_left(self) -> None:
        self.left_from, self._left_to, self._left_at = None, -1, None
