"""Swagger UI at /docs: the files of the wheel `fastapi-offline`, started by a script of ours.

FastAPI's own page starts it by a script inside the page, which the Content-Security-Policy refuses, and lets
a server elsewhere validate the document.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
START = """\
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
  queryConfigEnabled: false,
});
"""
FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}


@cache
def _file(name: str) -> bytes:
    return START.encode() if name == "start.js" else (files("fastapi_offline") / "static" / name).read_bytes()


def page(title: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        '<link rel="icon" href="/docs/files/favicon.png">'
        '<link rel="stylesheet" href="/docs/files/swagger-ui.css"></head>'
        '<body><noscript>This page needs JavaScript; <a href="/openapi.json">openapi.json</a> is the same for'
        ' programs.</noscript><div id="swagger-ui"></div>'
        '<script src="/docs/files/swagger-ui-bundle.js"></script><script src="/docs/files/start.js"></script>'
        "</body></html>"
    )


def router(title: str) -> APIRouter:
    """`/docs` over `/openapi.json`."""
    made = APIRouter(include_in_schema=False)
    html = page(title)

    @made.get("/docs")
    def docs() -> Response:
        return Response(html, headers=HEADERS, media_type="text/html")

    @made.get("/docs/files/{name}")
    def file(name: str) -> Response:
        kind = "text/javascript" if name == "start.js" else FILES.get(name)
        if kind is None:
            raise HTTPException(404)
        headers = {"cache-control": "no-cache" if name == "start.js" else "public, max-age=86400"}
        return Response(_file(name), headers=headers, media_type=kind)

    return made
