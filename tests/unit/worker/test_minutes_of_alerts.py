"""Which minutes of `tidegate.health` alerts are detected in."""

from __future__ import annotations

import pytest

from tidegate.contracts.counts import MINUTE
from tidegate.worker.minutes import AHEAD
from tidegate.worker.waiting_minutes import minute_of

NOON = 1_767_268_800_000_000  # 2026-01-01


def test_a_minute() -> None:
    assert minute_of("2026-01-01T12:00:00Z", NOON + MINUTE) == NOON
    assert minute_of("2026-01-01T12:00:00Z", NOON - AHEAD) == NOON  # a clock that is behind
    assert minute_of("2016-01-01T12:00:00Z", NOON) < NOON


@pytest.mark.parametrize("text", ["2026-01-01T12:05:01Z", "9999-12-31T23:59:00Z", "soon", "2026-13-01", ""])
def test_what_no_worker_has_told(text: str) -> None:
    """One document of the year 9999, and no alert opened in its partition any more."""
    with pytest.raises(ValueError):
        minute_of(text, NOON)
