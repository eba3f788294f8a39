"""The gateway as one ASGI application: the bare ingest routes in front, FastAPI for what people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.requests import Request

import tidegate
from tidegate.gateway.body import Receive, Send
from tidegate.gateway.ingest import ROUTES, Ingest
from tidegate.gateway.openapi import document
from tidegate.gateway.problems import MEANINGS, Problem
from tidegate.settings import Settings
from tidegate.web import contract_page
from tidegate.web.problem_page import problem_page

Reasons = Callable[[], list[str]]


class Gateway:
    """The ASGI application. A path of ingest never enters a framework."""

    def __init__(self, ingest: Ingest, pages: FastAPI) -> None:
        self._ingest = ingest
        self._pages = pages

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            stream = ROUTES.get(scope["path"])
            if stream is not None:
                await self._ingest(stream, scope, receive, send)
                return
        await self._pages(scope, receive, send)  # type: ignore[arg-type]


def pages(settings: Settings, not_ready: Reasons, before_scrape: Callable[[], None]) -> FastAPI:
    """Everything but ingest. `not_ready` says why writes would be answered 503, empty if they would not;
    `before_scrape` brings the metrics up to date."""
    app = FastAPI(title="Tidegate gateway", version=tidegate.__version__, openapi_url=None, docs_url=None)
    contract = document(settings)
    page = contract_page.render(contract)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return JSONResponse(contract)

    @app.get("/docs")
    def docs() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        reasons = not_ready()
        text = "".join(f"{reason}\n" for reason in reasons) or "ok\n"
        return Response(text, status_code=503 if reasons else 200, media_type="text/plain")

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        before_scrape()
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": kind})

    @app.get("/problems/{code}")
    async def problem(code: str) -> Response:
        meaning = MEANINGS.get(code)
        if meaning is None:
            raise HTTPException(404)
        return problem_page(code, meaning.title, meaning.advice)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
        body = Problem(error.status_code, code, "").body()
        headers = dict(error.headers or {})
        return Response(body, error.status_code, headers, media_type="application/problem+json")

    return app
