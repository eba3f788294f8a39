"""Scores the detector on simulated fleets whose incidents are known: `python -m benchmarks.detection`.

Events are simulated, decoded, enriched and counted by the worker's own steps, an hour at a time, without
Kafka; then the minutes are folded. Incidents are matched by site, signal and time. Seeds below 1000 were used
to choose the detector's figures; the default ones were not.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from statistics import quantiles

import pyarrow as pa

from benchmarks.workload import envelope
from tidegate import lookups
from tidegate.contracts import native
from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE, PartialCounts
from tidegate.lookups import alert_rules
from tidegate.simulate.incidents import DRIFT, NAMES, NEGATIVES, Truth
from tidegate.simulate.rhythm import zone
from tidegate.simulate.schedule import Spec
from tidegate.simulate.simulation import Plan, Simulation
from tidegate.steps.aggregate import aggregate, merge_all
from tidegate.steps.decode import decode_frame
from tidegate.steps.detect import Context, Detector, iso, micros, no_silence
from tidegate.steps.enrich import enrich

SITES = 12
RATE = 4.0  # client events a second of the fleet with every client there
HOUR = 3_600_000_000
DAY = 24 * HOUR
BEFORE = 2 * MINUTE  # an alert may begin so much before an incident, and so much after its end
BEHIND = 15 * MINUTE
LEARNING_DAYS = 1.0  # without incidents
APART = (35 * 60.0, 70 * 60.0)  # seconds from one incident to the next
START = 1_793_577_600_000_000  # 2026-11-02 00:00 UTC, a Monday
LEAST_CLIENTS = 5


@dataclass
class Score:
    """Sums over fleets."""

    incidents: int = 0
    found: int = 0
    alerts: int = 0
    false: int = 0
    negatives: int = 0  # hard ones that raised an alert
    staged: int = 0
    caused: int = 0
    with_cause: int = 0
    site_weeks: float = 0.0
    delays: list[float] = field(default_factory=list)  # minutes from the first failure
    seen: list[float] = field(default_factory=list)  # minutes since it was worth an alert
    kinds: Counter[str] = field(default_factory=Counter)  # incidents
    missed: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, other: Score) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def lines(self) -> Iterator[str]:
        found = self.found / max(self.incidents, 1)
        right = 1 - self.false / max(self.alerts, 1)
        yield (
            f"incidents {self.incidents}, found {self.found} ({found:.3f}), alerts {self.alerts}, false"
            f" {self.false} (precision {right:.3f}, {self.false / max(self.site_weeks, 1e-9):.3f} a site-week"
            f" of {self.site_weeks:.0f}), on hard negatives {self.negatives}"
        )
        for what, delays in (("first failure", self.delays), ("worth an alert", self.seen)):
            if len(delays) > 1:
                cuts = quantiles(delays, n=10, method="inclusive")
                yield f"{what} to alert: p50 {cuts[4]:.1f} min, p90 {cuts[8]:.1f} min"
        if self.found:
            yield (
                f"right stage {self.staged / self.found:.3f},"
                f" right cause {self.caused / max(self.with_cause, 1):.3f} of {self.with_cause}"
            )
        missed = ", ".join(
            f"{name} {self.missed[name]} of {count}" for name, count in sorted(self.kinds.items())
        )
        yield f"missed: {missed}; false: {dict(self.wrong)}"


def specs(seed: int, days: float) -> list[Spec]:
    """Incidents and hard negatives, one after another, in an order of their own."""
    rng = random.Random(seed * 7919)
    names = [*NAMES, *NAMES, *NEGATIVES]
    found: list[Spec] = []
    at = LEARNING_DAYS * 86_400
    while at < days * 86_400 - 3 * 3600:
        if len(found) % len(names) == 0:
            rng.shuffle(names)
        found.append(Spec(names[len(found) % len(names)], at))
        at += rng.uniform(*APART)
    return found


class Fleet:
    """The minutes of a simulated fleet, and what was wrong in it."""

    def __init__(self, seed: int, days: float, sites: int = SITES) -> None:
        self._days = days
        self._simulation = Simulation(
            Plan(
                seed=seed,
                start=START,
                rate=RATE * sites / SITES,
                sites=sites,
                streams=("client_events",),
                incidents=specs(seed, days),
                seasonal=True,
            )
        )
        self._lookups = lookups.load()
        self._native = native.choose("auto").decoders.get("client_events")
        self.truths: list[Truth] = []
        self.zones: dict[str, tzinfo] = {
            str(site.location): zone(site.city) for site in self._simulation.sites
        }
        self.names = {site.name: str(site.location) for site in self._simulation.sites}
        self.sites = self._simulation.sites

    def hours(self) -> Iterator[tuple[int, pa.RecordBatch | None]]:
        """Every hour with its enriched events, None where there are none."""
        for hour in range(round(self._days * 24)):
            begin = START + hour * HOUR
            lines = [envelope(event, at) for at, event in self._simulation.until(begin + HOUR)]
            self.truths += self._simulation.ended()
            batch = None
            if lines:
                decoded = decode_frame(
                    "client_events",
                    b"\n".join(lines),
                    fleet=None,
                    device=None,
                    received_at=begin,
                    fleets=None,
                    native=self._native,
                )
                batch = enrich(
                    "client_events",
                    decoded.columns,
                    self._lookups,
                    geohash_precision=6,
                    clock_skew_seconds=86_400,
                )
            yield begin, batch
        self.truths += self._simulation.unended()

    def minutes(self) -> Iterator[tuple[int, list[PartialCounts]]]:
        """Every minute with the counts of the sites that had events, as the worker's steps make them."""
        for begin, batch in self.hours():
            by_minute: dict[int, list[PartialCounts]] = defaultdict(list)
            for partial in merge_all(aggregate("client_events", batch)) if batch is not None else ():
                by_minute[partial.minute].append(partial)
            for minute in range(begin, begin + HOUR, MINUTE):
                yield minute, by_minute.get(minute, [])


class Plain:
    """An alert where more than a share of a site's attempts of five minutes fail, at least five of them."""

    def __init__(self, share: float) -> None:
        self.name = f"share of failures > {share:.0%} over 5 min"
        self._share = share
        self._last: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._open: dict[str, int] = {}
        self.alerts: list[tuple[str, str, int]] = []  # site, signal, µs

    def close(self, minute: int, partials: Sequence[PartialCounts]) -> None:
        found = {partial.site: partial for partial in partials}
        for site in {*found, *self._last}:
            counts = found[site].counts if site in found else []
            failed = sum(one.events for one in counts if one.outcome == "failure")
            attempts = failed + sum(one.events for one in counts if one.outcome == "success")
            last = self._last[site] = [*self._last[site][-4:], (failed, attempts)]
            failures, total = sum(one for one, _ in last), sum(one for _, one in last)
            if failures >= 5 and failures > self._share * total:
                if site not in self._open:
                    self.alerts.append((site, "stage_failures", minute + MINUTE))
                self._open[site] = minute
            elif site in self._open and minute - self._open[site] > 10 * MINUTE:
                del self._open[site]


def _worth(one: Truth) -> int:
    """When an incident was worth an alert (µs): at its first failure; a drift once it is past the points that
    a rule asks for."""
    begun = one.first or one.start
    if one.name == "drift":
        return max(
            begun,
            one.start + round((one.end - one.start) * Rule(name="", signal="stage_failures").points / DRIFT),
        )
    return begun


def score(fleet: Fleet, alerts: Sequence[tuple[str, str, int, Alert | None]], weeks: float) -> Score:
    """Hold alerts (site, signal, time) against what happened."""
    result = Score(site_weeks=weeks)
    real = [one for one in fleet.truths if not one.hard_negative and (one.first or one.name == "silence")]
    hits: dict[int, list[tuple[str, str, int, Alert | None]]] = defaultdict(list)
    for alert in alerts:
        site, _, at, _ = alert
        near = [
            number
            for number, one in enumerate(real)
            if one.start - BEFORE <= at <= one.end + BEHIND
            and (not one.site or fleet.names[one.site] == site)
        ]
        result.alerts += 1
        if not near:
            result.false += 1
            result.wrong[alert[1]] += 1
            result.negatives += any(
                one.hard_negative
                and one.start - BEFORE <= at <= one.end + BEHIND
                and fleet.names.get(one.site) == site
                for one in fleet.truths
            )
        for number in near:
            hits[number].append(alert)
    for number, one in enumerate(real):
        if one.name != "silence" and one.clients < LEAST_CLIENTS:
            continue
        result.incidents += 1
        result.kinds[one.name] += 1
        fitting = sorted(
            (hit for hit in hits[number] if hit[1] in one.signals), key=lambda hit: (hit[2], hit[1])
        )
        if not fitting:
            result.missed[one.name] += 1
            continue
        result.found += 1
        first = fitting[0]
        result.delays.append(max(0, first[2] - (one.first or one.start)) / MINUTE)
        result.seen.append(max(0, first[2] - _worth(one)) / MINUTE)
        told = [hit[3] for hit in fitting if hit[3] is not None]
        result.staged += any(not one.stages or alert.scope.stage in one.stages for alert in told)
        if one.code is not None:
            coded = [alert for alert in told if alert.cause.code is not None]
            if coded:
                result.with_cause += 1
                result.caused += any(
                    (alert.cause.code, alert.cause.sub_code) == (one.code, one.sub_code) for alert in coded
                )
    return result


def run(seed: int, days: float, *, verbose: bool) -> tuple[Score, list[tuple[str, Score]], float, int]:
    """One fleet: the detector's score, those of plain thresholds, seconds of folding, and minutes folded."""
    fleet = Fleet(seed, days)
    detector = Detector(
        Context(
            alert_rules.load(""),
            lambda fleet_name, site: fleet.zones.get(site, UTC),
            lambda code, sub_code: ("", ""),
            no_silence,
        )
    )
    plain = [Plain(share) for share in (0.05, 0.1, 0.2)]
    alerts: list[tuple[str, str, int, Alert | None]] = []
    changes = 0
    spent = 0.0
    folded = 0
    for minute, partials in fleet.minutes():
        documents = {(one.stream, one.fleet, one.site): one for one in partials}
        begun = time.thread_time()
        found = detector.close(minute, documents)
        spent += time.thread_time() - begun
        folded += len(detector.units)
        changes += len(found)
        for alert in found:
            if alert.sequence == 1:
                alerts.append((alert.scope.site, alert.signal, micros(alert.updated_at), alert))
                if verbose:
                    print(alert.updated_at, alert.scope, alert.summary, flush=True)
        for one in plain:
            one.close(minute, partials)
    if verbose:
        for truth in fleet.truths:
            print(iso(truth.start), iso(truth.end), truth.name, fleet.names.get(truth.site), truth.clients)
    weeks = SITES * days / 7
    beside = [(one.name, score(fleet, [(*alert, None) for alert in one.alerts], weeks)) for one in plain]
    return score(fleet, alerts, weeks), beside, spent, folded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1001-1010", help="first-last")
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    total = Score()
    beside: dict[str, Score] = defaultdict(Score)
    spent, folded = 0.0, 0
    for seed in range(int(first), int(last or first) + 1):
        mine, others, seconds, minutes = run(seed, options.days, verbose=options.verbose)
        total.add(mine)
        spent, folded = spent + seconds, folded + minutes
        for name, other in others:
            beside[name].add(other)
        print(f"seed {seed}: {next(mine.lines())}", flush=True)
    print("\n".join(total.lines()))
    print(f"folding: {1e6 * spent / max(folded, 1):.1f} µs a site-minute")
    for name, one in beside.items():
        print(f"beside, {name}: {next(one.lines())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
