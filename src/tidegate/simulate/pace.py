"""How many events are due."""

from __future__ import annotations

SLIP = 1.0  # seconds that the sender may fall behind before the rate slips


class Pace:
    """`rate` events per second from `begin` on (monotonic seconds); 0: a chunk whenever asked."""

    CHUNK = 1000

    def __init__(self, rate: float, begin: float, limit: int | None = None) -> None:
        self._rate = rate
        self._begin = begin
        self._limit = limit
        self.given = 0
        self.slipped = 0.0  # seconds given up because the receiver was slower

    def due(self, now: float) -> int:
        """Events to take now. What lies more than SLIP back is given up, not sent in a burst."""
        if self._rate:
            behind = (now - self._begin) - self.given / self._rate
            if behind > SLIP:
                self._begin += behind - SLIP
                self.slipped += behind - SLIP
            count = int((now - self._begin) * self._rate) - self.given
        else:
            count = self.CHUNK
        if self._limit is not None:
            count = min(count, self._limit - self.given)
        count = max(0, min(count, 10 * self.CHUNK))
        self.given += count
        return count

    @property
    def finished(self) -> bool:
        return self._limit is not None and self.given >= self._limit
