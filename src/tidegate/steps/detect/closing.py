"""Alerts that go on: what they hit, whether it is quiet again, when they have grown worse."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.alerts import Alert, Impact
from tidegate.contracts.counts import MINUTE
from tidegate.steps.detect.baseline import Baseline
from tidegate.steps.detect.evidence import RECENT, Evidence, hit
from tidegate.steps.detect.flapping import quiet_minutes
from tidegate.steps.detect.incidents import SEVERITIES, severity, tell
from tidegate.steps.detect.state import HASHES, NETWORKS, Active, Key, Unit, part_name, window_name
from tidegate.steps.sketch import estimate, union

STILL = 0.1  # of the clients, from which on it is not quiet


def go_on(baseline: Baseline, unit: Unit, evidence: Evidence) -> Iterator[Alert]:
    """Count what active alerts hit, and tell those that are over or have grown worse."""
    at = evidence.minute + MINUTE
    for key, active in list(unit.active.items()):
        rule = baseline.rule(active.alert.rule)
        _hit(active, key, evidence)
        active.quiet = active.quiet + 1 if _is_quiet(unit, key, active, rule, evidence) else 0
        if active.quiet >= quiet_minutes(active, key, rule):
            yield tell(baseline, unit, key, rule, "resolved", at)
            del unit.active[key]
            for other in [one for one in unit.tracks if one[:2] == key[:2]]:
                del unit.tracks[other]  # what the alert covered as well
        elif active.alert.state in ("open", "acked"):
            impact = Impact(
                clients=estimate(active.failing, HASHES), clients_seen=estimate(active.seen, HASHES)
            )
            alert = active.alert
            if SEVERITIES.index(severity(rule, impact)) > SEVERITIES.index(alert.severity):
                yield tell(baseline, unit, key, rule, alert.state, at, by=alert.by)


def _hit(active: Active, key: Key, evidence: Evidence) -> None:
    signal, stage, ssid, ap = key
    figures = evidence.figures
    failing = evidence.now.get(window_name(key))
    if failing:
        active.failing = union((active.failing, failing), HASHES)
    if signal != "stage_failures":
        return
    if evidence.seen:
        active.seen = union((active.seen, evidence.seen), HASHES)
    if ssid or ap:
        part = part_name(key)
        active.hits.attempts += figures.part_reached(part, stage)
        active.hits.failures += figures.parts.get(part, {}).get(stage, 0)
    else:
        hit(active.hits, figures, stage, parts=True)


def _is_quiet(unit: Unit, key: Key, active: Active, rule: Rule, evidence: Evidence) -> bool:
    if key[0] == "no_events":
        return evidence.figures.events > 0
    name = window_name(key)
    if key[0] in NETWORKS:
        return not evidence.now.get(name)
    if rule.threshold is not None:
        limit = rule.threshold
        failing = unit.distinct(name, limit.minutes)
        seen = max(unit.distinct("", limit.minutes), limit.clients)
        return failing < limit.share * seen / 2
    if key[0] != "slow_stage":  # clients that fail on and on count for nothing new, and it is not quiet
        failing = unit.distinct(name, RECENT)
        usual = 3 * active.alert.impact.usual
        seen = unit.distinct("", RECENT)
        if failing >= rule.min_clients and failing >= max(STILL, usual) * seen:
            return False
    track = unit.tracks.get(key)
    return track is None or track.score < rule.score_close or sum(track.recent) <= 0.0
