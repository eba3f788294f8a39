"""Limits: a token's rate, and the bytes that the gateway holds at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from tidegate.gateway.problems import Header, Problem
from tidegate.tokens import Token


class Bucket:
    """A token bucket: `rate` units a second, at most `burst` saved up.

    A request larger than the burst is let through when the bucket is full and leaves a debt, so that no
    batch is refused for ever.
    """

    __slots__ = ("burst", "level", "rate", "updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.updated = now

    def wait(self, units: float, now: float) -> float:
        """Seconds until `units` may pass; 0 if they may now. Takes nothing."""
        self.level = min(self.burst, self.level + (now - self.updated) * self.rate)
        self.updated = now
        return max(0.0, (min(units, self.burst) - self.level) / self.rate)

    def take(self, units: float) -> None:
        self.level -= units


class Rates:
    """The buckets of one token: events and bytes. A rate of 0 is no limit."""

    __slots__ = ("buckets",)

    def __init__(self, events: float, bytes_: float, burst_seconds: float, now: float) -> None:
        self.buckets = {
            name: Bucket(rate, max(1.0, rate * burst_seconds), now)
            for name, rate in (("events", events), ("bytes", bytes_))
            if rate > 0
        }

    def over(self, now: float) -> Problem | None:
        """The refusal of any request at all, for a token that is over its rate. Takes nothing."""
        return self._refuse({"events": 1, "bytes": 1}, now)

    def admit(self, events: int, bytes_: int, now: float) -> Problem | None:
        """Take the request's share of both buckets, or of neither and say when to come back."""
        units = {"events": events, "bytes": bytes_}
        refusal = self._refuse(units, now)
        if refusal is None:
            for name, bucket in self.buckets.items():
                bucket.take(units[name])
        return refusal

    def _refuse(self, units: Mapping[str, float], now: float) -> Problem | None:
        waits = {name: bucket.wait(units[name], now) for name, bucket in self.buckets.items()}
        name = max(waits, key=lambda key: waits[key])
        if waits[name] <= 0:
            return None
        seconds = max(1, math.ceil(waits[name]))
        rate = self.buckets[name].rate
        return Problem(
            429,
            "rate_limited",
            f"more than {rate:g} {name} a second",
            allowed=f"{rate:g} {name} a second",
            headers=((b"retry-after", b"%d" % seconds), *self.headers()),
        )

    def headers(self) -> tuple[Header, ...]:
        """RateLimit headers: what is left (r) and the seconds until the bucket is full again (t)."""
        policies, lefts = [], []
        for name, bucket in self.buckets.items():
            window = max(1, math.ceil(bucket.burst / bucket.rate))
            left = max(0, int(bucket.level))
            full = math.ceil((bucket.burst - bucket.level) / bucket.rate)
            policies.append(f'"{name}";q={int(bucket.burst)};w={window}')
            lefts.append(f'"{name}";r={left};t={full}')
        return (
            (b"ratelimit-policy", ", ".join(policies).encode()),
            (b"ratelimit", ", ".join(lefts).encode()),
        )


class RateLimits:
    """The buckets of every limited token, made on its first request and anew when its rates change."""

    def __init__(
        self,
        *,
        events_per_second: float,
        bytes_per_second: float,
        burst_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events_per_second
        self._bytes = bytes_per_second
        self._burst_seconds = burst_seconds
        self._clock = clock
        self._rates: dict[str, tuple[float, float, Rates]] = {}

    def of(self, token: Token) -> Rates | None:
        """The token's buckets, or None if nothing limits it. Its own rates go before the defaults."""
        events = token.rate_events_per_second or self._events
        bytes_ = token.rate_bytes_per_second or self._bytes
        if events <= 0 and bytes_ <= 0:
            return None
        known = self._rates.get(token.sha256)
        if known is None or known[:2] != (events, bytes_):
            known = (events, bytes_, Rates(events, bytes_, self._burst_seconds, self._clock()))
            self._rates[token.sha256] = known
        return known[2]

    def now(self) -> float:
        return self._clock()


class HeldBytes:
    """The bytes that requests and unacknowledged frames hold, bounded together."""

    __slots__ = ("limit", "now")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 0

    def take(self, size: int) -> bool:
        """Hold `size` bytes more; False, and nothing held, where that would pass the limit."""
        if self.now + size > self.limit:
            return False
        self.now += size
        return True

    def give(self, size: int) -> None:
        self.now -= size
