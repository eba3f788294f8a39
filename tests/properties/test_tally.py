"""A tally says what the partial counts of its events say, and detection's figures are the same of either."""

from __future__ import annotations

import random
from datetime import UTC
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import table

import builders
from tidegate.contracts.counts import MINUTE, PartialCounts
from tidegate.lookups import alert_rules
from tidegate.steps import tally
from tidegate.steps.aggregate import aggregate
from tidegate.steps.detect import Context, Counted, Detector, Unit, UnitKey, no_silence
from tidegate.steps.detect.figures import STAGES, Figures, figures_of

BEGIN = builders.RECEIVED_AT // MINUTE * MINUTE


def batch(seed: int, minutes: int, failing: float) -> pa.RecordBatch:
    """Events of some sites, shuffled; with and without SSIDs, access points, latencies and codes."""
    rng = random.Random(seed)
    frames = []
    for minute in range(minutes):
        events = [event(rng, failing) for _ in range(rng.randrange(1, 12))]
        frames.append(table("client_events", events, received_at=BEGIN + minute * MINUTE))
    rng.shuffle(frames)
    [whole] = pa.concat_tables(frames).unify_dictionaries().combine_chunks().to_batches()
    return whole


def event(rng: random.Random, failing: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "locationId": {"type": "locallocationid", "id": rng.randrange(3)},
        "macAddress": f"02:00:00:00:00:{rng.randrange(12):02x}",
        "timestamp": BEGIN,
        "ssid": rng.choice(("Staff", "Guest", None)),
        "associatedAPName": rng.choice(("AP1", "AP2", None)),
        "bssid": rng.choice(("00:11:74:8c:94:c0", None)),
    }
    if rng.random() < failing:
        return builders.failure(**fields, subFailureCode=rng.choice((14, None)))
    if rng.random() < 0.3:
        return builders.intermediate(**fields, eventDescription=rng.choice(("Client disassociated", None)))
    times = {f"{name}Latency": rng.choice((rng.randrange(4000), None)) for name in ("aaa", "dhcp", "dns")}
    return builders.success(**fields, **times)


def partial(one: tally.Tally | PartialCounts) -> PartialCounts:
    return PartialCounts(**{name: getattr(one, name) for name in PartialCounts.__struct_fields__})


def seen(figures: Figures) -> Any:
    reached = {stage: figures.reached(stage) for stage in STAGES}
    order = None if figures.passed is None else list(figures.passed.items())  # parts are numbered by it
    return figures.events, figures.succeeded, order, figures.parts, figures.failed, reached


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from((0.0, 0.1, 1.0)))
def test_a_tally_says_what_partial_counts_say(seed: int, minutes: int, failing: float) -> None:
    found = batch(seed, minutes, failing)
    counted = aggregate("client_events", found)
    tallies = list(tally.tallies("client_events", found))
    assert all(type(one) is tally.Tally for one in tallies)
    assert [partial(one) for one in tallies] == counted
    assert [seen(figures_of(one)) for one in tallies] == [
        seen(Figures(one.counts, one.aps)) for one in counted
    ]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.0, 0.1)))
def test_a_fold_of_either_keeps_the_same(seed: int, failing: float) -> None:
    """Behind each minute and behind the end of an hour, at which what was put off is counted."""
    found = batch(seed, 75, failing)
    kept: list[list[Unit]] = []
    for counted, asked in (
        (aggregate("client_events", found), True),
        (list(tally.tallies("client_events", found)), True),
        (list(tally.tallies("client_events", found)), False),
    ):
        detector = Detector(
            Context(alert_rules.load(""), lambda fleet, site: UTC, lambda *_: ("", ""), no_silence)
        )
        for minute in range(BEGIN, BEGIN + 75 * MINUTE, MINUTE):
            here: dict[UnitKey, Counted] = {}
            here |= {(one.stream, one.fleet, one.site): one for one in counted if one.minute == minute}
            detector.close(minute, here)
            if asked:
                assert detector.units
        kept.append(list(detector.units.values()))
    assert kept[0] == kept[1] == kept[2]
    assert any(unit.slow for unit in kept[0])


def test_a_unit_of_the_version_before() -> None:
    unit = Unit("client_events", "demo", "Oslo", slow={"dns": {3: 4.5}})
    before = msgspec.to_builtins(unit)
    del before["slow_now"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=Unit) == unit


def test_places_that_no_number_counts_are_counted_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    found = batch(3, 8, 0.2)
    counted = aggregate("client_events", found)
    monkeypatch.setattr("tidegate.steps.aggregate._MOST", 20_000)
    halves = list(tally.tallies("client_events", found))
    assert all(isinstance(one, PartialCounts) for one in halves)
    assert [one.minute for one in halves] == sorted(one.minute for one in halves)
    assert sorted(map(partial, halves), key=lambda one: one.key) == sorted(counted, key=lambda one: one.key)
