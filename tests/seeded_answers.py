"""What the tests of pages and dashboards count with in the events of the seeded store."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from seeded_store import Seen, attempts, failures

Key = TypeVar("Key")


def by(events: Iterable[Seen], key: Callable[[Seen], Key]) -> dict[Key, list[Seen]]:
    found: dict[Key, list[Seen]] = defaultdict(list)
    for one in events:
        found[key(one)].append(one)
    return found


def share(events: Iterable[Seen]) -> float:
    tried = attempts(events)
    return len(failures(tried)) / len(tried)


def bare(moment: datetime) -> datetime:
    """As ClickHouse's driver gives a time."""
    return moment.replace(tzinfo=None)


class Between:
    """Equal to a quantile of these values: either neighbour is as good, in buckets of 16 ms."""

    def __init__(self, values: Iterable[int], level: float) -> None:
        ordered = sorted(values)
        place = level * len(ordered)
        self.low = ordered[max(0, math.ceil(place) - 1)] - 16
        self.high = ordered[min(len(ordered) - 1, math.floor(place))] + 16

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float)) and self.low <= other <= self.high

    def __repr__(self) -> str:
        return f"{self.low} to {self.high}"


class OneOf(frozenset[str]):
    """Equal to each of its members: what comes most often may not be one alone."""

    def __eq__(self, other: object) -> bool:
        return other in self

    __hash__ = frozenset.__hash__


def like(found: Any, wanted: Any, *, within: float = 1e-9) -> Any:
    """`found` in the shape of `wanted`: unordered where that is a set, floats that are near enough."""
    if isinstance(wanted, set):
        return set(found)
    if isinstance(wanted, float) and found is not None and math.isclose(found, wanted, abs_tol=within):
        return wanted
    return found
