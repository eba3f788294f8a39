"""Invariants of the steps."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
import native_decoder
import pyarrow as pa
import pytest
from enriched_events import enriched, enriched_frame
from hypothesis import given
from hypothesis import strategies as st

import builders
from tidegate.contracts.counts import PartialCounts
from tidegate.contracts.formats import MICROS_LIMIT
from tidegate.steps.aggregate import aggregate, merge, merge_all
from tidegate.steps.geo import geohash

LATITUDES = st.floats(-90, 90, allow_subnormal=False)
LONGITUDES = st.floats(-180, 180, allow_subnormal=False)
ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"


def bisect(latitude: float, longitude: float, bits: int) -> int:
    """Geohash as its definition says it: halve longitude and latitude in turn."""
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    code = 0
    for bit in range(bits):
        axis, value = bit % 2, (longitude, latitude)[bit % 2]
        middle = sum(ranges[axis]) / 2
        code = code << 1 | (value >= middle)
        ranges[axis][value < middle] = middle
    return code


@given(st.lists(st.tuples(LATITUDES, LONGITUDES), min_size=1, max_size=20), st.integers(1, 8))
def test_geohash_is_its_definition(places: list[tuple[float, float]], precision: int) -> None:
    # Grains of 1e-7 degrees: below that, the sum of a tiny number and 90 may round over an edge.
    grains = [(round(one, 7), round(two, 7)) for one, two in places]
    latitudes, longitudes = (pa.array(column, pa.float64()) for column in zip(*grains, strict=True))
    found = geohash(latitudes, longitudes, precision).to_pylist()
    for (latitude, longitude), text in zip(grains, found, strict=True):
        code = bisect(latitude, longitude, 5 * precision)
        letters = [ALPHABET[code >> 5 * place & 31] for place in range(precision - 1, -1, -1)]
        assert text == "".join(letters)


LOCATIONS = st.one_of(st.none(), st.builds(lambda n: {"type": "locallocationid", "id": n}, st.integers(1, 3)))
LATENCY = st.one_of(st.none(), st.integers(0, 3_000_000))
SUCCESSES = st.builds(
    builders.success,
    locationId=LOCATIONS,
    ssid=st.sampled_from(["Corp", "Guest", "", None]),
    dhcpLatency=LATENCY,
    aaaLatency=LATENCY,
    dnsLatency=LATENCY,
    timestamp=st.integers(0, MICROS_LIMIT),
)
FAILURES = st.builds(
    builders.failure,
    locationId=LOCATIONS,
    ssid=st.sampled_from(["Corp", None]),
    failureCode=st.one_of(st.none(), st.integers(0, 20)),
    failure=st.sampled_from([None, "DHCP Failure", "reason code 15", "?"]),
)
INTERMEDIATES = st.builds(
    builders.intermediate,
    locationId=LOCATIONS,
    categoryCode=st.one_of(st.none(), st.integers(1, 5)),
    category=st.none(),
)
LINES = st.lists(
    st.builds(
        lambda event, fleet, minute: builders.envelope(
            event, fleet=fleet, received_at=builders.RECEIVED_AT + minute * 20_000_000
        ),
        st.one_of(SUCCESSES, FAILURES, INTERMEDIATES),
        st.sampled_from(["demo", "other"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=30,
)


def counted(frames: list[list[bytes]]) -> list[PartialCounts]:
    """The merged partials of the frames, each aggregated by itself."""
    partials = []
    for lines in frames:
        if lines:
            partials += aggregate("client_events", enriched_frame("client_events", b"\n".join(lines)))
    return merge_all(partials)


@given(LINES, st.randoms(use_true_random=False), st.integers(1, 7))
def test_counts_do_not_depend_on_order_or_frame_boundaries(
    lines: list[bytes], random: Random, size: int
) -> None:
    whole = counted([lines])
    shuffled = random.sample(lines, len(lines))
    assert counted([shuffled[start : start + size] for start in range(0, len(lines), size)]) == whole
    assert sum(count.events for one in whole for count in one.counts) == len(lines)


@given(LINES, LINES, LINES)
def test_merging_is_associative_and_commutative(a: list[bytes], b: list[bytes], c: list[bytes]) -> None:
    parts = [counted([lines]) for lines in (a, b, c)]
    by_key: dict[Any, list[PartialCounts]] = {}
    for part in parts:
        for partial in part:
            by_key.setdefault(partial.key, []).append(partial)
    for same in by_key.values():
        if len(same) > 1:
            assert merge(same[0], same[1]) == merge(same[1], same[0])
        if len(same) > 2:
            assert merge(merge(same[0], same[1]), same[2]) == merge(same[0], merge(same[1], same[2]))


@given(LINES)
def test_counts_are_those_of_the_rows(lines: list[bytes]) -> None:
    batch = enriched_frame("client_events", b"\n".join(lines))
    rows = Counter(
        (row["fleet"], row["site"], row["ssid"] or "", row["stage"], row["outcome"])
        for row in batch.to_pylist()
    )
    found: Counter[tuple[str, ...]] = Counter()
    for partial in aggregate("client_events", batch):
        for count in partial.counts:
            found[partial.fleet, partial.site, count.ssid, count.stage, count.outcome] += count.events
    assert found == rows


@pytest.mark.parametrize("decoder", native_decoder.NAMES)
@given(lines=LINES, size=st.integers(1, 7))
def test_a_row_does_not_depend_on_its_frame(decoder: str, lines: list[bytes], size: int) -> None:
    native = native_decoder.named(decoder, "client_events")
    whole = enriched_frame("client_events", b"\n".join(lines), native=native).sort_by("index").to_pylist()
    parts: list[dict[str, Any]] = []
    for start in range(0, len(lines), size):
        rows = enriched_frame(
            "client_events", b"\n".join(lines[start : start + size]), native=native
        ).to_pylist()
        parts += [row | {"index": row["index"] + start} for row in rows]
    assert sorted(parts, key=lambda row: int(row["index"])) == sorted(
        whole, key=lambda row: int(row["index"])
    )


@given(st.lists(SUCCESSES, min_size=1, max_size=10))
def test_partials_keep_through_json(events: list[dict[str, Any]]) -> None:
    found = aggregate("client_events", enriched_frame("client_events", builders.frame(*events)))
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[PartialCounts]) == found
    assert len(enriched("client_events", *events)) == len(events)
