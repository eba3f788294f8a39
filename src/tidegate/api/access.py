"""Who asks, and what they may see: the bearer token of a request against the file of hashes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from tidegate.api.problems import Problem, unauthorized
from tidegate.tokens import READERS, Role, TokenFile

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
    """A dependency that lets the roles through: 401 without a known token, 403 for another role."""

    async def reader(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> Reader:
        tokens: TokenFile = request.app.state.tokens
        token = tokens.lookup(credentials.credentials) if credentials else None
        if token is None:
            raise unauthorized()
        if token.role not in roles:
            raise Problem("forbidden", f"role {token.role} may not; {', '.join(sorted(roles))} may")
        if not token.fleet and not token.all_fleets:
            raise Problem("forbidden", "the token names no fleet to read from")
        return Reader(token.name, token.role, None if token.all_fleets else token.fleet)

    return reader


AnyReader = Annotated[Reader, Depends(allow(READERS))]
NotViewer = Annotated[Reader, Depends(allow(NOT_VIEWERS))]
Anybody = Annotated[Reader, Depends(allow(EVERYBODY))]
