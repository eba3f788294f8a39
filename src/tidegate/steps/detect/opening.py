"""Which evidence is an alert by now: enough of it, of enough clients, and not said by another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.baseline import Baseline, Hour
from tidegate.steps.detect.evidence import Evidence, telling
from tidegate.steps.detect.state import NETWORKS, OFTEN, WINDOW, Key, Unit, part_name, window_name

PART_SCORE = 3.0  # more for an SSID or an access point: there are many of them
PART_SHARE = 0.7  # of the failures: from then on it is that part's alert and not the site's
MOST_ATTEMPTS = 0.7  # that such a part has


class Due(NamedTuple):
    rule: Rule
    key: Key
    since: int  # minute it began in (µs)


def due(baseline: Baseline, unit: Unit, evidence: Evidence) -> Iterator[Due]:
    """What is an alert by this minute, parts before the whole."""
    found: list[Due] = []
    if asking(baseline, unit, baseline.hour((unit.stream, unit.fleet, unit.site))):
        asked = [key for key in telling(unit.tracks) if baseline.asks(unit, key)]
        found += _tracked(baseline, unit, asked)
    if evidence.figures.failed:
        found += _floor(baseline, unit, evidence)
    if unit.stream == "connection_logs":
        found += _networks(baseline, unit, evidence.minute)
    for one in found:
        if one.key not in unit.active and not _covered(unit, one.key):
            yield one


def asking(baseline: Baseline, unit: Unit, hour: Hour) -> bool:
    """Whether there is as much evidence for anything as the easiest rule asks for."""
    least = hour.least
    if least is None:
        least = hour.least = baseline.least(unit.site)
    for track in unit.tracks.values():
        if track.score >= least or track.much >= least:
            return True
    return False


def _tracked(baseline: Baseline, unit: Unit, keys: Iterable[Key]) -> Iterator[Due]:
    for key in sorted(keys, key=lambda one: (not (one[2] or one[3]), one)):
        track = unit.tracks[key]
        signal, stage, ssid, ap = key
        part = bool(ssid or ap)
        for rule in baseline.rules(unit.site, signal):
            if rule.threshold is not None or not _asks(rule, stage, ssid, ap):
                continue
            if track.evidence < rule.score_open + (PART_SCORE if part else 0.0):
                continue
            if signal != "slow_stage" and (
                unit.distinct(window_name(key), WINDOW) < rule.min_clients
                or (part and not _is_the_part(unit, stage, part_name(key)))
            ):
                continue
            yield Due(rule, key, track.since)
            break


def _floor(baseline: Baseline, unit: Unit, evidence: Evidence) -> Iterator[Due]:
    """A share of the clients seen: holds from the first minute."""
    failed = evidence.figures.failed
    for rule in baseline.rules(unit.site, "stage_failures"):
        limit = rule.threshold
        if limit is None:
            continue
        for stage in failed:
            if not _asks(rule, stage, "", "") or not evidence.now.get(stage):
                continue
            failing = unit.distinct(stage, limit.minutes)
            if failing < limit.share * limit.clients:  # of so many as there must be at least
                continue
            seen = unit.distinct("", limit.minutes)
            # Of many tries of a client some always fail: the attempts are to fail more often than usual, too.
            if seen >= limit.clients and failing >= limit.share * seen and evidence.fails_more(stage, rule):
                began = evidence.minute - (min(limit.minutes, len(unit.window)) - 1) * MINUTE
                yield Due(rule, ("stage_failures", stage, "", ""), began)


def _networks(baseline: Baseline, unit: Unit, minute: int) -> Iterator[Due]:
    now = unit.window[-1]
    for signal in NETWORKS:
        cells = [one for one in now if one.startswith(window_name((signal, "", "", "")))]
        for cell in cells:
            key: Key = (signal, "", cell.partition("\0")[2], "")
            if key in unit.active:
                continue
            for rule in baseline.rules(unit.site, signal):
                if unit.distinct(cell, OFTEN) >= rule.min_clients:
                    yield Due(rule, key, minute)


def _asks(rule: Rule, stage: str, ssid: str, ap: str) -> bool:
    if (ssid and "ssid" not in rule.scope) or (ap and "ap" not in rule.scope):
        return False
    return not stage or "*" in rule.stages or stage in rule.stages


def _is_the_part(unit: Unit, stage: str, part: str) -> bool:
    """Whether one SSID or access point has most of the failing clients of the window, and not most of the
    attempts."""
    attempts = sum(counts.get("", 0.0) for one, counts in unit.parts.items() if one[0] == part[0])
    if unit.parts.get(part, {}).get("", 0.0) > MOST_ATTEMPTS * attempts:
        return False
    whole = unit.distinct(stage, WINDOW)
    return unit.distinct(f"{stage}\0{part}", WINDOW) >= PART_SHARE * whole


def _covered(unit: Unit, key: Key) -> bool:
    """Whether an active alert says it already: the whole of a part, the part that explains the whole, the
    failures of a stage that is slow as well."""
    signal, stage, ssid, ap = key
    if signal == "slow_stage":
        return any(one[:2] == ("stage_failures", stage) for one in unit.active)
    if signal != "stage_failures":
        return False
    for other in unit.active:
        if other[:2] != (signal, stage):
            continue
        if ssid or ap or not (other[2] or other[3]) or _is_the_part(unit, stage, part_name(other)):
            return True
    return False
