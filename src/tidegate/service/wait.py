"""Waiting for infrastructure: the one loop of every role and command that cannot begin without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tidegate.errors import RetryLater

T = TypeVar("T")

TICK = 0.1  # seconds of a wait that `stopping` may end


def until_there(
    attempt: Callable[[], T],
    log: logging.Logger,
    *,
    stopping: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda reason: None,
) -> T | None:
    """What `attempt` returns, tried again while it raises RetryLater, as late as that asks for.

    Each reason is logged once, and handed to `say`. None when `stopping` turned true meanwhile; without
    it the wait has no end. Whatever else `attempt` raises ends the wait.
    """
    told = ""
    while not stopping():
        try:
            return attempt()
        except RetryLater as error:
            if str(error) != told:
                log.warning("waiting: %s", error)
                told = str(error)
                say(told)
            _pause(error.after_seconds, stopping)
    return None


def require(attempt: Callable[[], T], log: logging.Logger) -> T:
    """`until_there` for what nothing but its success ends."""
    found: list[T] = []
    until_there(lambda: found.append(attempt()), log)
    return found[0]


def _pause(seconds: float, stopping: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not stopping():
        time.sleep(min(left, TICK))
