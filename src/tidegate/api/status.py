"""What operators and machines ask of the role: /healthz, /readyz, /metrics, and the pages of the problems."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tidegate.api.problems import MEANINGS, Problem
from tidegate.api.reading import Reading
from tidegate.contracts.topics import STREAMS
from tidegate.store.queries import tables_present
from tidegate.web.problem_page import problem_page

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Ready when ClickHouse answers and has the tables."""
    reading: Reading = request.app.state.reading
    reason = ""
    try:
        [[count]] = await reading.rows(tables_present(STREAMS))
        if count < len(STREAMS):
            reason = "clickhouse: the tables are not there yet, run `tidegate migrate`\n"
    except Problem as problem:
        reason = f"clickhouse: {problem.code}\n"
    return Response(reason or "ok\n", 503 if reason else 200, media_type="text/plain")


@router.get("/docs")
def docs(request: Request) -> Response:
    """The OpenAPI document as a page."""
    return Response(request.app.state.page, media_type="text/html")


@router.get("/metrics")
def metrics(request: Request) -> Response:
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"content-type": kind})


@router.get("/problems/{code}")
async def problem(code: str) -> Response:
    meaning = MEANINGS.get(code)
    if meaning is None:
        raise HTTPException(404)
    return problem_page(code, meaning.title, meaning.advice)
