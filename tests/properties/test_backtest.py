"""Sites that are folded side by side, and minutes as the worker reads them, give the changes of one fold over
all of them, in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.alerts.backtest import Minute, fold, joined
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE, ApCount, Count, MinuteCounts, PartialCounts, Signal
from tidegate.lookups import alert_rules
from tidegate.steps.detect import Context, Detector, Unit, UnitKey, iso, no_silence

START = 29_803_680 * MINUTE  # 2026-09-01 00:00 UTC
SITES = ("a", "b", "c", "d", "e")
CONTEXT = Context(
    alert_rules.load(""),
    lambda fleet, site: timezone(timedelta(minutes=15 * SITES.index(site))),  # hours end at other minutes
    lambda code, sub_code: ("", ""),
    no_silence,
)


def stream(seed: int, minutes: int) -> dict[int, dict[tuple[str, str, str], PartialCounts]]:
    """Minutes of five sites with quiet spells, silences, and breakdowns that some of them share."""
    rng = random.Random(seed)
    spells = [
        (rng.randrange(40, minutes), rng.choice(("dhcp", "dns")), rng.sample(SITES, 3)) for _ in range(6)
    ]
    silent = [(rng.randrange(60, minutes), rng.choice(SITES)) for _ in range(2)]
    found: dict[int, dict[tuple[str, str, str], PartialCounts]] = {}
    for at in range(minutes):
        now = found[START + at * MINUTE] = {}
        for site in SITES:
            if any(begin <= at < begin + 20 and site == where for begin, where in silent):
                continue
            broken = [stage for begin, stage, where in spells if begin <= at < begin + 12 and site in where]
            failures = [rng.choice(("dhcp", "dns", "aaa"))] if rng.random() < 0.1 else []
            failures += broken * rng.randrange(9)
            now["client_events", "demo", site] = _minute(rng, site, failures)
    return found


def _minute(rng: random.Random, site: str, failures: list[str]) -> PartialCounts:
    succeeded = rng.randrange(0, 9)
    counts = [Count("net", "", "success", succeeded)] if succeeded else []
    aps = [ApCount("AP1", "", succeeded)] if succeeded else []
    seen = _clients(rng, succeeded)
    for stage in sorted(set(failures)):
        failing = _clients(rng, failures.count(stage))
        events = len(failing) // 8
        counts.append(Count("net", stage, "failure", events, 900 + len(stage), None, failing))
        aps.append(ApCount(rng.choice(("AP1", "AP2")), stage, events, failing))
        seen += failing
    again = [Signal("disassociations", "", 3, _clients(rng, 2))] if rng.random() < 0.1 else []
    latencies = {"dns": {rng.randrange(10, 40): succeeded}} if succeeded else {}
    seen = b"".join(sorted({seen[at : at + 8] for at in range(0, len(seen), 8)}))
    return PartialCounts("client_events", "demo", site, 0, counts, latencies, seen, aps, again)


def _clients(rng: random.Random, number: int) -> bytes:
    return b"".join(one.to_bytes(8, "big") for one in sorted(rng.sample(range(40), number)))


def side_by_side(minutes: Mapping[int, Minute], shares: list[set[str]]) -> list[Alert]:
    def of(share: set[str]) -> Iterator[tuple[int, Minute]]:
        for minute, counted in minutes.items():
            yield minute, {place: one for place, one in counted.items() if place[2] in share}

    def run(connection: Connection, share: set[str]) -> None:
        try:
            fold(connection, CONTEXT, of(share))
        finally:
            connection.close()

    pipes = [Pipe() for _ in shares]
    with ThreadPoolExecutor(len(shares)) as pool:
        folds = [pool.submit(run, there, share) for (_, there), share in zip(pipes, shares, strict=True)]
        changes = list(joined([here for here, _ in pipes]))
        for one in folds:
            one.result()
    return changes


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_shares_of_the_sites_give_what_all_of_them_give(seed: int, share_of: list[int]) -> None:
    minutes: dict[int, Minute] = {**stream(seed, 240)}
    detector = Detector(CONTEXT)
    whole = [change for minute, counted in minutes.items() for change in detector.close(minute, counted)]
    shares = [
        {site for site, mine in zip(SITES, share_of, strict=True) if mine == share} for share in range(3)
    ]
    assert side_by_side(minutes, shares) == whole


def live(minutes: dict[int, dict[UnitKey, PartialCounts]]) -> list[Alert]:
    """The changes by way of the documents of the health topic, the units written behind each minute."""
    detector = Detector(CONTEXT)
    changes: list[Alert] = []
    for minute, counted in minutes.items():
        documents = [
            MinuteCounts(
                one.stream,
                one.fleet,
                one.site,
                iso(minute),
                one.counts,
                one.latencies,
                one.clients,
                one.aps,
                one.signals,
            )
            for one in counted.values()
        ]
        read = [msgspec.json.decode(msgspec.json.encode(one), type=MinuteCounts) for one in documents]
        changes += detector.close(minute, {(one.stream, one.fleet, one.site or ""): one for one in read})
        for unit in detector.units.values():
            written = msgspec.msgpack.encode(unit)
            assert msgspec.msgpack.decode(written, type=Unit) == unit
    return changes


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_the_worker_tells_what_a_backtest_tells(seed: int) -> None:
    minutes = stream(seed, 240)
    assert live(minutes) == side_by_side(minutes, [{"a", "c", "e"}, {"b", "d"}])


def test_the_streams_have_incidents_of_several_sites() -> None:
    changes = side_by_side({**stream(1, 240)}, [set(SITES)])
    sites: dict[str, set[str]] = {}
    for one in changes:
        sites.setdefault(one.incident, set()).add(one.scope.site)
    assert len(sites) > 2 and any(len(one) > 1 for one in sites.values())
    assert {one.signal for one in changes} >= {"stage_failures"}
