"""Query results that pages share: one query for each at a time; the last result while ClickHouse is away."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from tidegate.api.problems import Problem

T = TypeVar("T")

FRESH_SECONDS = 1.0
MOST = 256
MOST_BYTES = 64 << 20  # of all that are kept, about
MOST_BYTES_OF_ONE = 16 << 20
AWAY_SECONDS = 86_400.0  # up to which age an answer is shown while ClickHouse is away
AWAY = frozenset({"store_away", "query_memory", "query_timeout"})


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the store said, `age` seconds ago. `problem` is why it is not what it would say now."""

    value: T
    age: float = 0.0
    problem: Problem | None = None


class _Kept(NamedTuple):
    at: float  # monotonic
    value: Any
    bytes: int
    end: asyncio.TimerHandle  # drops it when nobody may be given it any more


class AnswerCache:
    """The latest answers by key; the key holds the fleet and everything else that was asked. The oldest
    go where they are many or large."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0
        self._asked: dict[Hashable, asyncio.Future[Any]] = {}

    async def ask(
        self,
        key: Hashable,
        question: Callable[[], Awaitable[T]],
        *,
        fresh: float = FRESH_SECONDS,
        meanwhile: float = 0.0,
        away: float = AWAY_SECONDS,
        keep: bool = True,
    ) -> Answer[T]:
        """Who asks while the same is asked already shares its answer; without `keep` nobody else does. One
        from before that is no older than `meanwhile` seconds is given at once, while the next one is asked
        for: nobody waits for it. Raises the question's Problem where there is no answer from before, or one
        that is older than `away` seconds."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept.at < fresh:
            return Answer(kept.value, time.monotonic() - kept.at)
        running = self._asked.get(key)
        if running is None:
            running = self._asked[key] = asyncio.ensure_future(question())
            running.add_done_callback(
                lambda done: self._ended(key, done, max(fresh, meanwhile, away) if keep else 0.0)
            )
        if kept is not None and time.monotonic() - kept.at < meanwhile:
            return Answer(kept.value, time.monotonic() - kept.at)
        try:
            value: T = await asyncio.shield(running)
        except Problem as problem:
            if kept is None or problem.code not in AWAY or time.monotonic() - kept.at > away:
                raise
            return Answer(kept.value, time.monotonic() - kept.at, problem)
        return Answer(value)

    def _ended(self, key: Hashable, done: asyncio.Future[Any], seconds: float) -> None:
        self._asked.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return  # that was seen, though whoever asked may have gone
        if seconds <= 0:
            return
        self._drop(key)
        size = bytes_of(done.result())
        if size > MOST_BYTES_OF_ONE:
            return
        end = done.get_loop().call_later(seconds, self._drop, key)
        self._kept[key] = _Kept(time.monotonic(), done.result(), size, end)
        self._bytes += size
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.end.cancel()
            self._bytes -= kept.bytes


SAMPLE = 8


def bytes_of(value: object) -> int:
    """About what a value takes; the elements of a list are taken to be like some of them."""
    size = sys.getsizeof(value, 64)
    if isinstance(value, dict):
        return size + sum(bytes_of(each) for each in value.values())
    if isinstance(value, tuple):
        return size + sum(bytes_of(each) for each in value)
    if isinstance(value, list) and value:
        some = value[:: -(-len(value) // SAMPLE)]
        return size + sum(bytes_of(each) for each in some) * len(value) // len(some)
    return size
