"""Answers that several ask for: one question at a time, kept or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidegate.api.answer_cache import AnswerCache
from tidegate.api.problems import Problem


async def test_the_last_answer_is_kept_for_when_clickhouse_is_away() -> None:
    cache = AnswerCache()
    answers: list[Any] = [1, Problem("store_away"), Problem("not_found"), Problem("store_away")]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Problem):
            raise answer
        return int(answer)

    assert (await cache.ask("a", ask, fresh=0)).value == 1
    away = await cache.ask("a", ask, fresh=0)
    assert away.value == 1 and away.problem is not None and away.age > 0
    with pytest.raises(Problem, match="not_found"):
        await cache.ask("a", ask, fresh=0)
    with pytest.raises(Problem, match="store_away"):
        await cache.ask("of another fleet", ask, fresh=0)


async def test_who_asks_the_same_at_the_same_time_shares_the_answer() -> None:
    cache, asked = AnswerCache(), 0
    go_on = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return asked

    waiting = [asyncio.ensure_future(cache.ask("a", ask, fresh=0, keep=False)) for _ in range(5)]
    other = asyncio.ensure_future(cache.ask("b", ask, fresh=0, keep=False))
    while asked < 2:
        await asyncio.sleep(0)
    waiting[0].cancel()  # one that goes takes no answer from the others
    go_on.set()
    assert [(await one).value for one in waiting[1:]] == [2] * 4 and (await other).value == 2
    assert (await cache.ask("a", ask, fresh=60, keep=False)).value == 3  # the first was not kept
    assert (await cache.ask("a", ask, fresh=60)).value == 4
    assert (await cache.ask("a", ask, fresh=60)).value == 4


async def test_nobody_waits_for_what_is_asked_again_meanwhile() -> None:
    cache, asked = AnswerCache(), 0
    go_on = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked > 1:
            await go_on.wait()
        return asked

    assert (await cache.ask("a", ask, fresh=0, meanwhile=60)).value == 1
    for _ in range(2):
        answer = await cache.ask("a", ask, fresh=0, meanwhile=60)
        assert answer.value == 1 and answer.age > 0 and answer.problem is None
    waiting = asyncio.ensure_future(cache.ask("a", ask, fresh=0, meanwhile=0))
    await asyncio.sleep(0)
    assert asked == 2 and not waiting.done()  # one that is too old is waited for, the same one
    go_on.set()
    assert (await waiting).value == 2
    assert (await cache.ask("a", ask, fresh=60)).value == 2


async def test_a_question_that_fails_meanwhile_leaves_the_answer_from_before() -> None:
    cache = AnswerCache()
    answers: list[Any] = [1, Problem("store_away"), 3]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Problem):
            raise answer
        return int(answer)

    for _ in range(2):
        assert (await cache.ask("a", ask, fresh=0, meanwhile=60)).value == 1
        await asyncio.sleep(0.01)
    assert (await cache.ask("a", ask, fresh=0, meanwhile=60)).value == 1
    await asyncio.sleep(0.01)
    assert (await cache.ask("a", ask, fresh=60)).value == 3
