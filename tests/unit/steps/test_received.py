"""When an event came in, as far as it can be true."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tidegate.steps.received import DAY, HOUR, bounded, bounded_one

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
