"""Answers that several ask for: one question at a time, kept or not."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.api import answer_cache
from tidegate.api.answer_cache import AnswerCache, bytes_of
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


class Rows(list[Any]):
    """Tells when it has gone."""


def refers(kept: list[weakref.ref[Rows]]) -> int:
    gc.collect()
    return sum(each() is not None for each in kept)


async def test_what_nobody_is_given_any_more_is_not_kept() -> None:
    """Answers of a second stayed until two hundred and fifty-five others came, a gigabyte of busy clients."""
    cache, made = AnswerCache(), []

    async def ask() -> Rows:
        rows = Rows([1])
        made.append(weakref.ref(rows))
        return rows

    for number in range(3):
        await cache.ask(number, ask, fresh=0.05, away=0.0)
    await cache.ask("while another is asked", ask, fresh=0.0, meanwhile=60.0, away=0.0)
    await cache.ask("on a page", ask, fresh=0.0)
    await cache.ask("once", ask, fresh=0.0, away=0.0)
    await asyncio.sleep(0)  # a future goes behind its callbacks
    assert refers(made) == 5
    await asyncio.sleep(0.1)
    assert refers(made) == 2


async def test_an_answer_that_came_anew_stays_its_own_time() -> None:
    cache, asked = AnswerCache(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        return asked

    await cache.ask("a", ask, fresh=0.05, away=0.0)
    assert (await cache.ask("a", ask, fresh=0.0, meanwhile=60.0, away=0.0)).value == 1
    await asyncio.sleep(0.1)
    assert (await cache.ask("a", ask, fresh=60.0, away=0.0)).value == 2


async def test_large_answers_are_kept_up_to_a_size_and_the_largest_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_cache, "MOST_BYTES_OF_ONE", 1 << 20)
    monkeypatch.setattr(answer_cache, "MOST_BYTES", 3 << 20)
    cache, made = AnswerCache(), []

    def of(length: int) -> Any:
        async def ask() -> tuple[str, Rows]:
            rows = Rows(["é" * 100] for _ in range(length))
            made.append(weakref.ref(rows))
            return "query", rows

        return ask

    await cache.ask("small", of(1))
    for number in range(20):
        await cache.ask(number, of(2000), fresh=60.0)
    assert 5 <= refers(made) <= 8  # of half a megabyte each
    assert made[-1]() is not None and made[0]() is None
    await cache.ask("larger than any may be", of(5000), fresh=60.0)
    await asyncio.sleep(0)
    assert not refers(made[-1:])


async def test_an_answer_of_long_ago_is_none_while_clickhouse_is_away() -> None:
    cache = AnswerCache()
    answers: list[Any] = [1, Problem("store_away"), Problem("store_away")]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Problem):
            raise answer
        return int(answer)

    await cache.ask("a", ask, fresh=0)
    await asyncio.sleep(0.01)
    assert (await cache.ask("a", ask, fresh=0)).value == 1
    with pytest.raises(Problem, match="store_away"):
        await cache.ask("a", ask, fresh=0, away=0.001)


def test_sizes_are_about_those_of_the_memory() -> None:
    row = ("a MAC", 1.5, None, datetime.now(UTC), ["x" * 1000])
    assert bytes_of([row] * 1000) == sys.getsizeof([row] * 1000) + 1000 * bytes_of(row)
    assert 1000 < bytes_of(row) < 1600
    assert bytes_of({"sites": [{"name": "y" * 5000}], "none": []}) > 5000
