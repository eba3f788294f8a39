"""Who may write: the bearer token of a request, against the file of hashes."""

from __future__ import annotations

from tidegate.gateway.problems import UNAUTHORIZED, Problem
from tidegate.tokens import WRITERS, Token, TokenFile

WRITE = ", ".join(sorted(WRITERS))


def authorize(tokens: TokenFile, header: bytes | None) -> Token | Problem:
    """The token behind an ``Authorization`` header, or a 401 or 403."""
    if header is None or header[:7].lower() != b"bearer ":
        return UNAUTHORIZED
    sent = header[7:].strip().decode("latin-1")
    token = tokens.lookup(sent)
    if token is None:
        return UNAUTHORIZED._replace(detail=tokens.refusal(sent))
    if token.role not in WRITERS:
        return Problem(403, "forbidden", f"role {token.role} may not write: {WRITE} may")
    if not token.fleet:
        return Problem(403, "forbidden", "the token names no fleet to write for")
    return token
