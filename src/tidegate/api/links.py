"""Links in answers: from the public URL of the settings, else from a loopback Host of the request.

Anybody can send any Host and any forwarded header, and a link leads whoever follows it, with the token, to
where it says. So another Host makes links relative, which a client resolves against the URL that it asked.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from starlette.requests import Request

_LOOPBACK = re.compile(
    r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE
)


def base(request: Request) -> str:
    """Scheme and host, without a final slash; '' where the request's Host is not to be trusted."""
    public: str = request.app.state.settings.public_url
    if public:
        return public.rstrip("/")
    hosts = request.headers.getlist("host")
    if len(hosts) == 1 and _LOOPBACK.fullmatch(hosts[0]):
        return f"{request.scope['scheme']}://{hosts[0]}"
    return ""


def path(request: Request) -> str:
    """The path of the request, escaped. Starlette's own is put together from the Host, whatever it is."""
    return quote(request.scope["path"], safe="/:@!$&'()*+,;=-._~")


def with_path(request: Request, path: str) -> str:
    """A link to `path` that keeps the query of the request as it came."""
    query = request.scope["query_string"].decode("latin-1")
    return f"{base(request)}{path}{'?' + query if query else ''}"


def with_query(request: Request, **changed: str) -> str:
    """A link to the same path with some parameters of the query changed."""
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name not in changed]
    return f"{base(request)}{path(request)}?{urlencode([*pairs, *changed.items()])}"
