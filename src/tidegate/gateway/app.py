"""The gateway as one ASGI application: the bare ingest routes in front, FastAPI for what people read."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

import tidegate
from tidegate.gateway.ingest import ROUTES, Ingest
from tidegate.gateway.openapi import document
from tidegate.gateway.problems import MEANINGS, Problem
from tidegate.service import swagger
from tidegate.service.asgi import App, Receive, Scope, Send
from tidegate.service.problem_page import problem_page
from tidegate.settings import Settings


class Gateway:
    """The ASGI application. A path of ingest never enters a framework."""

    def __init__(self, ingest: Ingest, pages: App) -> None:
        self._ingest = ingest
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            stream = ROUTES.get(scope["path"])
            if stream is not None:
                await self._ingest(stream, scope, receive, send)
                return
        await self._pages(scope, receive, send)


def pages(settings: Settings) -> FastAPI:
    """The contract and what explains it."""
    app = FastAPI(title="Tidegate gateway", version=tidegate.__version__, openapi_url=None, docs_url=None)
    contract = document(settings)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return JSONResponse(contract)

    app.include_router(swagger.router("Tidegate gateway"))

    @app.get("/problems/{code}")
    async def problem(code: str) -> Response:
        return problem_page(code, MEANINGS)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
        body = Problem(error.status_code, code, "").body()
        headers = dict(error.headers or {})
        return Response(body, error.status_code, headers, media_type="application/problem+json")

    return app
