"""What every page has: its frame, its headers, who looks at it, and an answer for whatever goes wrong."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tidegate.api.dashboard import text
from tidegate.api.problems import MEANINGS, Problem
from tidegate.api.sessions import FLEET_COOKIE, Person, Sessions

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
MOST_FORM_BYTES = 16_384
THEMES = ("auto", "dark", "light")
THEME_COOKIE = "tidegate_theme"
YEAR = 365 * 86_400
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer browsers send `Origin: null` with forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), camera=(), microphone=()",
    "cache-control": "no-store",
}
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class LoginNeeded(Exception):
    """Nobody is logged in."""


class Asset:
    """A file of `static`: its bytes, and a mark of them in its address."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.kind = KINDS[path.suffix]
        self.mark = hashlib.sha256(self.data).hexdigest()[:12]


@cache
def assets() -> dict[str, Asset]:
    return {path.name: Asset(path) for path in sorted((HERE / "static").iterdir()) if path.suffix in KINDS}


def asset(name: str) -> str:
    """The address of a file of `static`."""
    return f"/static/{name}?v={assets()[name].mark}"


def query(**values: Any) -> str:
    """A query string of what is not None."""
    return urlencode({name: value for name, value in values.items() if value is not None})


@cache
def templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=text.shown,
        auto_reload=False,
    )
    for each in (
        *(text.blank, text.clock, text.count, text.day_and_clock, text.iso),
        *(text.milliseconds, text.percent, text.seconds),
    ):
        found.filters[each.__name__] = each
    found.filters["path"] = lambda value: quote(str(value), safe="")
    found.globals.update(asset=asset, query=query)
    return found


def render(
    request: Request, person: Person | None, template: str, *, status: int = 200, **context: Any
) -> Response:
    """A whole page."""
    sessions: Sessions = request.app.state.sessions
    theme = request.cookies.get(THEME_COOKIE, "")
    theme = theme if theme in THEMES else "auto"
    body = (
        templates()
        .get_template(template)
        .render(
            person=person,
            csrf=sessions.csrf(person) if person else "",
            theme=theme,
            next_theme=THEMES[(THEMES.index(theme) + 1) % len(THEMES)],
            here=here(request),
            **context,
        )
    )
    return Response(body, status, HEADERS, media_type="text/html; charset=utf-8")


def here(request: Request) -> str:
    """Path and query of the request, as a link back to it."""
    raw = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"]) + (f"?{raw}" if raw else "")


def back_to(path: str) -> str:
    """A path of this place that a redirection may lead to; `/` instead of an address elsewhere."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or "\\" in path:
        return "/"
    parts = urlsplit(path)
    if parts.scheme or parts.netloc or any(ord(each) <= 32 for each in path):
        return "/"
    return path


def go(path: str) -> Response:
    """Redirect to a path of this place, with GET."""
    return RedirectResponse(back_to(path), 303, HEADERS)


def logged_in(request: Request) -> Person:
    """Who looks at the page. Raises LoginNeeded."""
    sessions: Sessions = request.app.state.sessions
    person = sessions.person(request)
    if person is None:
        raise LoginNeeded
    request.state.person = person
    return person


Viewer = Annotated[Person, Depends(logged_in)]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that somebody who is logged in sent from a page of this place."""

    person: Person
    fields: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "")


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises Problem for one that another site's page sent, or that is too long."""
    sessions: Sessions = request.app.state.sessions
    if not sessions.from_here(request):
        raise Problem("forbidden", "the form was not sent from a page of this place")
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise Problem("bad_format", "not a form", allowed="application/x-www-form-urlencoded")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_FORM_BYTES:
            raise Problem("out_of_range", "the form is too long", allowed=f"{MOST_FORM_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=64))
    except ValueError as error:
        raise Problem("bad_format", "not a form", allowed="application/x-www-form-urlencoded") from error


async def form(request: Request, person: Viewer) -> Form:
    fields = await fields_of(request)
    sessions: Sessions = request.app.state.sessions
    if not sessions.is_csrf(person, fields.get("csrf", "")):
        raise Problem("forbidden", "the form is of another session: load the page again")
    return Form(person, fields)


Sent = Annotated[Form, Depends(form)]


class Page(APIRoute):
    """A route whose refusals are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except LoginNeeded:
                if request.method == "GET":
                    return go("/login?" + urlencode({"next": here(request)}))
                return failure(request, Problem("forbidden", "you are logged out: log in and try again"))
            except RequestValidationError as error:
                first = error.errors()[0]
                name = str(first["loc"][-1])
                return failure(request, Problem("bad_format", f"{name}: {first['msg']}"))
            except Problem as problem:
                return failure(request, problem)

        return handle


def failure(request: Request, problem: Problem) -> Response:
    """The page of a refusal."""
    sessions: Sessions = request.app.state.sessions
    person = sessions.person(request)
    answer = render(
        request,
        person,
        "problem.html",
        status=problem.status,
        title=MEANINGS[problem.code].title,
        detail=problem.detail or MEANINGS[problem.code].advice,
        code=problem.code,
        retry=problem.code in ("store_away", "log_away", "lookups_away"),
    )
    answer.headers.update(problem.headers)
    return answer


def set_cookie(
    request: Request, answer: Response, name: str, value: str, *, seconds: int | None = None, strict: bool
) -> None:
    sessions: Sessions = request.app.state.sessions
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=sessions.secure(request),
        httponly=True,
        samesite="strict" if strict else "lax",
    )


__all__ = ["FLEET_COOKIE", "Form", "Page", "Sent", "Viewer", "failure", "go", "render"]
