"""What the role says of itself: whether it is ready, the pages of problems."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from tidegate.api.problems import MEANINGS, Problem
from tidegate.api.reading import Reading
from tidegate.contracts.topics import STREAMS
from tidegate.service.problem_page import problem_page
from tidegate.store.queries import tables_present

router = APIRouter(include_in_schema=False)


async def not_ready(app: FastAPI) -> list[str]:
    """Why not: ready when ClickHouse answers and has the tables."""
    reading: Reading = app.state.reading
    try:
        [[count]] = await reading.rows(tables_present(STREAMS))
    except Problem as problem:
        return [f"clickhouse: {problem.code}"]
    if count < len(STREAMS):
        return ["clickhouse: the tables are not there yet, run `tidegate migrate`"]
    return []


@router.get("/problems/{code}")
async def problem(code: str) -> Response:
    return problem_page(code, MEANINGS)
