"""lanes: the raw partitions that are this process's at the moment."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.processing.lane import Lane

Place = tuple[str, int]  # topic and partition


class Lanes:
    """The lanes of the present assignment. `by_place` is replaced as a whole, never changed."""

    def __init__(self) -> None:
        self.by_place: Mapping[Place, Lane] = {}

    def replace(self, by_place: Mapping[Place, Lane]) -> None:
        self.by_place = by_place

    def holds(self, place: Place, lane: Lane) -> bool:
        """Whether `lane` is still the one of `place`: the partition may have gone, or gone and come again."""
        return self.by_place.get(place) is lane

    def positions(self) -> dict[Place, int]:
        """The offset of each partition that may be committed."""
        return {place: lane.position for place, lane in self.by_place.items()}
