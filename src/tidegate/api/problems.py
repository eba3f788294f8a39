"""What a reader can be refused for, and the one shape of it: RFC 9457 `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from tidegate.service import problem
from tidegate.service.problem import PROBLEM_JSON
from tidegate.service.refusals import REFUSALS

SHORT = 80  # characters of a value that a problem quotes


class Meaning(NamedTuple):
    status: int
    title: str
    advice: str


MEANINGS: dict[str, Meaning] = {
    "missing_parameter": Meaning(400, "Required parameter missing", "`path` names the parameter."),
    "wrong_type": Meaning(422, "Wrong type", "`allowed` names the type."),
    "not_in_enum": Meaning(422, "Not an allowed value", "`allowed` lists the values."),
    "out_of_range": Meaning(422, "Out of range", "`allowed` names the range."),
    "bad_format": Meaning(422, "Malformed value", "`allowed` names the format."),
    "unauthorized": Meaning(401, "No valid token", "Send `Authorization: Bearer <token>`."),
    "forbidden": Meaning(403, "Not allowed", "The token's role may not make this call."),
    "not_found": Meaning(404, "Not found", "Nothing of that name in the token's fleet."),
    "conflict": Meaning(409, "Not in this state", "What was asked for is over."),
    "method_not_allowed": Meaning(405, "Method not allowed", "The `Allow` header lists the methods."),
    "query_too_large": Meaning(422, "Too many rows", "Ask for less: a shorter time, a smaller limit."),
    "query_memory": Meaning(
        503, "The query needs too much memory", "Ask for less: a shorter time, a smaller limit."
    ),
    "query_timeout": Meaning(504, "The query takes too long", "Ask for less: a shorter time, more filters."),
    "exports_busy": Meaning(
        503,
        "Too many exports at once",
        "`detail` says whose share is taken. Ask again after `Retry-After` seconds.",
    ),
    "live_busy": Meaning(503, "Too many follow at once", "Come back after `Retry-After` seconds."),
    "lookups_away": Meaning(503, "Lookup files away", "Ask again after `Retry-After` seconds."),
    "webhooks_away": Meaning(
        503, "Webhook file away", "The api cannot use `webhooks_file`: its log says why."
    ),
    "log_away": Meaning(503, "Kafka away", "Ask again after `Retry-After` seconds."),
    "store_away": Meaning(503, "ClickHouse away", "Ask again after `Retry-After` seconds."),
    **{code: Meaning(refusal.status, refusal.title, refusal.advice) for code, refusal in REFUSALS.items()},
}
"""Every code, with the status that it is answered with."""


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "path", "found", "allowed"],
    "properties": {
        "type": {"type": "string", "description": "Path of a page that explains the code"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(MEANINGS)},
        "path": {"type": "string", "description": "The parameter; empty for the whole request"},
        "found": {"type": "string", "description": "What stood there, shortened"},
        "allowed": {"type": "string", "description": "What may stand there"},
    },
}
"""The shape, as the component `Problem` of the OpenAPI document."""


def responses() -> dict[int | str, dict[str, Any]]:
    """The refusals of every call, for the OpenAPI document: a status with its codes."""
    statuses = sorted({meaning.status for meaning in MEANINGS.values()} - {405})
    return {
        status: {
            "description": "; ".join(m.title for m in MEANINGS.values() if m.status == status),
            "content": {
                PROBLEM_JSON: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        code: {"value": Problem(code).body()}
                        for code, meaning in MEANINGS.items()
                        if meaning.status == status
                    },
                }
            },
        }
        for status in statuses
    }


class Problem(Exception):
    """A refusal on its way to the answer."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        path: str = "",
        found: str = "",
        allowed: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.path = path
        self.found = found if len(found) <= SHORT else found[: SHORT - 1] + "…"
        self.allowed = allowed
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return MEANINGS[self.code].status

    def body(self) -> dict[str, object]:
        meaning = MEANINGS[self.code]
        return problem.document(
            self.code,
            meaning.title,
            meaning.status,
            self.detail or meaning.advice,
            path=self.path,
            found=self.found,
            allowed=self.allowed,
        )

    def response(self) -> Response:
        return Response(msgspec.json.encode(self.body()), self.status, self.headers, media_type=PROBLEM_JSON)


def unauthorized(detail: str) -> Problem:
    return Problem("unauthorized", detail, headers={"www-authenticate": "Bearer"})


def install(app: FastAPI) -> None:
    """Answer every refusal of the app in this shape."""

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _of_validation(error).response()

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        return framework_problem(request, error).response()

    @app.exception_handler(Exception)
    async def crashed(request: Request, error: Exception) -> Response:
        return Problem("internal").response()  # starlette logs the traceback


def framework_problem(request: Request, error: HTTPException) -> Problem:
    """What the framework refuses: no such path, no such method."""
    headers = dict(error.headers or {})
    if error.status_code == 405:  # starlette names the methods of one route, and a path may have several
        headers["Allow"] = ", ".join(_methods(request))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
    detail = "no such path: `/openapi.json` lists what is here" if code == "not_found" else ""
    return Problem(code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """What the path of a request takes."""
    return [
        method
        for method in ("GET", "POST", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _of_validation(error: RequestValidationError) -> Problem:
    """The first of the errors: missing ones before invalid ones, since a 400 comes before a 422."""
    errors: list[Any] = sorted(error.errors(), key=lambda each: each["type"] != "missing")
    first = errors[0]
    path = str(first["loc"][1]) if len(first["loc"]) > 1 else str(first["loc"][0])
    kind = first["type"]
    if kind == "missing":
        return Problem("missing_parameter", f"{path} is required", path=path, allowed="a value")
    context = first.get("ctx", {})
    allowed = str(context.get("allowed") or context.get("expected") or "")
    if kind == "out_of_range" or kind.startswith(("greater_than", "less_than")):
        code, allowed = "out_of_range", allowed or first["msg"].removeprefix("Input should be ")
    elif kind in ("literal_error", "enum"):
        code = "not_in_enum"
    elif kind == "bad_format":
        code = "bad_format"
    else:
        code, allowed = "wrong_type", allowed or _type_of(kind)
    found = first.get("input")
    return Problem(
        code,
        f"{path} is not {allowed}" if allowed else first["msg"],
        path=path,
        found="" if found is None else str(found),
        allowed=allowed,
    )


def _type_of(kind: str) -> str:
    return {
        "int_parsing": "an integer",
        "int_from_float": "an integer",
        "int_parsing_size": "an integer",
    }.get(kind, "")
