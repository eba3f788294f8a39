"""The world as SVG: land and borders in plate carrée, and buckets of geohashes over it.

`world.txt` is Natural Earth's 1:110m data, which is in the public domain, made compact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from tidegate.api.dashboard.charts import HEAT, NARROW, WIDE, both
from tidegate.api.dashboard.text import shown

_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"
_MARGIN, _LEAST = 6.0, 24.0  # degrees around the buckets, and least width that is shown


class Box(NamedTuple):
    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Bucket:
    geohash: str
    attempts: int
    failures: int
    clients: int
    title: str

    @property
    def share(self) -> float | None:
        return self.failures / self.attempts if self.attempts else None


def place(geohash: str) -> tuple[float, float] | None:
    """Longitude and latitude of a geohash's middle; None for text that is none."""
    low, high = [-180.0, -90.0], [180.0, 90.0]
    axis = 0
    for letter in geohash:
        number = _ALPHABET.find(letter)
        if number < 0:
            return None
        for bit in (16, 8, 4, 2, 1):
            middle = (low[axis] + high[axis]) / 2
            (low if number & bit else high)[axis] = middle
            axis = 1 - axis
    return (low[0] + high[0]) / 2, (low[1] + high[1]) / 2


@cache
def lines() -> tuple[tuple[str, tuple[tuple[float, float], ...]], ...]:
    """`land` rings and `border` lines, each with its points."""
    found = []
    for line in (Path(__file__).parent / "world.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        x = y = 0
        points = []
        for pair in rest.split(" "):
            dx, dy = map(int, pair.split(","))
            x, y = x + dx, y + dy
            points.append((x / 10, y / 10))
        found.append((kind, tuple(points)))
    return tuple(found)


def frame(points: Sequence[tuple[float, float]], ratio: float) -> Box:
    """The part of the world around the points, `ratio` as wide as high; all of it where that is much."""
    if not points:
        return Box(-180, -58, 180, 84)
    west, east = min(x for x, _ in points) - _MARGIN, max(x for x, _ in points) + _MARGIN
    south, north = min(y for _, y in points) - _MARGIN, max(y for _, y in points) + _MARGIN
    width = max(_LEAST, east - west, (north - south) * ratio)
    height = width / ratio
    x, y = (west + east) / 2, (south + north) / 2
    if width >= 330:
        return Box(-180, -58, 180, 84)
    west = max(-180.0, min(180 - width, x - width / 2))
    south = max(-90.0, min(90 - height, y - height / 2))
    return Box(west, south, west + width, south + height)


def draw(buckets: Sequence[Bucket], *, label: str) -> Markup:
    return both((name, _draw(buckets, label, width)) for name, width in (("wide", WIDE), ("narrow", NARROW)))


def _draw(buckets: Sequence[Bucket], label: str, width: int) -> str:
    placed = [(bucket, at) for bucket in buckets if (at := place(bucket.geohash)) is not None]
    ratio = 2.1 if width == WIDE else 1.3
    box = frame([at for _, at in placed], ratio)
    factor = width / (box.east - box.west)
    height = (box.north - box.south) * factor

    def point(x: float, y: float) -> tuple[float, float]:
        return (x - box.west) * factor, (box.north - y) * factor

    parts = [f'<rect class="sea" width="{width}" height="{height:.0f}"/>']
    parts.append(f'<path class="land" d="{"".join(_paths("land", box, point))}"/>')
    parts.append(f'<path class="border" d="{"".join(_paths("border", box, point))}"/>')
    most = max((bucket.attempts for bucket, _ in placed), default=1) or 1
    for bucket, (x, y) in sorted(placed, key=lambda each: each[0].share or 0):
        level = 0 if bucket.share is None else sum(bucket.share >= bound for bound in HEAT)
        radius = 4 + 9 * (bucket.attempts / most) ** 0.5
        a, b = point(x, y)
        cross = ""
        if level >= 2:  # not colour alone
            cross = f'<path class="hit" d="M{a - 3:.1f} {b - 3:.1f}l6 6m0 -6l-6 6"/>'
        parts.append(
            f'<g class="bucket h{level}"><title>{escape(shown(bucket.title))}</title>'
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{radius:.1f}"/>{cross}</g>'
        )
    return (
        f'<svg class="map" viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}"'
        f' role="img" aria-label="{escape(shown(label))}">{"".join(parts)}</svg>'
    )


def _paths(kind: str, box: Box, point: Callable[[float, float], tuple[float, float]]) -> Iterator[str]:
    """The lines that reach into the box."""
    for each, points in lines():
        if each != kind:
            continue
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if max(xs) < box.west or min(xs) > box.east or max(ys) < box.south or min(ys) > box.north:
            continue
        yield _path([point(x, y) for x, y in points]) + ("z" if kind == "land" else "")


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Whole pixels, each point as the step from the one before, repeats left out."""
    x, y = (round(each) for each in points[0])
    steps = [f"M{x} {y}"]
    for each in points[1:]:
        dx, dy = round(each[0]) - x, round(each[1]) - y
        if dx or dy:
            steps.append(f"l{dx} {dy}")
            x, y = x + dx, y + dy
    return "".join(steps)
