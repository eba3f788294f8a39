"""Times on the command line of `tidegate replay`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click import BadParameter

from tidegate.replay.command import Moment

DAY = timedelta(days=1) // timedelta(microseconds=1)
NEW_YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_day_and_a_moment() -> None:
    assert Moment().convert("2026-01-01", None, None) == NEW_YEAR
    assert Moment(end=True).convert("2026-01-01", None, None) == NEW_YEAR + DAY
    assert Moment(end=True).convert("2026-01-01T00:00:00", None, None) == NEW_YEAR
    assert Moment().convert("2026-01-01T01:00:00+01:00", None, None) == NEW_YEAR


def test_the_last_day_that_there_is_is_no_end() -> None:
    assert Moment(end=True).convert("9999-12-31", None, None) > 100 * NEW_YEAR // 25


@pytest.mark.parametrize("text", ["", "today", "2026-13-01", "2026-01-01 25:00"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadParameter):
        Moment().convert(text, None, None)
