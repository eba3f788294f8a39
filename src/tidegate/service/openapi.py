"""What the OpenAPI documents of gateway and api have in common, and the pages that both roles serve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
SECURITY_SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `tidegate token create`"}
}
HEADERS: Schema = {
    "Allow": {"description": "The methods of this path", "schema": {"type": "string"}, "example": "POST"},
    "Retry-After": {
        "description": "Seconds to wait",
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "What to send",
        "schema": {"type": "string", "const": "Bearer"},
        "example": "Bearer",
    },
}


def headers_of(*names: str) -> Schema:
    """References to headers of the document."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def pages(ready: str, codes: Iterable[str], no_such_code: Schema) -> Schema:
    """The paths that need no token. `ready` says what a 200 of /readyz means, `codes` are the problems that
    have a page, `no_such_code` is the answer for any other."""
    names = sorted(map(str, codes))
    problem = _page("problem", "What a problem's code means", {"text/html": TEXT})
    problem["get"]["parameters"] = [
        {
            "name": "code",
            "in": "path",
            "required": True,
            "description": "The `code` of a problem",
            "schema": {"type": "string", "enum": names},
            "example": "not_found",
        }
    ]
    problem["get"]["responses"]["404"] = no_such_code
    metrics = {"text/plain": TEXT, "application/openmetrics-text": TEXT}
    readyz = _page("readyz", ready, {"text/plain": TEXT | {"example": "ok\n"}})
    readyz["get"]["responses"]["503"] = {
        "description": "Not ready; one reason a line",
        "content": {"text/plain": TEXT},
    }
    scrape = _page("metrics", "Metrics for Prometheus, as `Accept` asks", metrics)
    scrape["get"]["security"] = [{}, {"bearer": []}]
    scrape["get"]["responses"]["401"] = {
        "description": "Neither from loopback nor with a token",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return {
        "/healthz": _page("healthz", "The process is alive", {"text/plain": TEXT | {"example": "ok\n"}}),
        "/readyz": readyz,
        "/metrics": scrape,
        "/openapi.json": _page(
            "openapi", "This document", {"application/json": {"schema": {"type": "object"}}}
        ),
        "/docs": _page("docs", "This document for people", {"text/html": TEXT}),
        "/problems/{code}": problem,
    }


TEXT: Schema = {"schema": {"type": "string"}}
TAG = {"name": "state", "description": "How the process is, and what it says of itself"}


def _page(name: str, summary: str, content: Schema) -> Schema:
    return {
        "get": {
            "tags": [TAG["name"]],
            "operationId": name,
            "summary": summary,
            "security": [],
            "responses": {"200": {"description": summary, "content": content}},
        }
    }


def without_titles(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of the names of fields."""
    if isinstance(schema, dict):
        return {
            key: without_titles(value)
            for key, value in schema.items()
            if key != "title" or not isinstance(value, str)
        }
    return [without_titles(item) for item in schema] if isinstance(schema, list) else schema
