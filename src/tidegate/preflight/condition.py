"""One thing that the guarantee rests on, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from tidegate.errors import RetryLater, Stop


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, with less of a guarantee than it could have
    WRONG = "wrong"  # it does not work, or loses or doubles


class Condition(NamedTuple):
    """Something that was looked at, in words for an operator."""

    state: State
    what: str
    do: str = ""  # what an operator does about it
    comes: bool = False  # wrong as long as somebody has not done it yet: worth waiting for

    def __str__(self) -> str:
        return f"{self.what}: {self.do}" if self.do else self.what


def ok(what: str) -> Condition:
    return Condition(State.OK, what)


def warning(what: str, do: str) -> Condition:
    return Condition(State.WARNING, what, do)


def wrong(what: str, do: str) -> Condition:
    return Condition(State.WRONG, what, do)


def missing(what: str, do: str) -> Condition:
    return Condition(State.WRONG, what, do, comes=True)


def require(conditions: Iterable[Condition]) -> None:
    """Raise Stop where anything is wrong, RetryLater where something is only not there yet."""
    bad = [condition for condition in conditions if condition.state is State.WRONG]
    final = [str(condition) for condition in bad if not condition.comes]
    if final:
        raise Stop("; ".join(final))
    if bad:
        raise RetryLater("; ".join(map(str, bad)))
