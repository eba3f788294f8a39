"""Logging in, out, and what a browser keeps of a person's choices: theme and fleet."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.dashboard.web import (
    FLEET_COOKIE,
    HEADERS,
    THEME_COOKIE,
    THEMES,
    YEAR,
    Page,
    Sent,
    assets,
    back_to,
    fields_of,
    go,
    render,
    set_cookie,
)
from tidegate.api.problems import Problem
from tidegate.api.sessions import Sessions
from tidegate.login_links import LoginLinks
from tidegate.tokens import READERS, Token, TokenFile

router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    sessions: Sessions = request.app.state.sessions
    if sessions.person(request) is not None:
        return go(next)
    return render(request, None, "login.html", next=back_to(next), refused="")


@router.post("/login")
async def login(request: Request) -> Response:
    fields = await fields_of(request)
    tokens: TokenFile = request.app.state.tokens
    sent = fields.get("token", "").strip()
    token = tokens.lookup(sent)
    refused = "" if token is not None else tokens.refusal(sent)
    if token is not None and token.role not in READERS:
        refused = f"a token of the role {token.role} reads nothing"
    if token is None or refused:
        next = back_to(fields.get("next", "/"))
        return render(request, None, "login.html", status=401, next=next, refused=refused)
    return _begin(request, token, fields.get("next", "/"))


@router.get("/login/link")
def link_page(request: Request, code: str = "") -> Response:
    """A button that uses the link. Whatever only looks at an address, a chat's preview, does not use it."""
    return render(request, None, "login_link.html", code=code)


@router.post("/login/link")
async def use_link(request: Request) -> Response:
    fields = await fields_of(request)
    links: LoginLinks = request.app.state.login_links
    tokens: TokenFile = request.app.state.tokens
    sha256 = links.take(fields.get("code", ""))
    token = None if sha256 is None else tokens.by_hash(sha256)
    if token is None or token.role not in READERS:
        refused = "the link was used already, or is too old"
        return render(request, None, "login.html", status=401, next="/", refused=refused)
    return _begin(request, token, "/")


@router.post("/logout")
def logout(request: Request, sent: Sent) -> Response:
    sessions: Sessions = request.app.state.sessions
    sessions.end(sent.person)
    answer = go("/login")
    answer.delete_cookie(
        sessions.cookie(request), path="/", secure=sessions.secure(request), httponly=True, samesite="lax"
    )
    return answer


@router.post("/theme")
def theme(request: Request, sent: Sent) -> Response:
    if sent["theme"] not in THEMES:
        raise Problem("not_in_enum", "theme", allowed=", ".join(THEMES))
    answer = go(sent["back"])
    set_cookie(request, answer, THEME_COOKIE, sent["theme"], seconds=YEAR, strict=False)
    return answer


@router.post("/fleet")
def fleet(request: Request, sent: Sent) -> Response:
    if sent["fleet"] not in sent.person.fleets:
        raise Problem("not_found", "no such fleet, or not one that you see")
    answer = go("/")
    # Quoted: a header holds no more than Latin-1, and a fleet may be named in any script.
    set_cookie(request, answer, FLEET_COOKIE, quote(sent["fleet"], safe=""), strict=False)
    return answer


@router.get("/static/{name}")
def static(name: str, v: str = "") -> Response:
    found = assets().get(name)
    if found is None:
        raise Problem("not_found")
    headers = HEADERS | {"cache-control": "no-cache"}
    if v == found.mark:
        headers["cache-control"] = f"public, max-age={YEAR}, immutable"
    return Response(found.data, headers=headers, media_type=found.kind)


def _begin(request: Request, token: Token, next: str) -> Response:
    sessions: Sessions = request.app.state.sessions
    answer = go(next)
    # Lax, not Strict: a link in a chat message leads to the page and not to the login.
    name = sessions.cookie(request)
    set_cookie(request, answer, name, sessions.begin(token), seconds=sessions.seconds, strict=False)
    return answer
