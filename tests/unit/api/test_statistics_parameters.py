"""Which rollup answers for a window, and when none does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.api.problems import Problem
from tidegate.api.statistics.parameters import DAY_SECONDS, level, window
from tidegate.settings import Settings

NOW = 1_763_640_000  # 2025-11-20 12:00:00 UTC
TODAY = NOW - 12 * 3600
KEPT = Settings(ttl_rollups_1m_days=30, ttl_rollups_1h_days=400, ttl_rollups_1d_days=0)


@pytest.mark.parametrize(
    ("since", "until", "step", "expected"),
    [
        (TODAY, TODAY + DAY_SECONDS, None, "1d"),
        (TODAY, TODAY + DAY_SECONDS, "1h", "1h"),
        (TODAY, TODAY + DAY_SECONDS, "1m", "1m"),
        (TODAY, TODAY + 3600, "1d", "1h"),
        (TODAY, TODAY + 60, None, "1m"),
        (TODAY - 100 * DAY_SECONDS, TODAY + 3600, None, "1h"),
        (TODAY - 3000 * DAY_SECONDS, TODAY, "1d", "1d"),
        # Received a day after they happened, or before: deleted a day early.
        (NOW - 28 * DAY_SECONDS, NOW + 60, None, "1m"),
    ],
)
def test_the_coarsest_level_that_is_exact(since: int, until: int, step: str | None, expected: str) -> None:
    assert level(KEPT, "demo", since, until, step, NOW) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("since", "until", "step", "allowed"),
    [
        (NOW - 29 * DAY_SECONDS, NOW + 60, None, "whole minutes since 2025-10-23T12:00:00Z"),
        (TODAY - 40 * DAY_SECONDS, TODAY, "1m", "whole minutes since 2025-10-23T12:00:00Z"),
        (TODAY - 500 * DAY_SECONDS, TODAY + 3600, None, "whole days since 1970-01-01T00:00:00Z"),
    ],
)
def test_a_part_of_a_window_is_no_answer(since: int, until: int, step: str | None, allowed: str) -> None:
    with pytest.raises(Problem) as refused:
        level(KEPT, "demo", since, until, step, NOW)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.path) == ("out_of_range", "from")
    assert allowed in refused.value.allowed.split(", ")


def test_a_fleet_that_is_kept_shorter_is_answered_for_shorter() -> None:
    limited = replace(KEPT, fleet_retention_days="lab=7")
    since = TODAY - 20 * DAY_SECONDS
    for fleet in ("demo", None):
        assert level(limited, fleet, since, TODAY, None, NOW) == "1d"
    with pytest.raises(Problem) as refused:
        level(limited, "lab", since, TODAY, None, NOW)
    assert "whole days since 2025-11-15T12:00:00Z" in refused.value.allowed


def test_a_window_is_widened_to_whole_minutes() -> None:
    assert window(61_000_001, 119_000_001, NOW) == (60, 120)
    assert window(None, None, NOW + 0.5) == (NOW + 60 - DAY_SECONDS, NOW + 60)
    assert window(-(10**15), 2**62, NOW) == (0, 4_294_967_280)
    with pytest.raises(Problem):
        window(120_000_000, 120_000_000, NOW)
