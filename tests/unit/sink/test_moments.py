"""The hook for tests: what it takes, and that it is off."""

from __future__ import annotations

import pytest

from tidegate.errors import UsageError
from tidegate.sink.moments import MOMENTS, Moments


def test_it_is_off_by_default() -> None:
    moments = Moments("")
    for moment in MOMENTS:
        moments.reach(moment)


@pytest.mark.parametrize("text", ["nowhere", "planned:x", ":2"])
def test_unknown_moments_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="test_pause_at"):
        Moments(text)
