"""The routers of the pages, and the page of an unknown address."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.dashboard import alerts, clients, geo_map, login, overview, pipeline, sites, webhooks
from tidegate.api.dashboard.web import Page, Viewer, failure, render
from tidegate.api.problems import Problem, framework_problem
from tidegate.api.sessions import Sessions

router = APIRouter(route_class=Page, include_in_schema=False)
ROUTERS = (
    login.router,
    overview.router,
    sites.router,
    clients.router,
    alerts.router,
    geo_map.router,
    pipeline.router,
    webhooks.router,
    router,
)
OF_THE_API = ("/api/", "/V2/", "/V5/", "/v2/", "/new/webservice/", "/openapi.json", "/static/")


@router.get("/keys")
def keys(request: Request, person: Viewer) -> Response:
    return render(request, person, "keys.html")


def install(app: FastAPI) -> None:
    """Mount the pages, behind the API's own error handlers: an unknown address is a page for a browser."""
    for each in ROUTERS:
        app.include_router(each)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        if "text/html" not in request.headers.get("accept", "") or path.startswith(OF_THE_API):
            return framework_problem(request, error).response()
        if error.status_code != 404:
            return failure(request, framework_problem(request, error))
        sessions: Sessions = request.app.state.sessions
        person = sessions.person(request)
        if person is None:
            return failure(request, Problem("not_found", "No page is at this address."))
        return render(
            request, person, "unknown.html", status=404, what="page", name="", found=[], sites=[], q=""
        )
