"""No event where events are usual: a state of its own.

The chance of a silence is that of a negative binomial with the mean and the dispersion of the minutes of
late, which follow nights, weekends and holidays that nobody has seen before; what is usual at this hour of
the week bounds the mean from above.
"""

from __future__ import annotations

import math

from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.baseline import Baseline, Hour
from tidegate.steps.detect.opening import Due
from tidegate.steps.detect.state import Key, Unit

RECENTLY = 0.035  # weight of a minute in the traffic of late
LEAST_DISPERSION = 1.5  # variance of the events of a minute, in their mean: a connection is several events
KEY: Key = ("no_events", "", "", "")


def silence(baseline: Baseline, unit: Unit, minute: int, events: int, hour: Hour) -> Due | None:
    """Count the minute's events; an alert once more are missing than chance leaves out."""
    now = unit.traffic_now
    now[0] += events
    now[1] += 1.0
    if events:
        recent = unit.recent
        mean, square = recent
        if unit.silent and KEY not in unit.active:  # quiet minutes count once it is known that they were none
            kept = (1.0 - RECENTLY) ** unit.silent
            mean, square = mean * kept, square * kept
        recent[0] = mean + (events - mean) * RECENTLY
        recent[1] = square + (events * events - square) * RECENTLY
        if unit.silent:
            unit.silent, unit.missing = 0, 0.0
        return None
    unit.silent += 1
    rules = baseline.rules(unit.site, "no_events")
    if not rules or KEY in unit.active:
        return None
    usual = hour.traffic
    if usual is None:
        usual = hour.traffic = _usual(unit)
    unit.missing += min(unit.recent[0], usual)  # never more than came lately
    rule = rules[0]
    if (
        unit.silent < rule.after_minutes
        or unit.missing < rule.expected_events * unit.silent / rule.after_minutes
    ):
        return None
    if unit.missing * _nats(unit) >= rule.score_open:
        return Due(rule, KEY, minute - (unit.silent - 1) * MINUTE)
    return None


def _nats(unit: Unit) -> float:
    """What an event that is missing is worth: -ln of the chance of none, by their mean number."""
    mean, square = unit.recent
    dispersion = max(LEAST_DISPERSION, (square - mean * mean) / mean) if mean else LEAST_DISPERSION
    return math.log(dispersion) / (dispersion - 1.0)


def _usual(unit: Unit) -> float:
    """Events a minute that are usual at this hour of the week, at least; 0 while it is not known.

    Without this hour of the week, the quietest of the hours of the day.
    """
    hours = unit.traffic.get(unit.hour) or [
        pair for at in range(unit.hour % 24, 168, 24) for pair in unit.traffic.get(at, ())
    ]
    found = [events / minutes for events, minutes in hours if minutes >= 30]
    return min(found, default=0.0)
