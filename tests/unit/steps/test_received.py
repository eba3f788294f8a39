"""When an event came in, as far as it can be true."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tidegate.steps.received import DAY, HOUR, bounded, bounded_one, kept_days, written_at

WRITTEN = 1_763_712_000_000_000


@pytest.mark.parametrize(
    ("said", "keep_days", "replaced"),
    [
        (WRITTEN, 90, False),
        (WRITTEN - DAY, 90, False),  # a clock that is a day behind
        (WRITTEN + DAY, 90, False),  # or before
        (WRITTEN - 89 * DAY, 90, False),  # on purpose: a replay, a backfill
        (WRITTEN - 91 * DAY, 90, True),
        (0, 90, True),
        (0, 0, False),  # a table that keeps everything
        (-1, 0, True),  # a day that no partition has: it counted to one of 2079
        (-DAY, 90, True),
        (WRITTEN + 26 * HOUR, 0, True),
        (2**62, 90, True),
    ],
)
def test_a_time_that_would_not_be_kept_gives_way_to_the_records(
    said: int, keep_days: int, replaced: bool
) -> None:
    wanted = WRITTEN if replaced else said
    assert bounded_one(said, WRITTEN, keep_days=keep_days) == wanted
    times = pa.array([WRITTEN, said], pa.int64())
    found, count = bounded(times, np.array([5, WRITTEN]) + [WRITTEN - 5, 0], keep_days=keep_days)
    assert (found.to_pylist(), count) == ([WRITTEN, wanted], int(replaced))


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (WRITTEN / 1e6, WRITTEN),
        (0.001, 1000),
        (WRITTEN / 1e6 + 24 * 3600, WRITTEN + DAY),
        (WRITTEN / 1e6 + 26 * 3600, WRITTEN),
        (9_223_372_036_854_775.807, WRITTEN),  # the most milliseconds that a record can say
        (0.0, WRITTEN),
        (-0.001, WRITTEN),
        (None, WRITTEN),
    ],
)
def test_a_records_own_time_that_cannot_be_is_none(seconds: float | None, wanted: int) -> None:
    """Without LogAppendTime the sender says it: one far ahead was no number of a column, which stopped the
    sink."""
    assert written_at(seconds, WRITTEN) == wanted


def test_a_fleet_that_is_kept_shorter() -> None:
    fleets = pa.array(["north", "south", "north", "west"])
    kept = kept_days(fleets, {"north": 7, "west": 400}, 90)
    found, count = bounded(
        pa.array([WRITTEN - days * DAY for days in (6, 8, 8, 91)]),
        np.array([WRITTEN] * 4),
        keep_days=kept,
    )
    assert (found.to_pylist(), count) == ([WRITTEN - 6 * DAY, WRITTEN - 8 * DAY, WRITTEN, WRITTEN], 2)
    assert kept_days(fleets, {}, 90) == 90
    for whole in (fleets, fleets.dictionary_encode()):
        assert list(kept_days(whole, {"north": 7}, 0)) == [7, 0, 7, 0]  # type: ignore[arg-type]
