"""Query results that pages share: one query for each at a time; the last result while ClickHouse is away."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tidegate.api.problems import Problem

T = TypeVar("T")

FRESH_SECONDS = 1.0
MOST = 256
AWAY = frozenset({"store_away", "query_memory", "query_timeout"})


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the store said, `age` seconds ago. `problem` is why it is not what it would say now."""

    value: T
    age: float = 0.0
    problem: Problem | None = None


class AnswerCache:
    """The latest answers by key; the key holds the fleet and everything else that was asked."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._asked: dict[Hashable, asyncio.Future[Any]] = {}

    async def ask(
        self,
        key: Hashable,
        question: Callable[[], Awaitable[T]],
        *,
        fresh: float = FRESH_SECONDS,
        meanwhile: float = 0.0,
        keep: bool = True,
    ) -> Answer[T]:
        """Who asks while the same is asked already shares its answer; without `keep` nobody else does. One
        from before that is no older than `meanwhile` seconds is given at once, while the next one is asked
        for: nobody waits for it. Raises the question's Problem where there is no answer from before."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < fresh:
            return Answer(kept[1], time.monotonic() - kept[0])
        running = self._asked.get(key)
        if running is None:
            running = self._asked[key] = asyncio.ensure_future(question())
            running.add_done_callback(lambda done: self._ended(key, done, keep))
        if kept is not None and time.monotonic() - kept[0] < meanwhile:
            return Answer(kept[1], time.monotonic() - kept[0])
        try:
            value: T = await asyncio.shield(running)
        except Problem as problem:
            if kept is None or problem.code not in AWAY:
                raise
            return Answer(kept[1], time.monotonic() - kept[0], problem)
        return Answer(value)

    def _ended(self, key: Hashable, done: asyncio.Future[Any], keep: bool) -> None:
        self._asked.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return  # that was seen, though whoever asked may have gone
        if keep:
            self._kept[key] = (time.monotonic(), done.result())
            self._kept.move_to_end(key)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
