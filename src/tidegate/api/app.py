"""The API as one FastAPI application: the families of endpoints, and the vendor's base path in front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

import tidegate
from tidegate.api import (
    access_points,
    associations,
    catalogue,
    client_events,
    device_logs,
    events,
    openapi,
    problems,
    statistics,
    status,
)
from tidegate.api.counting import Counting
from tidegate.api.files import Files
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.reading import Reading
from tidegate.settings import Settings
from tidegate.tokens import TokenFile
from tidegate.web import contract_page

VENDOR_BASE = "/new/webservice"
ROUTERS: tuple[APIRouter, ...] = (
    client_events.router,
    associations.router,
    access_points.router,
    device_logs.router,
    events.router,
    catalogue.router,
    statistics.router,
)
VENDOR_ROUTERS: tuple[APIRouter, ...] = (client_events.router, associations.router, access_points.router)
"""Those whose paths begin with /V2 or /V5: also under the vendor's base path."""


def build(settings: Settings) -> FastAPI:
    """The application. It connects to ClickHouse at the first query and waits out its absence."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.reading.close()

    app = FastAPI(
        title="Tidegate query API",
        version=tidegate.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.tokens = TokenFile(settings.tokens_path)
    app.state.reading = Reading(settings)
    app.state.files = Files(settings.api_exports)
    app.state.lookups = LookupFiles(settings.lookups_dir)
    for router in ROUTERS:
        app.include_router(router, responses=problems.responses())
    for router in VENDOR_ROUTERS:
        app.include_router(router, prefix=VENDOR_BASE, include_in_schema=False)
    app.include_router(status.router)
    problems.install(app)
    document = openapi.document(app, VENDOR_BASE)
    app.openapi = lambda: document  # type: ignore[method-assign]
    app.state.page = contract_page.render(document)
    app.add_middleware(Counting)
    return app
