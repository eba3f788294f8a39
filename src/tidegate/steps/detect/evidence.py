"""The evidence in a minute: a CUSUM for each stage, each stage of an SSID or access point, each signal.

A client counts in one minute of the window, once, whatever it tries: one client that retries is no incident.
What is not failures is tested alike: slow successes, disassociations, wrong clocks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from tidegate.contracts.alert_rules import Rule
from tidegate.contracts.counts import MINUTE, Signal, Sketch
from tidegate.steps.aggregate import LATENCIES
from tidegate.steps.detect.baseline import SLOW, Baseline, Hour, Latency, rate, worth
from tidegate.steps.detect.figures import Counted, Figures
from tidegate.steps.detect.state import HASHES, WINDOW, Hits, Key, Track, Unit, keep, part_key, part_name
from tidegate.steps.sketch import EMPTY, estimate, union, values_of
from tidegate.steps.tally import Tally
from tidegate.steps.usual import Usual

RECENT = 5  # minutes by which it is judged whether it is quiet again
TELLING = 3.0  # nats; below nothing is asked of a track
THROWN = 3  # minutes of the window in which a client that is thrown off counts
FEW = 8  # clients, each of which is looked for rather than all counted
ENOUGH = 8  # clients that the window knows or not, to judge by them how many of the others it would
TWICE = 0.02  # share of the clients thrown off in a minute that are so twice in it by chance, at least
CEILING = 2.0  # times the opening score: how far evidence runs up
MOST_PARTS = 512  # SSIDs and access points of a unit that are followed
_KEPT = 8 * HASHES  # bytes of a minute's sketch
SLOW_POINTS = 0.2
NONE = (0.0, 0.0)
FADE = 0.3  # nats that a minute without a disassociation takes from the evidence for too many
DISASSOCIATIONS: Key = ("disassociations", "", "", "")
CLOCK_SKEW: Key = ("clock_skew", "", "", "")
_SLOW: list[tuple[int, str, Key]] = [
    (number, name, ("slow_stage", name, "", "")) for number, name in enumerate(LATENCIES)
]


class Evidence:
    """One minute of one unit, weighed; `now` are its clients by the names of the window."""

    __slots__ = ("_baseline", "_counted", "_hour", "_touched", "_unit", "figures", "minute", "now", "seen")

    def __init__(
        self,
        baseline: Baseline,
        unit: Unit,
        minute: int,
        figures: Figures,
        counted: Counted | None,
        hour: Hour,
    ) -> None:
        self._baseline = baseline
        self._unit = unit
        self._counted = counted
        self._hour = hour
        self._touched: set[Key] = set()
        self.minute = minute
        self.figures = figures
        self.seen: Sketch = counted.clients if counted is not None else EMPTY
        self.now: dict[str, Sketch] = {"": self.seen[:_KEPT]} if self.seen else {}

    def weigh(self) -> None:
        """Add the minute to the unit's window, to what is usual, and to its tracks."""
        unit, counted = self._unit, self._counted
        keep(unit, self.now)
        passed = self.figures.passed if not unit.active else None
        if passed is None:
            self._stages()
        else:
            self._pass_stages(passed)
        if counted is not None:
            self._signals(counted)
            self._latencies(counted)
        if unit.tracks:
            if passed is None:
                self._pass_all()
            elif counted is not None:
                self._fade_all(passed)

    def fails_more(self, stage: str, rule: Rule) -> bool:
        """Whether so many of the minute's attempts fail at a stage that it is worth a person's time."""
        failed = self.figures.failed.get(stage, 0)
        return failed >= self._baseline.raised(self._unit, stage, rule) * self.figures.reached(stage)

    def _pass_stages(self, passed: Mapping[str, int]) -> None:
        """Count a minute without failures, and without an alert."""
        succeeded = self.figures.succeeded
        if not succeeded:
            return
        passing = self._hour.passing
        if passing is None:
            usual = self._unit.usual
            passing = self._hour.passing = [one.now for stage, one in usual.items() if stage[0] != "~"]
        for now in passing:
            now[1] += succeeded
        parts = self._unit.parts
        for part, count in passed.items():
            known = parts.get(part)
            if known is None:
                if len(parts) >= MOST_PARTS:
                    continue
                known = parts[part] = {}
            if "" in known:
                known[""] += count
            else:
                known[""] = float(count)

    def _fade_all(self, passed: Mapping[str, int]) -> None:
        """Without failures and without an alert: the evidence fades with what passed."""
        unit, hour = self._unit, self._hour
        tracks, rates, fading, succeeded = unit.tracks, hour.rates, hour.fading, self.figures.succeeded
        late = self.minute - WINDOW * MINUTE
        for key, track in list(tracks.items()):
            signal, stage, ssid, ap = key
            if ssid or ap:
                if track.last < late:
                    del tracks[key]
                    continue
                known = fading.get(key) or self._fading(key)
                if known is not None and known[0] in passed:
                    self._weaken(key, track, passed[known[0]], known[1], known[2])
            elif signal == "stage_failures":
                if succeeded:
                    rate_ = rates.get(stage) or self._baseline.rate(unit, stage, hour)
                    if rate_ is not None:
                        self._weaken(key, track, succeeded, rate_.passed, rate_.passed_much)
                        if track.score > 0.0:
                            hit_passed(track.hits, succeeded, passed if track.score > 2.0 else None)
            elif key not in self._touched:
                self._pass(key, "")

    def _fading(self, key: Key) -> tuple[str, float, float] | None:
        """Of an SSID or access point: its name in figures, and what an attempt without a failure is worth;
        None while too little is known of the site."""
        part = part_name(key)
        rate_ = self._baseline.part_rate(self._unit, key, part, self._hour)
        if rate_ is None:
            return None
        known = self._hour.fading[key] = part, rate_.passed, rate_.passed_much
        return known

    def _pass_all(self) -> None:
        """Move the tracks whose keys had no failure."""
        unit = self._unit
        tracks, parts, touched, active = unit.tracks, self.figures.parts, self._touched, unit.active
        for key, track in list(tracks.items()):
            if key in touched:
                continue
            _, _, ssid, ap = key
            if not ssid and not ap:
                self._pass(key, "")
                continue
            on = bool(active) and key in active
            if not on and self.minute - track.last > WINDOW * MINUTE:
                del tracks[key]  # the site's own track remembers longer
                continue
            part = f"a{ap}" if ap else f"s{ssid}"
            if part in parts and not on:
                self._fade(key, track, part)
            elif on:
                self._pass(key, part)

    def _stages(self) -> None:
        """Count the minute's failures, and the evidence in them, by stage and by part."""
        unit, figures = self._unit, self.figures
        failed = figures.failed
        if not failed and not figures.succeeded:
            return
        tracks = unit.tracks
        held = {key[1] for key in unit.active}
        reached = figures.succeeded
        for stage, usual in unit.usual.items():
            if stage[0] == "~":
                continue
            if failed:
                reached = figures.reached(stage)
            if stage in failed or (tracks and ("stage_failures", stage, "", "") in tracks):
                self._stage(stage, usual, reached, counts=stage not in held)
            elif stage not in held:
                usual.now[1] += reached
        if failed:
            for stage in failed:
                if stage not in unit.usual:
                    self._stage(stage, self._usual(stage), figures.reached(stage), counts=stage not in held)
            if len(figures.parts) >= 2:
                for (part, stage), sketches in figures.part_clients.items():
                    self._part(part, stage, sketches)
        self._count_parts()

    def _stage(self, stage: str, usual: Usual, reached: int, *, counts: bool) -> None:
        """Weigh a stage that failed in the minute, or whose failures are on record.

        `counts`: its attempts count as usual ones.
        """
        if not reached:
            return
        unit, figures = self._unit, self.figures
        failed = figures.failed.get(stage, 0)
        counting = 0
        if failed:
            clients = union(figures.clients[stage])
            if clients:
                self.now[stage] = clients[:_KEPT]
            counting = self._counting(stage, clients) if clients else 1
        attempts = reached - failed + counting
        if counts:
            usual.add(counting, attempts)
        rate_ = self._baseline.rate(unit, stage, self._hour)
        if rate_ is None:
            return
        key: Key = ("stage_failures", stage, "", "")
        self._gather(key, rate_.of(counting, attempts))
        track = unit.tracks.get(key)
        if track is not None and key not in unit.active:
            hit(track.hits, figures, stage, parts=track.score > 2.0)

    def _part(self, part: str, stage: str, sketches: list[Sketch]) -> None:
        unit, figures = self._unit, self.figures
        key = part_key("stage_failures", stage, part)
        rate_ = self._baseline.part_rate(unit, key, part, self._hour)
        if rate_ is None:
            return
        clients = union(sketches) if len(sketches) > 1 else sketches[0]
        name = f"{stage}\0{part}"
        self.now[name] = clients[:_KEPT]
        failed = figures.parts[part][stage]
        reached = figures.part_reached(part, stage)
        counting = self._counting(name, clients) if clients else min(failed, 1)
        self._gather(key, rate_.of(counting, reached - failed + counting))
        track = unit.tracks.get(key)
        if track is not None and key not in unit.active:
            track.hits.attempts += reached
            track.hits.failures += failed
            for code, count in figures.codes[stage].items():
                track.hits.count_code(code, count)

    def _count_parts(self) -> None:
        parts = self._unit.parts
        held = {key[1] for key in self._unit.active}
        for part, found in self.figures.parts.items():
            known = parts.get(part)
            if known is None:
                if len(parts) >= MOST_PARTS:
                    continue
                known = parts[part] = {}
            if len(found) == 1 and "" in found:  # successes alone
                known[""] = known.get("", 0.0) + found[""]
                continue
            for stage, count in found.items():
                if "" in known:
                    known[""] += count
                else:
                    known[""] = float(count)
                if stage and stage not in held:
                    known[stage] = known.get(stage, 0.0) + count

    def _pass(self, key: Key, part: str) -> None:
        """A minute in which a key had no failure: its evidence fades with what passed."""
        unit, counted = self._unit, self._counted
        signal, stage = key[:2]
        attempts, rate_ = 0, None
        if part and signal == "stage_failures":
            attempts = self.figures.part_reached(part, stage)
            rate_ = self._baseline.part_rate(unit, key, part, self._hour)
        elif signal == "clock_skew" and counted is not None:
            attempts = estimate(counted.clients)
            rate_ = self._baseline.rate(unit, "~clock_skew", self._hour)
        elif signal == "disassociations":
            self._gather(key, (-FADE, 0.0))
            return
        self._gather(key, rate_.of(0, attempts) if rate_ is not None else NONE)

    def _fade(self, key: Key, track: Track, part: str) -> None:
        """As `_pass`, for a part without an alert: most of what is on record most of the time."""
        rate_ = self._hour.rates.get(key) or self._baseline.part_rate(self._unit, key, part, self._hour)
        if rate_ is not None:
            attempts = self.figures.part_reached(part, key[1])
            self._weaken(key, track, attempts, rate_.passed, rate_.passed_much)

    def _weaken(self, key: Key, track: Track, attempts: int, passed: float, much: float) -> None:
        """As `_gather` of so many attempts without a failure, where there is no alert."""
        score = track.score
        if score <= 0.0:
            self._gather(key, (attempts * passed, attempts * much))
            return
        score += attempts * passed
        if score <= 0.0:
            track.score = 0.0
            del self._unit.tracks[key]
            return
        track.score = min(score, self._ceiling(key)) if score > TELLING else score
        if track.much:
            much = track.much + attempts * much
            track.much = min(much, self._ceiling(key)) if much > TELLING else max(much, 0.0)

    def _signals(self, counted: Counted) -> None:
        unit = self._unit
        if not counted.signals and not (unit.tracks and CLOCK_SKEW in unit.tracks):  # most minutes
            if unit.stream == "client_events" and (not unit.active or CLOCK_SKEW not in unit.active):
                now = self._hour.skew
                if now is None:
                    now = self._hour.skew = self._usual("~clock_skew").now
                now[1] += estimate(counted.clients)
            return
        disassociations: Signal | None = None
        clients, counting = EMPTY, 0  # of wrong clocks
        for one in counted.signals:
            if one.name == "disassociations":
                disassociations = one
            elif one.name == "clock_skew":
                clients = one.clients
            elif one.name in ("insecure", "unapproved"):
                self.now[f"~{one.name}\0{one.ssid}"] = one.clients[:_KEPT]
        seen = estimate(counted.clients)
        if unit.stream != "client_events" or not seen:
            return
        if disassociations is not None:
            self._disassociations(disassociations)
        if clients:
            counting = min(self._counting("~clock_skew", clients), seen)
            self.now["~clock_skew"] = clients[:_KEPT]
        now = self._hour.skew
        if now is None:
            now = self._hour.skew = self._usual("~clock_skew").now
        if not unit.active or CLOCK_SKEW not in unit.active:
            now[0] += counting
            now[1] += seen
        if clients or CLOCK_SKEW in unit.tracks:
            rate_ = self._baseline.rate(unit, "~clock_skew", self._hour)
            if rate_ is not None:
                self._gather(CLOCK_SKEW, rate_.of(counting, seen))

    def _disassociations(self, signal: Signal) -> None:
        """Clients that are thrown off again, in the minute or the window, of all that are.

        To be thrown off once, as by a planned restart, is no incident; and where many come and go, some do so
        twice by chance: within a minute far fewer than within the window. How many do differs from fleet to
        fleet: in its first hour nobody knows what is more than usual.
        """
        unit, key, stage, clients = self._unit, DISASSOCIATIONS, "~disassociations", signal.clients
        before = unit.before(stage)
        values = before.known(values_of(clients))
        thrown, again, number = min(estimate(clients), signal.events), 0, len(values)
        common = set(before.hashes).intersection(values)
        minutes = Counter(before.hashes).__getitem__ if len(common) > FEW else before.hashes.count
        for client in common:
            if minutes(client) < THROWN:
                again += 1
            else:
                number -= 1
        twice = max(min(signal.events - thrown, thrown - 1), 0)  # one client alone is not many
        self.now[stage] = clients[:_KEPT]
        usual, usual_twice = self._usual(stage), self._usual("~twice")
        if key not in unit.active:
            usual.add(again, number)
            usual_twice.add(twice, thrown)
        rules = self._baseline.rules(unit.site, "disassociations")
        if rules and (again or twice or key in unit.tracks) and not self._baseline.is_new(unit, self._hour):
            by_chance = before.distinct() / max(unit.distinct("", WINDOW), 1)
            share = self._baseline.share(unit, stage, self._hour)
            nats = worth(min(max(share, by_chance), 0.9), rules[0], again, number)
            share = self._baseline.share(unit, "~twice", self._hour)
            nats += worth(max(share, by_chance / WINDOW, TWICE), rules[0], twice, thrown)
            self._gather(key, (nats, 0.0))

    def _latencies(self, counted: Counted) -> None:
        """Successes that spend longer than usual in a stage."""
        unit, of_hour = self._unit, self._hour.latencies
        active, tracks = unit.active, unit.tracks
        if type(counted) is Tally:
            for (number, name, key), buckets in zip(_SLOW, counted.buckets, strict=True):
                if not buckets:
                    continue
                _, pending, limit = of_hour[number] or self._latency(number)
                if not active or key not in active:
                    pending += buckets
                if buckets[-1] > limit or (tracks and key in tracks and limit < math.inf):
                    slow = len(buckets) - bisect_right(buckets, limit)
                    self._slow(name, key, slow, len(buckets), counted)
            return
        latencies = counted.latencies
        if not latencies:
            return
        for number, name, key in _SLOW:
            histogram = latencies.get(name)
            if not histogram:
                continue
            known, _, limit = of_hour[number] or self._latency(number)
            slow = 0
            if not active or key not in active:
                for bucket, count in histogram.items():
                    if bucket > limit:
                        slow += count
                    if bucket in known:
                        known[bucket] += count
                    else:
                        known[bucket] = count
            else:
                slow = sum(count for bucket, count in histogram.items() if bucket > limit)
            if slow or (key in tracks and limit < math.inf):
                self._slow(name, key, slow, sum(histogram.values()), counted)

    def _latency(self, number: int) -> Latency:
        unit, name = self._unit, LATENCIES[number]
        usual = self._usual(f"{SLOW}{name}").hours.get(-1)  # set where the hour ends
        asked = usual is not None and self._baseline.rules(unit.site, "slow_stage")
        limit = usual[0][0] if usual is not None and asked else math.inf
        found = self._hour.latencies[number] = Latency(unit.slow_now.setdefault(name, {}), bytearray(), limit)
        return found

    def _slow(self, name: str, key: Key, slow: int, values: int, counted: Counted) -> None:
        stage = f"{SLOW}{name}"
        rate_ = self._hour.rates.get(stage)
        if rate_ is None:
            usual = self._unit.usual[stage].hours[-1][0][1]
            rule = self._baseline.rules(self._unit.site, "slow_stage")[0]
            rate_ = self._hour.rates[stage] = rate(usual, rule, points=SLOW_POINTS)
        scale = min(1.0, max(estimate(counted.clients), 1) / values)  # clients rather than successes
        self._gather(key, (rate_.of(slow * scale, values * scale)[0], 0.0))

    def _gather(self, key: Key, weighed: tuple[float, float]) -> None:
        """Move a track by a minute's evidence; it is kept while it tells something."""
        self._touched.add(key)
        nats, much = weighed
        unit = self._unit
        track = unit.tracks.get(key)
        if track is None:
            if nats <= 0.0:
                return
            track = unit.tracks[key] = Track(0.0, self.minute)
        if nats > 0.0:
            track.last = self.minute
        score = track.score
        if score == 0.0:
            track.since = self.minute
            track.hits = Hits()
        score += nats
        if score > TELLING:
            score = min(score, self._ceiling(key))
        elif score < 0.0:
            score = 0.0
        track.score = score
        much += track.much
        track.much = min(much, self._ceiling(key)) if much > TELLING else max(much, 0.0)
        if unit.active and key in unit.active:
            track.recent = [*track.recent[-RECENT + 1 :], nats]
        elif score == 0.0:
            del unit.tracks[key]

    def _ceiling(self, key: Key) -> float:
        known = self._hour.ceilings.get(key[0])
        if known is None:
            known = CEILING * self._baseline.score_open(self._unit.site, key[0])
            self._hour.ceilings[key[0]] = known
        return known

    def _counting(self, name: str, clients: Sketch) -> int:
        """How many of a minute's clients count: those that did not in the window."""
        before, number = self._unit.before(name), estimate(clients)
        if not before.hashes:
            return number
        hashes = values_of(clients)
        again = set(before.hashes).intersection
        known = before.known(hashes)
        if len(known) < ENOUGH or len(known) == number:
            return number - len(again(hashes))
        return number - max(round(number * len(again(known)) / len(known)), len(again(hashes)))

    def _usual(self, stage: str) -> Usual:
        usual = self._unit.usual.get(stage)
        if usual is None:
            usual = self._unit.usual[stage] = Usual()
            self._hour.passing = None
        return usual


def telling(tracks: Mapping[Key, Track]) -> list[Key]:
    """Those whose evidence is worth a question."""
    return [key for key, track in tracks.items() if track.score > TELLING or track.much > TELLING]


def hit(hits: Hits, figures: Figures, stage: str, *, parts: bool) -> None:
    """Add a minute's attempts at a stage; `parts`: by SSID and access point as well."""
    if figures.passed is not None:
        hit_passed(hits, figures.succeeded, figures.passed if parts else None)
        return
    hits.attempts += figures.reached(stage)
    hits.failures += figures.failed.get(stage, 0)
    if stage in figures.failed:
        for code, count in figures.codes[stage].items():
            hits.count_code(code, count)
    if parts:
        for part, found in figures.parts.items():
            known = hits.parts.get(part)
            if known is None:
                if len(hits.parts) >= MOST_PARTS:
                    continue
                known = hits.parts[part] = [0, 0]
            known[0] += figures.part_reached(part, stage)
            known[1] += found.get(stage, 0)


def hit_passed(hits: Hits, succeeded: int, passed: Mapping[str, int] | None) -> None:
    """The same of a minute without a failure; `passed`: the successes of each part, where they count."""
    hits.attempts += succeeded
    if passed is not None:
        of_part = hits.parts
        for part, count in passed.items():
            if part in of_part:
                of_part[part][0] += count
            elif len(of_part) < MOST_PARTS:
                of_part[part] = [count, 0]
