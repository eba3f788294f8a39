"""Who asks, and what they may see: the bearer token of a request against the file of hashes.

A browser that is logged in to the dashboard reads without one, so that a page's links to exports work; the
cookie opens calls with GET alone, and none that another site's page made the browser send.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from tidegate.api.problems import Problem, unauthorized
from tidegate.api.sessions import Sessions, reads_across_sites
from tidegate.tokens import EDITORS, READERS, Role, TokenFile

bearer = HTTPBearer(auto_error=False, description="A token of `tidegate token create`")

NOT_VIEWERS = READERS - {Role.VIEWER}
EVERYBODY = READERS | {Role.INGEST}


@dataclass(frozen=True, slots=True)
class Reader:
    """A token that was let through. `fleet` None sees every fleet."""

    name: str
    role: Role
    fleet: str | None


def allow(roles: frozenset[Role]) -> Callable[..., Coroutine[Any, Any, Reader]]:
    """A dependency that lets the roles through: 401 without a known token or with one that has
    expired, 403 for another role."""

    async def reader(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Reader:
        tokens: TokenFile = request.app.state.tokens
        if credentials is None:
            found = _logged_in(request)
            if found is None:
                raise unauthorized("no token")
            if found.role not in roles:
                raise _forbidden(found.role, roles)
            request.state.reader = found
            return found
        token = tokens.lookup(credentials.credentials)
        if token is None:
            raise unauthorized(tokens.refusal(credentials.credentials))
        if token.role not in roles:
            raise _forbidden(token.role, roles)
        if not token.fleet and not token.all_fleets:
            raise Problem("forbidden", "the token names no fleet to read from")
        found = Reader(token.name, token.role, None if token.all_fleets else token.fleet)
        request.state.reader = found
        return found

    return reader


def _logged_in(request: Request) -> Reader | None:
    if request.method != "GET" or reads_across_sites(request):
        return None
    sessions: Sessions = request.app.state.sessions
    person = sessions.person(request)
    return None if person is None else Reader(person.name, person.role, person.fleet)


def still_reads(request: Request, fleet: str) -> bool:
    """Whether whoever was let in may still read the fleet: for an answer that goes on for long."""
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        tokens: TokenFile = request.app.state.tokens
        token = tokens.lookup(sent.strip())
        return token is not None and token.role in READERS and (token.all_fleets or token.fleet == fleet)
    found = _logged_in(request)
    return found is not None and found.fleet == fleet


def _forbidden(role: Role, roles: frozenset[Role]) -> Problem:
    return Problem("forbidden", f"role {role} may not; {', '.join(sorted(roles))} may")


AnyReader = Annotated[Reader, Depends(allow(READERS))]
NotViewer = Annotated[Reader, Depends(allow(NOT_VIEWERS))]
Editor = Annotated[Reader, Depends(allow(EDITORS))]
Anybody = Annotated[Reader, Depends(allow(EVERYBODY))]
