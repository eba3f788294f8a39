"""Charts as SVG. Each is drawn wide and narrow, and the style sheet shows the one that fits the screen.

Colours are classes of the style sheet; success, failure and intermediate differ in shape too. A mark's text
is its `<title>`. All text goes through `_text`: nothing from outside is markup here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup, escape

from tidegate.api.dashboard.text import shown

WIDE, NARROW = 1136, 340
LANE = 26  # px of a row of the timeline
TICKS = (60, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800)
SHAPES = {"success": "■", "failure": "✖", "intermediate": "●"}


def _text(value: object) -> str:
    return str(escape(shown(str(value))))


@dataclass(frozen=True, slots=True)
class Mark:
    at: int  # µs
    outcome: str  # success, failure or intermediate
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    marks: Sequence[Mark]


def both(draw: Iterable[tuple[str, str]]) -> Markup:
    """The wide and the narrow drawing."""
    return Markup("".join(f'<div class="{name}">{svg}</div>' for name, svg in draw))


def _svg(width: float, height: float, label: str, body: str, name: str = "chart") -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        f' role="img" aria-label="{_text(label)}">{body}</svg>'
    )


class Scale:
    """Times (epoch seconds) along the width between two margins."""

    def __init__(self, since: float, until: float, left: float, right: float) -> None:
        self.since, self.until, self.left, self.right = since, until, left, right

    def __call__(self, at: float) -> float:
        part = (at - self.since) / max(1e-9, self.until - self.since)
        return self.left + part * (self.right - self.left)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Positions and words of the times that are told, at most one every 90 px."""
        length = self.until - self.since
        most = max(2, int((self.right - self.left) / 90))
        step = next((each for each in TICKS if length / each <= most), 604_800)
        at = math.ceil(self.since / step) * step
        while at <= self.until:
            when = datetime.fromtimestamp(at, UTC)
            yield self(at), f"{when:%a %d}" if step >= 86_400 or at % 86_400 == 0 else f"{when:%H:%M}"
            at += step


def _axis(scale: Scale, top: float, bottom: float) -> str:
    parts = [f'<line class="axis" x1="{scale.left:.1f}" y1="{bottom}" x2="{scale.right:.1f}" y2="{bottom}"/>']
    for x, word in scale.ticks():
        anchor = "start" if x < scale.left + 20 else "end" if x > scale.right - 20 else "middle"
        parts.append(f'<line class="tick" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="when" x="{x:.1f}" y="{bottom + 15}" text-anchor="{anchor}">{word}</text>')
    return "".join(parts)


# The timeline of a client


def timeline(lanes: Sequence[Lane], since: int, until: int) -> Markup:
    """A row for each access point, ■ ✖ ● where something happened; `since` and `until` in epoch seconds."""
    return both((name, _timeline(lanes, since, until, width)) for name, width in _WIDTHS)


_WIDTHS = (("wide", WIDE), ("narrow", NARROW))


def _timeline(lanes: Sequence[Lane], since: int, until: int, width: int) -> str:
    wide = width == WIDE
    left = 190.0 if wide else 8.0
    row = LANE if wide else LANE + 16
    scale = Scale(since, until, left, width - 10)
    bottom = len(lanes) * row + 8
    parts = [_axis(scale, 0, bottom)]
    for number, lane in enumerate(lanes):
        y = number * row + row - LANE / 2
        label_x, label_y = (0, y + 4) if wide else (left, y - 14)
        parts.append(f'<text class="lane" x="{label_x:g}" y="{label_y:g}">{_text(_short(lane.name))}</text>')
        parts.append(f'<line class="line" x1="{left}" y1="{y}" x2="{width - 10}" y2="{y}"/>')
        parts.extend(_marks(lane, scale, y))
    label = f"Timeline of {len(lanes)} access points; the list below has the same events"
    return _svg(width, bottom + 22, label, "".join(parts))


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _marks(lane: Lane, scale: Scale, y: float) -> Iterator[str]:
    """Marks closer than 9 px and of one outcome are one, which tells how many; failures lie on top."""
    bins: dict[tuple[str, int], list[Mark]] = {}
    for mark in lane.marks:
        bins.setdefault((mark.outcome, int(scale(mark.at / 1e6) / 9)), []).append(mark)
    order = {"intermediate": 0, "success": 1, "failure": 2}
    for (outcome, _), marks in sorted(bins.items(), key=lambda each: order.get(each[0][0], 0)):
        x = sum(scale(mark.at / 1e6) for mark in marks) / len(marks)
        title = marks[0].title + (f" (and {len(marks) - 1} more)" if len(marks) > 1 else "")
        yield f'<g class="mark {outcome}"><title>{_text(title)}</title>{shape(outcome, x, y)}</g>'


def shape(outcome: str, x: float, y: float, size: float = 4.5) -> str:
    """■, ✖ or ● around a point."""
    if outcome == "success":
        return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size:g}" height="{2 * size:g}"/>'
    if outcome == "failure":
        a, b, c, d = x - size, x + size, y - size, y + size
        return f'<path d="M{a:.1f} {c:.1f}L{b:.1f} {d:.1f}M{a:.1f} {d:.1f}L{b:.1f} {c:.1f}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size - 1:g}"/>'


# Shares by minute


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket: its start (epoch seconds), a value or None, and the band of what is usual there."""

    at: int
    value: float | None
    low: float | None = None
    high: float | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A time that is shaded: an alert."""

    since: int
    until: int
    title: str


def line(
    points: Sequence[Point],
    since: int,
    until: int,
    *,
    label: str,
    top: float = 1.0,
    unit: str = "%",
    spans: Sequence[Span] = (),
    changes: Sequence[tuple[int, str]] = (),
) -> Markup:
    """A line over time within the band of what is usual, shaded where an alert was, with ▼ at changes."""
    return both(
        (name, _line(points, since, until, label, top, unit, spans, changes, width))
        for name, width in _WIDTHS
    )


def _line(
    points: Sequence[Point],
    since: int,
    until: int,
    label: str,
    top: float,
    unit: str,
    spans: Sequence[Span],
    changes: Sequence[tuple[int, str]],
    width: int,
) -> str:
    height, head = 180.0, 14.0
    scale = Scale(since, until, 44, width - 8)
    foot = height - 22

    def y(value: float) -> float:
        return foot - min(1.0, max(0.0, value / (top or 1))) * (foot - head)

    parts = []
    for span in spans:
        x1, x2 = scale(max(since, span.since)), scale(min(until, span.until))
        if x2 > x1:
            parts.append(
                f'<rect class="alerted" x="{x1:.1f}" y="{head}" width="{max(2, x2 - x1):.1f}"'
                f' height="{foot - head}"><title>{_text(span.title)}</title></rect>'
            )
    parts.append(_axis(scale, head, foot))
    for part in (0.0, 0.5, 1.0):
        value = top * part * (100 if unit == "%" else 1)
        place = f'x="38" y="{y(top * part) + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="when" {place}>{value:,.4g}{unit}</text>')
    parts.extend(_band(points, scale, y))
    for run in _runs(points):
        if len(run) == 1:
            parts.append(
                f'<circle class="dot" cx="{scale(run[0].at):.1f}" cy="{y(run[0].value or 0):.1f}" r="2"/>'
            )
        path = "L".join(f"{scale(each.at):.1f} {y(each.value or 0):.1f}" for each in run)
        parts.append(f'<path class="value" d="M{path}"/>')
    for at, title in changes:
        if since <= at <= until:
            x = scale(at)
            parts.append(
                f'<path class="change" d="M{x - 5:.1f} 2h10l-5 9z"><title>{_text(title)}</title></path>'
                f'<line class="change-line" x1="{x:.1f}" y1="{head}" x2="{x:.1f}" y2="{foot}"/>'
            )
    step = (scale.right - scale.left) / max(1, len(points))
    for each in points:
        if each.title:
            parts.append(
                f'<rect class="hover" x="{scale(each.at) - step / 2:.1f}" y="{head}" width="{step:.1f}"'
                f' height="{foot - head}"><title>{_text(each.title)}</title></rect>'
            )
    return _svg(width, height, label, "".join(parts))


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The points without the holes between them."""
    run: list[Point] = []
    for point in points:
        if point.value is None:
            if run:
                yield run
            run = []
        else:
            run.append(point)
    if run:
        yield run


def _band(points: Sequence[Point], scale: Scale, y: Callable[[float], float]) -> Iterator[str]:
    for known in _runs(points):
        if len(known) < 2:
            continue
        upper = "L".join(f"{scale(each.at):.1f} {y(each.high or 0):.1f}" for each in known)
        lower = "L".join(f"{scale(each.at):.1f} {y(each.low or 0):.1f}" for each in reversed(known))
        yield f'<path class="usual" d="M{upper}L{lower}z"><title>What is usual</title></path>'


def spark(
    values: Sequence[float | None], *, label: str, top: float | None = None, name: str = "spark"
) -> Markup:
    """A row of bars in the size of a line of text."""
    width, height = 120.0, 22.0
    most = top or max((value for value in values if value is not None), default=0) or 1
    step = width / max(1, len(values))
    bars = []
    for number, value in enumerate(values):
        if value is None:
            continue
        tall = max(1.0, min(1.0, value / most) * (height - 2))
        corner = f'x="{number * step:.1f}" y="{height - tall:.1f}"'
        bars.append(f'<rect {corner} width="{max(1, step - 1):.1f}" height="{tall:.1f}"/>')
    return Markup(_svg(width, height, label, "".join(bars), name))


def share(value: float | None, *, name: str = "share") -> Markup:
    """A bar of a share; what it is stands beside it."""
    filled = 0 if value is None else max(0.0, min(1.0, value)) * 100
    return Markup(
        f'<svg class="{name}" viewBox="0 0 100 8" width="100" height="8" aria-hidden="true">'
        '<rect class="ground" width="100" height="8"/>'
        f'<rect class="fill" width="{filled:.1f}" height="8"/></svg>'
    )


# Heat by row and time


@dataclass(frozen=True, slots=True)
class Cell:
    value: float | None  # share of failures; None of nothing
    title: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    name: str
    cells: Sequence[Cell]


HEAT = (0.02, 0.1, 0.25, 0.5)  # shares from which on a cell is of the next class


def heat(rows: Sequence[HeatRow], times: Sequence[int], step: int, *, label: str) -> Markup:
    """Cells in five classes of the share that fails; from a half on they have a cross too."""
    return both((name, _heat(rows, times, step, label, width)) for name, width in _WIDTHS)


def _heat(rows: Sequence[HeatRow], times: Sequence[int], step: int, label: str, width: int) -> str:
    wide = width == WIDE
    left = 190.0 if wide else 8.0
    row_height = 20 if wide else 36
    scale = Scale(times[0], times[-1] + step, left, width - 8)
    bottom = len(rows) * row_height + 4
    cell_width = max(1.0, (scale.right - scale.left) / len(times) - 1)
    parts = []
    for number, row in enumerate(rows):
        y = number * row_height + row_height - 19
        label_x, label_y = (0.0, y + 14.0) if wide else (left, y - 3.0)
        parts.append(f'<text class="lane" x="{label_x:g}" y="{label_y:g}">{_text(_short(row.name))}</text>')
        for at, cell in zip(times, row.cells, strict=True):
            if cell.value is None:
                continue
            level = sum(cell.value >= bound for bound in HEAT)
            x = scale(at)
            cross = ""
            if level == len(HEAT) and cell_width >= 6:
                cross = f'<g class="cross">{shape("failure", x + cell_width / 2, y + 9, 3)}</g>'
            parts.append(
                f'<g class="heat h{level}"><title>{_text(cell.title)}</title>'
                f'<rect x="{x:.1f}" y="{y}" width="{cell_width:.1f}" height="18"/>{cross}</g>'
            )
    parts.append(_axis(scale, bottom, bottom))
    return _svg(width, bottom + 20, label, "".join(parts))
