"""What is usual at each unit at this hour, what a minute's counts are worth against it, and who asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from math import fsum
from typing import NamedTuple

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.counts import MINUTE
from tidegate.steps.aggregate import LATENCIES
from tidegate.steps.detect.context import Context
from tidegate.steps.detect.state import Key, Unit, UnitKey
from tidegate.steps.usual import LEARNED, TELLING, Pair

FADING = 0.98  # of the counts of parts and latencies, each hour
PRIOR_PART = 100.0
SLOW = "~slow/"  # and a latency: under which name what is usual of it is kept
MUCH = 0.5  # share of failures of a thorough breakdown
SLOW_STEPS = 3  # buckets of a latency above its usual 95th percentile that count as slow
SLOW_LEAST = 300.0  # successes from which on it is known what is slow

OfFleet = tuple[str, str, str]  # stream, fleet, stage
Totals = dict[OfFleet, list[Pair]]  # of each site
Exchange = Callable[[Totals], Totals]  # what this fold has of a fleet -> what all that are under way have

_NONE: Pair = [0.0, 0.0]


def alone(totals: Totals) -> Totals:
    return totals


class Rate(NamedTuple):
    """What a minute's counts are worth: nats for a failure and for none, held against the smallest share that
    is worth a person's time, and against half of all."""

    usual: float
    failed: float
    passed: float
    failed_much: float
    passed_much: float

    def of(self, failed: float, attempts: float) -> tuple[float, float]:
        passed = attempts - failed
        return (
            failed * self.failed + passed * self.passed,
            failed * self.failed_much + passed * self.passed_much,
        )


class Latency(NamedTuple):
    """What was counted of a latency in this hour."""

    counts: dict[int, int]  # bucket -> successes
    pending: bytearray  # buckets of successes that are still to be added to them
    limit: float  # the bucket above which a success is slow


class Hour:
    """What was looked up of a unit in this hour, and holds until its end."""

    __slots__ = (
        *("ceilings", "fading", "is_new", "latencies", "least", "passing", "rates", "skew", "traffic"),
    )

    def __init__(self) -> None:
        self.rates: dict[str | Key, Rate] = {}  # by stage (or "~" and a signal), and by the key of a part
        self.ceilings: dict[str, float] = {}  # by signal: how far evidence runs up
        self.passing: list[Pair] | None = None  # the counts under way of each stage
        self.latencies: list[Latency | None] = [None] * len(LATENCIES)
        self.fading: dict[
            Key, tuple[str, float, float]
        ] = {}  # of a part: its name, what its rate has of none
        self.skew: Pair | None = None  # the counts under way of wrong clocks
        self.least: float | None = None  # the evidence below which no rule asks for anything
        self.is_new: bool | None = None  # whether neither the site nor its fleet has an hour behind it
        self.traffic: float | None = None  # events a minute that are usual at least, 0 while unknown


def rate(usual: float, rule: Rule, dispersion: float = 1.0, points: float = 0.0) -> Rate:
    raised = _raised(usual, rule, points)
    return Rate(usual, *_nats(usual, raised, dispersion), *_nats(usual, max(MUCH, raised), dispersion))


def worth(usual: float, rule: Rule, failed: float, attempts: float) -> float:
    """What a minute's counts are worth against the smallest share alone."""
    of_failed, of_passed = _nats(usual, _raised(usual, rule, 0.0), 1.0)
    return failed * of_failed + (attempts - failed) * of_passed


def _raised(usual: float, rule: Rule, points: float) -> float:
    """The smallest share that is worth a person's time."""
    odds = rule.odds_ratio * usual / (1 - usual)
    return min(max(odds / (1 + odds), usual + (points or rule.points)), 0.98)


def _nats(usual: float, raised: float, dispersion: float) -> tuple[float, float]:
    if raised <= usual:
        return 0.0, 0.0
    return math.log(raised / usual) / dispersion, math.log((1 - raised) / (1 - usual)) / dispersion


class Baseline:
    """The units of one partition, what is usual there, and the rules that ask."""

    def __init__(self, context: Context, units: Iterable[Unit] = (), exchange: Exchange = alone) -> None:
        self.context = context
        self.units: dict[UnitKey, Unit] = {(unit.stream, unit.fleet, unit.site): unit for unit in units}
        self._hours: dict[UnitKey, Hour] = {}
        self._zones: dict[UnitKey, tzinfo] = {}
        self._rules: dict[tuple[str, str], list[Rule]] = {}  # site and signal -> their rules
        self._scores: dict[tuple[str, str], float] = {}
        self._least: dict[tuple[str, str], float] = {}
        self._least_of_all: dict[str, float] = {}
        self._by_name = {rule.name: rule for rule in context.rules.rules}
        self._exchange = exchange
        self._fleets = self._totals()

    def rules(self, site: str, signal: str) -> list[Rule]:
        known = self._rules.get((site, signal))
        if known is None:
            rules = self.context.rules.rules
            known = [rule for rule in rules if rule.enabled and rule.signal == signal and rule.is_for(site)]
            self._rules[site, signal] = known
        return known

    def score_open(self, site: str, signal: str) -> float:
        """The highest that the rules of a signal ask for."""
        known = self._scores.get((site, signal))
        if known is None:
            known = max((rule.score_open for rule in self.rules(site, signal)), default=12.0)
            self._scores[site, signal] = known
        return known

    def asks(self, unit: Unit, key: Key) -> bool:
        """Whether there is as much evidence for a key as the easiest rule of its signal asks for."""
        known = self._least.get((unit.site, key[0]))
        if known is None:
            rules = [one for one in self.rules(unit.site, key[0]) if one.threshold is None]
            known = min((rule.score_open for rule in rules), default=math.inf)
            self._least[unit.site, key[0]] = known
        return unit.tracks[key].evidence >= known

    def least(self, site: str) -> float:
        """The evidence below which no rule asks for anything there."""
        known = self._least_of_all.get(site)
        if known is None:
            rules = [one for one in self.context.rules.rules if one.enabled and one.is_for(site)]
            known = min((rule.score_open for rule in rules if rule.threshold is None), default=math.inf)
            self._least_of_all[site] = known
        return known

    def forget(self, unit_key: UnitKey) -> None:
        """A unit that is no more."""
        for of_key in (self.units, self._hours, self._zones):
            of_key.pop(unit_key, None)

    def rule(self, name: str) -> Rule:
        """The rule of that name; the defaults where it is gone."""
        return self._by_name.get(name) or Rule(name=name, signal="stage_failures")

    def alerting(self, fleet: str) -> list[Unit]:
        """The fleet's units that have an alert."""
        return [unit for unit in self.units.values() if unit.active and unit.fleet == fleet]

    def hour(self, unit_key: UnitKey) -> Hour:
        """What was looked up of a unit in this hour so far."""
        found = self._hours.get(unit_key)
        if found is None:
            found = self._hours[unit_key] = Hour()
        return found

    def rate(self, unit: Unit, stage: str, hour: Hour) -> Rate | None:
        """What counts at a stage are worth; None while too little is known of the site, or nothing asks."""
        found = hour.rates.get(stage)
        if found is None:
            signal = stage[1:] if stage[0] == "~" else "stage_failures"
            rule = next((one for one in self.rules(unit.site, signal) if one.threshold is None), None)
            usual = unit.usual.get(stage)
            if rule is None or usual is None or usual.attempts < LEARNED:
                return None
            share = usual.share(unit.hour, self._fleet(unit, stage))
            found = hour.rates[stage] = rate(share, rule, usual.dispersion)
        return found

    def raised(self, unit: Unit, stage: str, rule: Rule) -> float:
        """The smallest share of attempts that fails at a stage and is worth a person's time."""
        return _raised(unit.usual[stage].share(unit.hour, self._fleet(unit, stage)), rule, 0.0)

    def is_new(self, unit: Unit, hour: Hour) -> bool:
        """Whether neither the site nor its fleet has an hour behind it: by the clients of each minute, whose
        clocks are counted."""
        if hour.is_new is False:
            return False
        seen = unit.usual.get("~clock_skew")
        counted = max(seen.total[1] if seen is not None else 0.0, self._fleet(unit, "~clock_skew")[1])
        hour.is_new = counted < LEARNED
        return hour.is_new

    def share(self, unit: Unit, stage: str, hour: Hour) -> float:
        """The usual share alone, from the first count on."""
        found = hour.rates.get(stage)
        if found is None:
            share = unit.usual[stage].share(unit.hour, self._fleet(unit, stage))
            found = hour.rates[stage] = Rate(share, 0.0, 0.0, 0.0, 0.0)
        return found.usual

    def part_rate(self, unit: Unit, key: Key, part: str, hour: Hour) -> Rate | None:
        """The same for the key of one SSID or access point: the site's share, moved by what is known of the
        part."""
        found = hour.rates.get(key)
        if found is None:
            stage = key[1]
            site = self.rate(unit, stage, hour)
            if site is None:
                return None
            known = unit.parts.get(part, {})
            usual = (known.get(stage, 0.0) + PRIOR_PART * site.usual) / (known.get("", 0.0) + PRIOR_PART)
            rule = next(one for one in self.rules(unit.site, "stage_failures") if one.threshold is None)
            usual = min(max(usual, site.usual), 0.9)
            found = hour.rates[key] = rate(usual, rule, unit.usual[stage].dispersion)
        return found

    def level(self, unit: Unit, stage: str) -> str:
        """What the usual share of a stage rests on, for people."""
        return unit.usual[stage].level(unit.hour, self._fleet(unit, stage)) if stage in unit.usual else ""

    def _fleet(self, unit: Unit, stage: str) -> Pair:
        """Failures and attempts of all sites of the fleet, as they were at the last quarter of an hour."""
        return self._fleets.get((unit.stream, unit.fleet, stage), _NONE)

    def _totals(self) -> dict[OfFleet, Pair]:
        totals: Totals = {}
        for unit in self.units.values():
            for stage, usual in unit.usual.items():
                if not stage.startswith(SLOW):
                    totals.setdefault((unit.stream, unit.fleet, stage), []).append(usual.total)
        return {
            key: [fsum(pair[0] for pair in pairs), fsum(pair[1] for pair in pairs)]
            for key, pairs in self._exchange(totals).items()
        }

    # --- hours

    def end_hours(self, minute: int) -> None:
        """End the hours that are over by a minute in which hours end: zones differ by quarters of one."""
        if minute % (15 * MINUTE) == 0:
            at: dict[tzinfo, int] = {}  # most sites share their zone
            for unit_key, unit in self.units.items():
                zone = self._zone(unit_key)
                hour = at.get(zone)
                if hour is None:
                    hour = at[zone] = _hour_of_week(minute, zone)
                if hour != unit.hour:
                    self._begin_hour(unit_key, unit, hour)
            self._fleets = self._totals()

    def end_hour(self, unit_key: UnitKey, unit: Unit, minute: int) -> None:
        """End the unit's hour if it is over by a minute."""
        hour = _hour_of_week(minute, self._zone(unit_key))
        if hour != unit.hour:
            self._begin_hour(unit_key, unit, hour)

    def _begin_hour(self, unit_key: UnitKey, unit: Unit, hour: int) -> None:
        if unit.hour >= 0:
            self.count_pending(unit_key, unit)
            self._end_hour(unit)
        unit.hour = hour
        self._hours.pop(unit_key, None)

    def count_pending(self, unit_key: UnitKey, unit: Unit) -> None:
        """Add to the unit what was put off until its hour ends, or somebody asks for the unit."""
        known = self._hours.get(unit_key)
        if known is not None:
            for latency in known.latencies:
                if latency is not None and latency.pending:
                    for bucket, count in Counter(latency.pending).items():
                        latency.counts[bucket] = latency.counts.get(bucket, 0) + count
                    latency.pending.clear()

    def _zone(self, unit_key: UnitKey) -> tzinfo:
        zone = self._zones.get(unit_key)
        if zone is None:
            zone = self._zones[unit_key] = self.context.zone(unit_key[1], unit_key[2])
        return zone

    def _end_hour(self, unit: Unit) -> None:
        for stage, usual in unit.usual.items():
            if not stage.startswith(SLOW):
                told = usual.now[1] >= TELLING
                usual.end_hour(unit.hour, usual.share(unit.hour, self._fleet(unit, stage)) if told else None)
        for name, now in unit.slow_now.items():
            known = unit.slow.setdefault(name, {})
            for bucket in sorted(now):
                known[bucket] = known.get(bucket, 0.0) + now[bucket]
        unit.slow_now = {}
        for name, known in unit.slow.items():
            total = sum(known.values())
            if total >= SLOW_LEAST:
                limit, share = _limit(known, total)
                unit.usual[f"{SLOW}{name}"].hours[-1] = [[float(limit), share]]
            unit.slow[name] = {bucket: count * FADING for bucket, count in known.items() if count > 0.05}
        for part, counts in list(unit.parts.items()):
            faded = {stage: count * FADING for stage, count in counts.items()}
            if faded.get("", 0.0) < 0.5:
                del unit.parts[part]
            else:
                unit.parts[part] = faded
        events, minutes = unit.traffic_now
        if minutes and not any(key[0] == "no_events" for key in unit.active):
            unit.traffic[unit.hour] = [*unit.traffic.get(unit.hour, [])[-4:], [events, minutes]]
        unit.traffic_now = [0.0, 0.0]


def _hour_of_week(minute: int, zone: tzinfo) -> int:
    local = datetime.fromtimestamp(minute // 1_000_000, UTC).astimezone(zone)
    return local.weekday() * 24 + local.hour


def _limit(histogram: dict[int, float], total: float) -> tuple[int, float]:
    """The bucket above which a success is slow, and the share that lies there."""
    seen = 0.0
    limit = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        limit = bucket
        if seen >= 0.95 * total:
            break
    limit += SLOW_STEPS
    above = sum(count for bucket, count in histogram.items() if bucket > limit)
    return limit, (above + 1.0) / (total + 50.0)
