"""What an insight call reads where the store does not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from tidegate.api.answer_cache import AnswerCache
from tidegate.api.insight.request import InsightRequest
from tidegate.api.problems import Problem
from tidegate.store.queries import Query


class Answers:
    """A store that answers once, and is away from then on."""

    def __init__(self) -> None:
        self._asked = 0

    async def rows(self, query: Query) -> list[Any]:
        self._asked += 1
        if self._asked > 1:
            raise Problem("store_away")
        return [("1", 17)]


async def test_an_answer_from_before_is_not_given_for_one_of_now() -> None:
    """It was, however old, with nothing that says so: the newest event of yesterday, what was copied then."""
    state = SimpleNamespace(reading=Answers(), answer_cache=AnswerCache(), query_cache=AnswerCache())
    asking = InsightRequest(cast(Request, SimpleNamespace(app=SimpleNamespace(state=state))), "demo", 0.0)
    query = Query("insight_newest", "SELECT 1", {})
    assert await asking.recent(query, seconds=60.0) == [("1", 17)]
    assert await asking.recent(query, seconds=60.0) == [("1", 17)]
    assert await asking.recent(query, seconds=0.0, meanwhile=60.0) == [("1", 17)]
    for _ in range(2):
        with pytest.raises(Problem, match="store_away"):
            await asking.recent(query, seconds=0.0)
