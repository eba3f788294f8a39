"""Sketches: exact while small, near when large, and the same however they are joined."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.steps.sketch import EMPTY, K, distinct_of, estimate, hashes, sketch, union


def of(values: list[str]) -> bytes:
    return sketch(np.unique(hashes(pa.array(values, pa.string()))))


@given(st.lists(st.text(max_size=90), unique=True, max_size=60), st.integers(0, 5))
def test_a_hash_is_of_the_value_alone(values: list[str], cut: int) -> None:
    column = pa.array(values, pa.string())
    together = hashes(column).tolist()
    assert together == [hashes(pa.array([value], pa.string()))[0] for value in values]
    assert hashes(column.slice(cut)).tolist() == together[cut:]
    if all(len(value.encode()) <= 64 for value in values):
        assert len(set(together)) == len(values)


@given(*(st.lists(st.text(max_size=4), max_size=60) for _ in range(3)))
def test_small_ones_are_exact_and_join_in_any_order(a: list[str], b: list[str], c: list[str]) -> None:
    assert estimate(of(a)) == len(set(a))
    assert union([of(a), of(b)]) == union([of(b), of(a)]) == of(a + b)
    assert union([union([of(a), of(b)]), of(c)]) == union([of(a), union([of(b), of(c)])]) == of(a + b + c)
    assert union([of(a), of(a), EMPTY]) == of(a)


@given(st.integers(0, 2**32), st.sampled_from([3, 40, K - 1, K, 3 * K]), st.integers(1, 40))
def test_a_small_one_joins_a_large_one_whatever_they_share(seed: int, size: int, more: int) -> None:
    rng = random.Random(seed)
    large = [f"{rng.getrandbits(48):012x}" for _ in range(size)]
    for small in (rng.choices(large, k=more), [*rng.choices(large, k=more), "another one"]):
        assert union([of(large), of(small)]) == union([of(small), of(large)]) == of(large + small)


@pytest.mark.parametrize("count", [K - 1, K, 5_000, 200_000])
def test_large_ones_are_near(count: int) -> None:
    rng = random.Random(count)
    macs = [f"{rng.getrandbits(48):012x}" for _ in range(count)]
    parts = [of(macs[start : start + 1 + count // 3]) for start in range(0, count, 1 + count // 4)]
    assert max(map(len, parts)) <= 8 * K
    assert distinct_of(parts) == pytest.approx(len(set(macs)), rel=0 if count < K else 0.12)


@pytest.mark.parametrize("count", [40, 255, 256, 300, 900, 5_000, 200_000])
def test_sketches_that_were_cut_tell_how_far_they_reach(count: int) -> None:
    """Each minute of a window was cut to 256 values, and 5,000 clients counted as the few hundred left."""
    rng = random.Random(count)
    macs = [f"{rng.getrandbits(48):012x}" for _ in range(count)]
    k = 256
    minutes = [of(rng.sample(macs, 2 * count // 3))[: 8 * k] for _ in range(12)]
    everything = [*minutes, of(macs)[: 8 * k]]
    near = pytest.approx(count, rel=0 if count < k else 0.2)
    assert distinct_of(everything, k) == near
    assert estimate(union(everything, k), k) == near
    half = union(everything[:6], k)
    assert estimate(union([half, *everything[6:]], k), k) == near
    assert estimate(union([*everything, of(macs)], k), k) == near  # one that was not cut


def test_beside_a_cut_sketch_only_what_lies_within_its_reach_counts() -> None:
    """A minute of 5,000 clients, and ten of 150 others each, of which all are there."""
    rng = random.Random(1)
    macs = [f"{rng.getrandbits(48):012x}" for _ in range(6_500)]
    k = 256
    minutes = [of(macs[:5_000])[: 8 * k]] + [of(macs[at : at + 150]) for at in range(5_000, 6_500, 150)]
    assert distinct_of(minutes, k) == pytest.approx(6_500, rel=0.2)
    assert estimate(union(minutes, k), k) == pytest.approx(6_500, rel=0.2)
