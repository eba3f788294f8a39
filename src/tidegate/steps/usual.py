"""What is usual: the share of attempts that fail at a stage, by hour of the week in the site's zone.

Each hour leaves its counts; hours that an alert was open in leave none. The share of an hour of the week is
drawn towards that of the hour of the day, that one towards the site's, that one towards the fleet's, and that
one towards 3 %: an hour that is known well stands for itself, an unknown one for the next. The next level
weighs as much as `PRIOR` attempts and at least `EXPECTED` failures: that a hundred attempts had no failure
says nothing where one in five hundred fails. Hours far off the median (by median absolute deviation) are left
out: an incident that nobody saw is not usual.
"""

from __future__ import annotations

import msgspec

LEARNING_SHARE = 0.03  # of attempts, where nothing is known yet
LEARNED = 100.0  # attempts from which on a site's own share counts
PRIOR = 100.0  # attempts that the next level stands for, at least
EXPECTED = 5.0  # failures that it stands for, at least
WEEKS = 5  # counts of an hour of the week that are kept
LEAST, MOST = 0.0005, 0.9
FADING = 0.98  # of the totals, each hour: half of them is a day and a half old
TELLING = 20  # attempts from which on an hour's share tells something

Pair = list[float]  # failures, attempts


def _zero() -> Pair:
    return [0.0, 0.0]


class Usual(msgspec.Struct, array_like=True):
    """The counts of one stage of one site."""

    hours: dict[int, list[Pair]] = {}  # hour of the week -> the last weeks
    total: Pair = msgspec.field(default_factory=_zero)  # fading
    now: Pair = msgspec.field(default_factory=_zero)  # of the hour under way
    spread: Pair = msgspec.field(
        default_factory=_zero
    )  # sum of squared deviations in their standard error, and how many; fading

    def add(self, failed: float, attempts: float) -> None:
        """Count a minute."""
        now = self.now
        now[0] += failed
        now[1] += attempts

    def end_hour(self, hour: int, share: float | None) -> None:
        """The hour under way is over; `share` was usual in it, None where it has few attempts."""
        failed, attempts = self.now
        self.now = [0.0, 0.0]
        self.total = [self.total[0] * FADING + failed, self.total[1] * FADING + attempts]
        if attempts >= TELLING and share is not None:
            deviation = (failed - attempts * share) ** 2 / (attempts * share * (1 - share))
            self.spread = [self.spread[0] * FADING + min(deviation, 9.0), self.spread[1] * FADING + 1.0]
        if attempts:
            self.hours[hour] = [*self.hours.get(hour, [])[1 - WEEKS :], [failed, attempts]]

    def share(self, hour: int, fleet: Pair) -> float:
        """The share of attempts that usually fails in an hour of the week."""
        share = LEARNING_SHARE
        day = [pair for at in range(hour % 24, 168, 24) for pair in self.hours.get(at, ())]
        for failed, attempts in (fleet, self.total, _pooled(day), _pooled(self.hours.get(hour, []))):
            prior = max(PRIOR, EXPECTED / share)
            share = (failed + prior * share) / (attempts + prior)
            if share <= 0.0:  # of a sum that cannot be
                share = LEAST
        return min(max(share, LEAST), MOST)

    def level(self, hour: int, fleet: Pair) -> str:
        """What that share rests on, for people."""
        if sum(attempts for _, attempts in self.hours.get(hour, ())) >= PRIOR:
            return "hour of week"
        day = [pair for at in range(hour % 24, 168, 24) for pair in self.hours.get(at, ())]
        if sum(attempts for _, attempts in day) >= PRIOR:
            return "hour"
        if self.total[1] >= LEARNED:
            return "site"
        return "fleet" if fleet[1] >= LEARNED else "learning"

    @property
    def dispersion(self) -> float:
        """How much wider than binomial the counts of a quarter of an hour lie, at least 1: evidence seldom
        gathers for longer. Those of an hour lie wider: 1 + (attempts - 1) * correlation (beta-binomial)."""
        total, number = self.spread
        return 1.0 + max(0.0, (total + 8.0) / (number + 8.0) - 1.0) / 4.0

    @property
    def attempts(self) -> float:
        return self.total[1] + self.now[1]


def _pooled(pairs: list[Pair]) -> Pair:
    """Failures and attempts without the hours that are far off."""
    if not pairs:
        return _zero()
    told = [failed / attempts for failed, attempts in pairs if attempts >= TELLING] if len(pairs) > 2 else []
    if len(told) >= 3:
        middle = _median(told)
        limit = middle + 4.5 * _median([abs(one - middle) for one in told]) + 0.02
        pairs = [pair for pair in pairs if pair[1] < TELLING or pair[0] / pair[1] <= limit]
    return [sum([pair[0] for pair in pairs]), sum([pair[1] for pair in pairs])]


def _median(values: list[float]) -> float:
    values.sort()
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
