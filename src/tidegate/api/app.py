"""The API as one FastAPI application: the families of endpoints, and the vendor's base path in front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.types import Receive, Scope, Send

import tidegate
from tidegate.api import (
    access_points,
    associations,
    catalogue,
    client_events,
    device_logs,
    events,
    live,
    openapi,
    problems,
    status,
    webhooks,
)
from tidegate.api.answer_cache import AnswerCache
from tidegate.api.dashboard import routes
from tidegate.api.export_slots import Bounds
from tidegate.api.insight import calls as insight
from tidegate.api.live import Live
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.raw_log import RawLog
from tidegate.api.reading import Reading
from tidegate.api.request_counter import RequestCounter
from tidegate.api.sessions import Sessions
from tidegate.api.signing import Signer
from tidegate.api.slow_readers import Paced, TooSlow
from tidegate.api.statistics import calls as statistics
from tidegate.api.streamed_files import Files
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.keyfile import KeyFile
from tidegate.login_links import LoginLinks
from tidegate.service import swagger
from tidegate.settings import Settings
from tidegate.telemetry import API_SLOW_READERS
from tidegate.tokens import TokenFile

VENDOR_BASE = "/new/webservice"
ROUTERS: tuple[APIRouter, ...] = (
    client_events.router,
    associations.router,
    access_points.router,
    device_logs.router,
    events.router,
    catalogue.router,
    statistics.router,
    insight.router,
    live.router,
    webhooks.router,
)
VENDOR_ROUTERS: tuple[APIRouter, ...] = (client_events.router, associations.router, access_points.router)
"""Those whose paths begin with /V2 or /V5: also under the vendor's base path."""


class Application(FastAPI):
    """FastAPI, with an eye on how fast answers are read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        settings: Settings = self.state.settings
        paced = Paced(
            send,
            patience_seconds=settings.http_stall_seconds,
            least_bytes_per_second=settings.api_reader_least_bytes_per_second,
        )
        try:
            await super().__call__(scope, receive, paced)
        except TooSlow:
            API_SLOW_READERS.inc()
            # uvicorn's cycle; to close the connection would wait for the reader
            transport = getattr(getattr(send, "__self__", None), "transport", None)
            if transport is not None:
                transport.abort()


def build(settings: Settings) -> FastAPI:
    """The application. It connects to ClickHouse at the first query and waits out its absence."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.reading.close()
        await app.state.raw_log.close()

    app = Application(
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
    app.state.answer_cache = AnswerCache()
    app.state.query_cache = AnswerCache()  # of its own: many queries must not push out a page's last answer
    app.state.signer = Signer(settings.link_key_path)
    app.state.sessions = Sessions(settings, app.state.tokens, app.state.signer)
    app.state.login_links = LoginLinks(settings.login_links_path)
    app.state.live = Live(settings.api_live_connections)
    app.state.pseudonym_keys = KeyFile(settings.pseudonym_key_path)
    app.state.raw_log = RawLog(settings)
    app.state.files = Files(
        Bounds(settings.api_exports, settings.api_exports_per_fleet, settings.api_exports_per_token)
    )
    app.state.webhooks = WebhookAdmin(settings)
    app.state.lookups = LookupFiles(settings.lookups_dir)
    for router in ROUTERS:
        app.include_router(router, responses=problems.responses())
    for router in VENDOR_ROUTERS:
        app.include_router(router, prefix=VENDOR_BASE, include_in_schema=False)
    app.include_router(status.router)
    app.include_router(swagger.router(app.title))
    problems.install(app)
    routes.install(app)
    document = openapi.document(app, VENDOR_BASE)
    app.openapi = lambda: document  # type: ignore[method-assign]
    app.add_middleware(RequestCounter)
    return app
