"""The short chaos runs of CI, and the schedule's own promise. `make chaos` does longer ones."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from conftest import require_apache_kafka

from chaos.run import Run
from chaos.schedule import deck, draw

SEED = int(os.environ.get("CHAOS_SEED", "1"))


def test_a_seed_draws_the_same_faults_and_a_decks_length_has_seen_each_kind() -> None:
    def drawn(seed: int, count: int) -> list[tuple[object, ...]]:
        return list(itertools.islice(draw(seed, on_kafka=True, every=2.0, session=3.0), count))

    cards = deck(on_kafka=True)
    assert drawn(7, 150) == drawn(7, 150) != drawn(8, 150)
    assert sorted(fault[2:5] for fault in drawn(7, len(cards))) == sorted(cards)


@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_on_apache_kafka(tmp_path: Path) -> None:
    require_apache_kafka()
    run = Run(tmp_path, SEED, kills=64, every=2.0)
    assert not run.run(), f"again by: make chaos KILLS=64 SEED={SEED}"
    assert run.faults.total() >= 60
    assert run.result is not None and run.result.acked > 10_000


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_on_the_embedded_broker(tmp_path: Path) -> None:
    run = Run(tmp_path, SEED, kills=12, broker="embedded", every=2.5)
    assert not run.run(), f"again by: make chaos KILLS=12 SEED={SEED} BROKER=embedded"
    assert run.result is not None and run.result.acked > 2_000
