"""Links in answers: from the public URL of the settings, else from the request itself.

Forwarded headers are not read: anybody can send them.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request


def base(request: Request) -> str:
    """Scheme and host, without a final slash."""
    public: str = request.app.state.settings.public_url
    if public:
        return public.rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}"


def with_path(request: Request, path: str) -> str:
    """A link to `path` that keeps the query of the request as it came."""
    query = request.url.query
    return f"{base(request)}{path}{'?' + query if query else ''}"


def with_query(request: Request, **changed: str) -> str:
    """A link to the same path with some parameters of the query changed."""
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name not in changed]
    return f"{base(request)}{request.url.path}?{urlencode([*pairs, *changed.items()])}"
