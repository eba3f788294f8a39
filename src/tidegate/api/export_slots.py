"""Slots for long answers, shared out: so many to a token, so many to a fleet, so many in all.

A token or fleet that takes its slots and does not give them back keeps nobody else waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Bounds(NamedTuple):
    """The most slots that are taken at a time."""

    in_all: int
    of_a_fleet: int
    of_a_token: int


class Slots:
    """Hands out slots; used from the event loop alone."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._taken: Counter[tuple[str, str | None]] = Counter()

    def take(self, token: str, fleet: str | None) -> Callable[[], None] | str:
        """What gives the slot back; or what is full: all, fleet or token. A fleet of None is its own."""
        holders = (("all", ""), ("fleet", fleet), ("token", token))
        for holder, bound in zip(holders, self._bounds, strict=True):
            if self._taken[holder] >= bound:
                return holder[0]
        self._taken.update(holders)

        def give_back() -> None:
            self._taken.subtract(holders)
            for holder in holders:
                if not self._taken[holder]:
                    del self._taken[holder]

        return give_back
