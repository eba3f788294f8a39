"""What the figures of the insight calls mean: what is usual, what fails, what failures have in common.

Pure: numbers of the named queries of `store/insight.py` come in, numbers of the answers go out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tidegate.store.insight import ATTEMPT_STAGES

DEFAULT_RATE = 0.03
"""The share of attempts that fails where nothing has been learned yet."""
ENOUGH = 200  # attempts from which a site's own past is believed
PRIOR = 20.0  # attempts that the prior weighs as much as

ODDS = 3.0
LEAST_RISE = 0.05
LEAST_FAILURES = 5
LEAST_CLIENTS = 3
"""A stage fails where its odds are three times the usual ones and its share five points above, with as many
failures, of as many clients, as make it more than one unlucky client."""

Source = Literal["site", "fleet", "default"]
State = Literal["failing", "slow", "silent", "usual"]


class Usual(NamedTuple):
    """The share of attempts that usually fails, and what it was learned from."""

    rate: float
    source: Source
    attempts: int

    @property
    def learning(self) -> bool:
        return self.source != "site"


class Usuals:
    """What is usual at the sites of a fleet, from rows of `insight.usual`."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._of: dict[tuple[str, str], tuple[int, int]] = {}
        self._fleet: dict[str, tuple[int, int]] = {}
        self._quick: dict[str, tuple[int, int]] = {}
        quick, timed = 0, 0
        for site, stage, reached, failed, _, of_timed, of_quick in rows:
            self._of[site, stage] = (reached, failed)
            all_reached, all_failed = self._fleet.get(stage, (0, 0))
            self._fleet[stage] = (all_reached + reached, all_failed + failed)
            if not stage:
                self._quick[site] = (of_timed, of_quick)
                timed, quick = timed + of_timed, quick + of_quick
        self._fleet_quick = (timed, quick)

    def rate(self, site: str, stage: str = "") -> Usual:
        """The share that usually fails at a stage, of the attempts that reach it; '' is the whole attempt."""
        reached, failed = self._fleet.get(stage, (0, 0))
        known = reached >= ENOUGH
        prior = failed / reached if known else DEFAULT_RATE
        own_reached, own_failed = self._of.get((site, stage), (0, 0))
        rate = (own_failed + PRIOR * prior) / (own_reached + PRIOR)
        source: Source = "site" if own_reached >= ENOUGH else "fleet" if known else "default"
        return Usual(rate, source, own_reached)

    def quick(self, site: str) -> float | None:
        """The share of successes that are usually quick; None where nothing is known."""
        timed, quick = self._quick.get(site, (0, 0))
        if timed < ENOUGH:
            timed, quick = self._fleet_quick
        return quick / timed if timed >= ENOUGH else None


class Counts(NamedTuple):
    """Attempts of a site: a row of the counts that `insight.attempts` and `insight.series` begin with."""

    good: int
    bad: int
    by_stage: tuple[int, ...]  # failures, in the order of ATTEMPT_STAGES

    @property
    def attempts(self) -> int:
        return self.good + self.bad

    @property
    def elsewhere(self) -> int:
        """Failures at no stage of an attempt."""
        return self.bad - sum(self.by_stage)

    def reached(self, stage: str) -> int:
        place = ATTEMPT_STAGES.index(stage)
        return self.good + sum(self.by_stage[place:])

    def failed(self, stage: str) -> int:
        return self.by_stage[ATTEMPT_STAGES.index(stage)]


def counts(values: Sequence[Any]) -> Counts:
    good, bad, *by_stage = values[: 2 + len(ATTEMPT_STAGES)]
    return Counts(good, bad, tuple(by_stage))


NO_COUNTS = Counts(0, 0, (0,) * len(ATTEMPT_STAGES))


def alarming(usual: float) -> float:
    """The share of failures from which on it is worth a person's time."""
    return max(ODDS * usual / (1 + (ODDS - 1) * usual), usual + LEAST_RISE)


def fails(reached: int, failed: int, usual: float, clients: int) -> bool:
    """Whether so many failures of so many clients are more than usual."""
    return (
        failed >= LEAST_FAILURES
        and clients >= LEAST_CLIENTS
        and failed / reached >= alarming(usual)
        and failed - reached * usual > 3 * math.sqrt(reached * usual * (1 - usual))
    )


def band(attempts: int, usual: float) -> tuple[float, float]:
    """Between which shares of success most steps of so many attempts lie where all is as usual."""
    if not attempts:
        return 0.0, 1.0
    middle = 1 - usual
    half = 2 * math.sqrt(usual * middle / attempts) + 1 / attempts
    return max(0.0, middle - half), min(1.0, middle + half)


def share(part: float, whole: float) -> float | None:
    """Rounded to four digits behind the point; None of nothing."""
    return round(part / whole, 4) if whole else None


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or math.isnan(value) else round(value, digits)


class Part(NamedTuple):
    """Attempts with one value, or one pair of values."""

    dimensions: tuple[str, ...]
    values: tuple[str, ...]
    attempts: int
    failures: int
    clients: int

    def excess(self, usual: float) -> float:
        return self.failures - self.attempts * usual


LEANING = 0.5  # a value that explains as much of the excess stands out
APART = 0.2  # and does it by so much more than its share of attempts


def common(parts: Sequence[Part], attempts: int, failures: int, usual: float) -> list[dict[str, Any]]:
    """Each part with the share of the excess that it explains, the most telling first.

    Excess is failures beyond the usual: failures − attempts × usual. `lift` is how much more of it a part
    explains than its share of the attempts.
    """
    excess = failures - attempts * usual
    found: list[dict[str, Any]] = []
    for part in parts:
        own = part.excess(usual)
        explained = own / excess if excess > 0 else 0.0
        weight = part.attempts / attempts if attempts else 0.0
        found.append(
            {
                "dimensions": list(part.dimensions),
                "values": list(part.values),
                "attempts": part.attempts,
                "failures": part.failures,
                "clients": part.clients,
                "rate": share(part.failures, part.attempts),
                "excess": round(own, 1),
                "explained": round(explained, 4),
                "share_of_attempts": round(weight, 4),
                "lift": round(explained - weight, 4),
                "stands_out": excess > 0 and explained >= LEANING and explained - weight >= APART,
            }
        )
    found.sort(key=lambda one: (-one["lift"], one["dimensions"], one["values"]))
    return found


def uneven(parts: Sequence[Part], attempts: int, failures: int, usual: float) -> float:
    """How unevenly the excess lies over the values of one dimension, beyond what chance does: 0 is as the
    attempts do, 1 is all of it where few attempts are. Half the sum of the differences of the two shares."""
    excess = failures - attempts * usual
    if excess <= 0 or not attempts:
        return 0.0
    distance = sum(abs(part.excess(usual) / excess - part.attempts / attempts) for part in parts) / 2
    chance = (
        0.5
        * sum(math.sqrt(max(part.attempts * failures / attempts, 0.5) * 2 / math.pi) for part in parts)
        / max(excess, 1.0)
    )
    return max(0.0, distance - chance)


EVEN = 0.15  # unevenness up to which a dimension has nothing to do with it


def verdicts(parts: Sequence[Part], attempts: int, failures: int, usual: float) -> Mapping[str, str]:
    """What each dimension says: `one value` where one stands out, `even` where it has nothing to do with the
    failures, `single` where there is no other value, else `uneven`."""
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        by_name.setdefault(part.dimensions[0], []).append(part)
    said = {}
    for name, own in by_name.items():
        if len(own) == 1:
            said[name] = "single"
        elif any(one["stands_out"] for one in common(own, attempts, failures, usual)):
            said[name] = "one value"
        else:
            said[name] = "even" if uneven(own, attempts, failures, usual) <= EVEN else "uneven"
    return said
