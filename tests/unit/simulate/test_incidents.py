"""Incidents and hard negatives: each shows what its truth says, and nothing of what it only looks like."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tidegate import lookups
from tidegate.lookups.stages import stage_of_text
from tidegate.simulate.clients import VENDORS
from tidegate.simulate.incidents import KINDS, NAMES, NEGATIVES, Truth
from tidegate.simulate.rhythm import presence
from tidegate.simulate.schedule import parse
from tidegate.simulate.simulation import Plan, Simulation
from tidegate.simulate.truth import TruthFile

START = int(datetime(2026, 3, 4, 14, 0, tzinfo=UTC).timestamp() * 1_000_000)  # a Wednesday
RATE = 60.0
AFTER, LASTING = 60.0, 180.0
TAIL = 10.0  # s after the end


class Seen(NamedTuple):
    """Client events with the second at which each was sent, since the start."""

    simulation: Simulation
    events: list[tuple[float, dict[str, Any]]]
    truth: Truth

    def during(self, site: int = 0) -> list[dict[str, Any]]:
        begin, end = (self.truth.start - START) / 1e6, (self.truth.end - START) / 1e6
        return [
            event
            for second, event in self.events
            if begin + 5 <= second < end and site in (0, event["locationId"]["id"])
        ]

    def before(self, site: int = 0) -> list[dict[str, Any]]:
        begin = (self.truth.start - START) / 1e6
        return [e for second, e in self.events if second < begin and site in (0, e["locationId"]["id"])]


@cache
def seen(incidents: str, *, seconds: float = AFTER + LASTING + TAIL, seed: int = 5) -> Seen:
    simulation = Simulation(
        Plan(
            seed=seed, start=START, rate=RATE, sites=8, incidents=parse(incidents), streams=["client_events"]
        )
    )
    events = [
        ((time - START) / 1e6, json.loads(event.body))
        for time, event in simulation.until(START + int(seconds * 1e6))
    ]
    (truth,) = simulation.ended()
    return Seen(simulation, events, truth)


def share(events: list[dict[str, Any]], code: int | None, sub_code: int | None) -> float:
    """Of the attempts, those that failed with these codes."""
    ends = Counter(
        (event.get("failureCode"), event.get("subFailureCode"))
        for event in events
        if event["eventType"] != "Intermediate"
    )
    return ends[code, sub_code] / max(1, ends.total())


@pytest.mark.parametrize("name", [name for name in NAMES if KINDS[name].stage])
def test_what_fails_is_what_the_truth_says(name: str) -> None:
    found = seen(f"{name}@{AFTER}+{LASTING}")
    truth = found.truth
    assert (truth.name, truth.hard_negative) == (name, False)
    assert truth.start == START + AFTER * 1e6 and truth.end - truth.start == LASTING * 1e6
    assert truth.start <= truth.first < truth.end
    failed = [
        event
        for event in found.during(truth.location)
        if (event.get("failureCode"), event.get("subFailureCode")) == (truth.code, truth.sub_code)
    ]
    assert {stage_of_text(event["failure"]) for event in failed} == set(truth.stages)
    clients = {event["macAddress"] for event in failed}
    if name != "dns":  # which hits those, too, whose look-ups are slow
        assert truth.clients >= 0.6 * len(clients)  # some of them fail for that reason at any time
    assert truth.clients >= 5
    rise = share(found.during(truth.location), truth.code, truth.sub_code)
    assert rise > 0.03 + 2 * share(found.before(truth.location), truth.code, truth.sub_code)


@pytest.mark.parametrize("name", ["ap", "ssid", "vendor"])
def test_an_incident_of_a_part_leaves_the_rest(name: str) -> None:
    found = seen(f"{name}@{AFTER}+{LASTING}")
    truth = found.truth
    vendors = tuple(oui for ouis in VENDORS.values() for oui in ouis if ouis == VENDORS.get(truth.vendor))

    def concerned(event: dict[str, Any]) -> bool:
        return (
            event["associatedAPName"] == truth.ap
            or event["ssid"] == truth.ssid
            or bool(vendors)
            and event["macAddress"].startswith(vendors)
        )

    during = found.during(truth.location)
    inside = share([e for e in during if concerned(e)], truth.code, truth.sub_code)
    outside = share([e for e in during if not concerned(e)], truth.code, truth.sub_code)
    assert inside > 0.5 > 0.06 > outside


def test_the_vendors_are_those_of_the_lookup_tables() -> None:
    table = lookups.load("").vendors
    for vendor, ouis in VENDORS.items():
        leading = np.array([int(oui.replace(":", ""), 16) << 12 for oui in ouis], np.int64)
        assert {table.names[int(number)].as_py() for number in table.find(leading)} == {vendor}


def test_a_fleet_wide_failure_is_at_every_site() -> None:
    found = seen(f"fleet-dns@{AFTER}+{LASTING}")
    assert (found.truth.site, found.truth.location) == ("", 0)
    failing = {e["locationId"]["id"] for e in found.during() if e.get("failureCode") == found.truth.code}
    assert failing == {site.location for site in found.simulation.sites}


def test_a_quiet_site_is_one_with_few_clients() -> None:
    found = seen(f"quiet@{AFTER}+{LASTING}")
    counts = sorted((presence(s.city, START) * len(s.aps), s.location) for s in found.simulation.sites)
    assert found.truth.location in [location for _, location in counts[:4]]


def test_drift_is_slow() -> None:
    found = seen("drift:Berlin@60+500", seconds=580)
    early: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for second, event in found.events:
        if event["locationId"]["id"] == found.truth.location:
            (early if 60 < second < 160 else late if 440 < second < 560 else []).append(event)
    text = found.truth.code, found.truth.sub_code
    assert share(early, *text) < 0.1 < 0.25 < share(late, *text)


def test_silence_is_a_site_without_an_event() -> None:
    found = seen(f"silence:Berlin@{AFTER}+{LASTING}")
    assert found.truth.signals == ("no_events",)
    assert found.before(found.truth.location) and not found.during(found.truth.location)


def test_disassociations_and_clocks_are_signals_of_their_own() -> None:
    found = seen(f"flapping@{AFTER}+{LASTING}")
    assert found.truth.signals == ("disassociations",) and found.truth.ap
    left = Counter(
        e["associatedAPName"] for e in found.during() if e.get("eventDescription") == "Disassociation"
    )
    assert left.most_common(1)[0][0] == found.truth.ap
    assert seen(f"clocks@{AFTER}+{LASTING}").truth.signals == ("clock_skew",)


# Hard negatives


@pytest.mark.parametrize("name", NEGATIVES)
def test_a_hard_negative_says_nothing_to_find(name: str) -> None:
    truth = seen(f"{name}@{AFTER}+{LASTING}").truth
    assert truth.hard_negative and not truth.signals and not truth.stages and truth.code is None


def test_a_rush_brings_many_attempts_that_fail_as_usual() -> None:
    found = seen(f"rush@{AFTER}+{LASTING}")
    before, during = found.before(found.truth.location), found.during(found.truth.location)
    assert len(during) / (LASTING - 5) > 1.8 * len(before) / AFTER
    failed = sum(event["eventType"] == "Failure" for event in during)
    ends = sum(event["eventType"] != "Intermediate" for event in during)
    assert failed / ends < 0.08


def test_one_client_that_retries_is_one_client() -> None:
    found = seen(f"retrying@{AFTER}+{LASTING}")
    failing = Counter(
        event["macAddress"] for event in found.during(found.truth.location) if event["eventType"] == "Failure"
    )
    (_, most), (_, next_) = failing.most_common(2)
    assert found.truth.clients == 1
    assert most >= LASTING / 5 - 2 and next_ < 5


def test_late_uploads_come_at_once_and_whole() -> None:
    found = seen(f"late@{AFTER}+{LASTING}")
    end = (found.truth.end - START) / 1e6
    ages = [second - (event["timestamp"] - START) / 1e6 for second, event in found.events]
    late = [
        (second, event)
        for age, (second, event) in zip(ages, found.events, strict=True)
        if age > 60 and event["locationId"]["id"] == found.truth.location
    ]
    assert len(late) > 20
    assert {round(second - end) for second, _ in late} <= {0, 1}
    assert max(ages) > LASTING - 30
    # The others go on at their pace: time passed while events were held, none when they came.
    assert len(found.events) == pytest.approx((AFTER + LASTING + TAIL) * RATE, rel=0.01)


def test_planned_restarts_take_each_access_point_once_and_clients_come_back() -> None:
    simulation = Simulation(
        Plan(seed=5, start=START, rate=RATE, incidents=parse(f"restarts:Paris@{AFTER}+{LASTING}"))
    )
    bodies = [json.loads(e.body) for _, e in simulation.until(START + int((AFTER + LASTING + TAIL) * 1e6))]
    restarts = Counter(b["parent"]["name"] for b in bodies if b.get("notes") == "Planned maintenance")
    (site,) = [site for site in simulation.sites if site.name == "Paris"]
    assert restarts == Counter({ap.name: 1 for ap in site.aps})


def test_an_empty_night_is_at_a_site_where_few_are() -> None:
    found = seen(f"night@{AFTER}+{LASTING}")
    by_share = sorted(
        (presence(site.city, START) * len(site.aps), site.location) for site in found.simulation.sites
    )
    assert found.truth.location in [location for _, location in by_share[:4]]


# The usual failures


def test_the_usual_share_of_failures_has_seasons_and_varies() -> None:
    simulation = Simulation(Plan(seed=2, start=START, rate=20.0, sites=4, streams=["client_events"]))
    shares: list[list[float]] = []
    for minutes in range(0, 24 * 60, 20):
        simulation.take(1)
        simulation.skip(max(0.0, minutes * 60 - (simulation.now - START) / 1e6))
        simulation.take(40)
        shares.append(list(simulation._failing))
    table = np.array(shares)
    spread = table.std(axis=0) / table.mean(axis=0)
    assert (spread > 0.25).all() and (spread < 0.8).all()
    assert 0.005 < table.mean() < 0.04


def test_a_seasonal_fleet_is_quiet_on_sunday() -> None:
    counts = []
    for day in (4, 8):  # Wednesday, Sunday
        start = int(datetime(2026, 3, day, 14, 0, tzinfo=UTC).timestamp() * 1_000_000)
        simulation = Simulation(Plan(seed=2, start=start, rate=50.0, seasonal=True))
        counts.append(len(simulation.until(start + 300_000_000)))
    assert counts[0] < 50 * 300
    assert counts[1] < 0.7 * counts[0]


def test_until_gives_what_take_gives() -> None:
    plan = Plan(seed=3, start=START, rate=RATE, incidents=parse("all,negatives"))
    one, other = Simulation(plan), Simulation(plan)
    events = [event for _, event in one.until(START + 200_000_000)]
    assert events == other.take(len(events))
    assert one.unended() == other.unended() and one.unended()


def test_truth_as_a_file(tmp_path: Path) -> None:
    file = TruthFile(tmp_path / "truth")
    found = seen(f"ap@{AFTER}+{LASTING}")
    file.write([found.truth])
    file.write(found.simulation.unended())
    file.close()
    (line,) = (tmp_path / "truth").read_text().splitlines()
    document = json.loads(line)
    assert document["name"] == "ap" and document["stages"] == ["association"] and document["code"] == 901
    assert document["start"] == "2026-03-04T14:01:00Z"
    assert document["site"] == found.truth.site and document["ap"] == found.truth.ap
