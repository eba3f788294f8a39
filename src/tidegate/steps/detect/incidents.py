"""Alerts as they are told: whom they hit, and why. To which incident they belong says `grouping.py`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.alerts import Alert, Cause, Impact, Scope, Severity, State, alert_id
from tidegate.contracts.counts import MINUTE
from tidegate.steps import alert_text
from tidegate.steps.detect.baseline import Baseline
from tidegate.steps.detect.evidence import hit
from tidegate.steps.detect.figures import Figures, code_numbers
from tidegate.steps.detect.flapping import opened
from tidegate.steps.detect.opening import PART_SHARE, Due
from tidegate.steps.detect.state import (
    HASHES,
    NETWORKS,
    OFTEN,
    WINDOW,
    Active,
    Hits,
    Key,
    Unit,
    iso,
    window_name,
)
from tidegate.steps.sketch import estimate

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


def begin(baseline: Baseline, unit: Unit, one: Due, minute: int, figures: Figures) -> Alert:
    """Open an alert: its first change."""
    rule, key, since = one
    signal, stage, ssid, ap = key
    scope = Scope(unit.site, stage, ssid, ap, "" if unit.stream == "client_events" else unit.stream)
    at = minute + MINUTE
    until = baseline.context.silenced(unit.fleet, rule.name, unit.site, at)
    flapping = opened(unit, key, rule, at)
    state: State = "silenced" if until else "flapping" if flapping else "open"
    id = alert_id(unit.fleet, rule.name, scope, minute)
    usual = baseline.hour((unit.stream, unit.fleet, unit.site)).rates.get(stage or f"~{signal}")
    alert = Alert(
        fleet=unit.fleet,
        id=id,
        sequence=0,
        incident=id,
        rule=rule.name,
        signal=signal,  # type: ignore[arg-type]
        state=state,
        severity="info",
        scope=scope,
        started_at=iso(since),
        updated_at="",
        impact=Impact(usual=round(usual.usual, 5) if usual is not None else 0.0),
    )
    span = OFTEN if signal in NETWORKS else max(1, min((minute - since) // MINUTE + 1, WINDOW))
    track = unit.tracks.get(key)
    active = unit.active[key] = Active(alert)
    if track is not None:
        active.hits = track.hits
    if signal == "stage_failures" and not active.hits.failures:
        hit(active.hits, figures, stage, parts=True)
    active.failing = unit.within(window_name(key), span)
    active.seen = unit.within("", span)
    return tell(baseline, unit, key, rule, state, at, until=until)


def tell(
    baseline: Baseline,
    unit: Unit,
    key: Key,
    rule: Rule,
    state: State,
    at: int,
    *,
    until: str = "",
    by: str = "",
) -> Alert:
    """The next change of an active alert, with its figures as they are."""
    active = unit.active[key]
    alert = active.alert
    signal, stage, _, _ = key
    cause = _cause(baseline, active, key)
    clients = estimate(active.failing, HASHES)
    impact = Impact(
        attempts=active.hits.attempts,
        failures=active.hits.failures,
        usual=alert.impact.usual,
        clients=clients,
        clients_seen=max(estimate(active.seen, HASHES), clients),
        aps=sum(part[0] == "a" and failed > 0 for part, (_, failed) in active.hits.parts.items()),
        aps_seen=sum(part[0] == "a" for part in active.hits.parts),
    )
    level = baseline.level(unit, stage)
    grade = severity(rule, impact)
    if alert.sequence:
        grade = max(alert.severity, grade, key=SEVERITIES.index)
    told = msgspec.structs.replace(
        alert,
        sequence=alert.sequence + 1,
        state=state,
        severity=grade,
        updated_at=iso(at),
        until=until,
        by=by,
        impact=impact,
        cause=cause,
        action=baseline.context.text(cause.code, cause.sub_code)[1] or alert_text.action(signal, stage),
        details={"baseline": level} if level else {},
    )
    told = msgspec.structs.replace(told, summary=alert_text.summary(told))
    active.alert = told
    return told


def changed(active: Active, state: State, at: str, *, by: str = "", until: str = "") -> Alert:
    """The next change of an active alert, with its figures as they were told last."""
    alert = active.alert
    active.alert = msgspec.structs.replace(
        alert, sequence=alert.sequence + 1, state=state, updated_at=at, by=by, until=until
    )
    return active.alert


def hush(baseline: Baseline, unit: Unit, at: int) -> Iterator[Alert]:
    """The changes of alerts whose silence begins or is over by `at` (µs)."""
    for active in unit.active.values():
        alert = active.alert
        until = baseline.context.silenced(unit.fleet, alert.rule, unit.site, at)
        if until and (alert.state != "silenced" or alert.until != until):
            yield changed(active, "silenced", iso(at), until=until)
        elif not until and alert.state == "silenced":
            yield changed(active, "acked" if active.acked_at else "open", iso(at))


def severity(rule: Rule, impact: Impact) -> Severity:
    """By the failing clients, or by their share of those seen, of at least ten."""
    share = impact.clients / impact.clients_seen if impact.clients_seen and impact.clients >= 10 else 0.0
    if rule.signal == "no_events":
        return "critical"
    for name in ("critical", "warning"):
        level = getattr(rule.severity, name)
        if (level.clients and impact.clients >= level.clients) or (level.share and share >= level.share):
            return name
    return "info"


def _cause(baseline: Baseline, active: Active, key: Key) -> Cause:
    signal, _, ssid, ap = key
    code: int | None = None
    sub_code: int | None = None
    share = 0.0
    if active.hits.codes:
        name, failures = max(active.hits.codes.items(), key=lambda item: (item[1], item[0]))
        total = sum(active.hits.codes.values())
        code, sub_code = code_numbers(name)
        usual = active.alert.impact.usual * active.hits.attempts
        excess = max(total - usual, 1.0)
        share = min(1.0, max(0.0, failures - usual * failures / total) / excess)
    reason = baseline.context.text(code, sub_code)[0] if code is not None else ""
    dimension, value = ("ap", ap) if ap else ("ssid", ssid) if ssid else ("", "")
    if not dimension and signal == "stage_failures":
        dimension, value = _dimension(active.hits)
    return Cause(code, sub_code, reason, round(share, 3), dimension, value)


def _dimension(hits: Hits) -> tuple[str, str]:
    """The SSID or access point that explains the failures and not the attempts; empty where they are even."""
    for letter, name, most in (("a", "ap", 0.4), ("s", "ssid", 0.8)):
        found = {part[1:]: pair for part, pair in hits.parts.items() if part[0] == letter}
        failures, attempts = (sum(pair[at] for pair in found.values()) for at in (1, 0))
        if len(found) < 2 or not failures:
            continue
        value, pair = max(found.items(), key=lambda item: (item[1][1], item[0]))
        if pair[1] >= PART_SHARE * failures and pair[0] <= most * attempts:
            return name, value
    return "", ""
