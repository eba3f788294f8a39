"""The one wait for infrastructure."""

from __future__ import annotations

import logging

import pytest

from tidegate.errors import RetryLater, Stop
from tidegate.service import wait

log = logging.getLogger("waiting")


class Attempts:
    """Raises what it was given, one each time, then returns 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


def later(reason: str) -> RetryLater:
    return RetryLater(reason, after_seconds=0)


def test_it_comes_back_until_it_works_and_says_each_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts(later("away"), later("away"), later("no topics"), later("away"))
    said: list[str] = []
    with caplog.at_level(logging.WARNING, "waiting"):
        assert wait.until_there(attempts, log, say=said.append) == 7
    assert attempts.made == 5
    assert said == ["away", "no topics", "away"]
    assert [record.getMessage() for record in caplog.records] == [f"waiting: {reason}" for reason in said]


def test_a_stop_ends_it_without_another_attempt() -> None:
    attempts = Attempts(*[RetryLater("away", after_seconds=3600)] * 2)
    assert wait.until_there(attempts, log, stopping=lambda: attempts.made > 0) is None
    assert attempts.made == 1


def test_what_waiting_does_not_mend_is_raised() -> None:
    with pytest.raises(Stop):
        wait.require(Attempts(later("away"), Stop("of another version")), log)
