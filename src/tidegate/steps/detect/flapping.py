"""What comes back again and again: so many openings of one key within a time are one notice, held longer."""

from __future__ import annotations

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.state import NETWORKS, OFTEN, Active, Key, Unit


def opened(unit: Unit, key: Key, rule: Rule, at: int) -> bool:
    """Note an opening at `at` (µs); whether that makes it flapping."""
    before = [one for one in unit.openings.get(key, ()) if at - one < rule.flap.within_minutes * MINUTE]
    unit.openings[key] = [*before, at]
    return len(before) + 1 >= rule.flap.cycles


def quiet_minutes(active: Active, key: Key, rule: Rule) -> int:
    """How many quiet minutes resolve an alert."""
    if active.alert.state == "flapping":
        return max(rule.keep_open_minutes, rule.flap.quiet_minutes)
    return max(rule.keep_open_minutes, OFTEN) if key[0] in NETWORKS else rule.keep_open_minutes
