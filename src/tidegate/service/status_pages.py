"""What every role answers about itself: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tidegate.service.asgi import App, Receive, Scope, Send
from tidegate.service.problem import PROBLEM_JSON, encoded
from tidegate.telemetry import RoleMetrics
from tidegate.tokens import TokenFile

log = logging.getLogger(__name__)

Reasons = Callable[[], list[str] | Awaitable[list[str]]]  # why not: an empty list is a yes

Answer = tuple[int, str, bytes]  # status, content type, body

TEXT = "text/plain; charset=utf-8"
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


async def no_such_page(scope: Scope, receive: Receive, send: Send) -> None:
    status = 404 if scope["method"] in ("GET", "HEAD") else 405
    code, title = (
        ("not_found", "Not found") if status == 404 else ("method_not_allowed", "Method not allowed")
    )
    detail = "/healthz, /readyz and /metrics are what there is, for GET"
    await _send(send, (status, PROBLEM_JSON, encoded(code, title, status, detail)))


class StatusPages:
    """A bare ASGI application; what is no page of this kind goes on to `behind`.

    `/healthz` and `/readyz` are 200 with ``ok``, or 503 with one reason a line. A function that raises
    counts as a reason. `/metrics` answers a client on loopback that no proxy speaks for, and any token of
    the file; everybody, where `tokens` is None. `before_scrape` brings the metrics up to date.
    """

    def __init__(
        self,
        role: str,
        *,
        not_ready: Reasons,
        not_alive: Reasons = list,
        tokens: TokenFile | None,
        before_scrape: Callable[[], None] = lambda: None,
        behind: App = no_such_page,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._verdicts = {"/healthz": not_alive, "/readyz": not_ready}
        self._tokens = tokens
        self._before_scrape = before_scrape
        self._metrics = RoleMetrics(role, registry)
        self._behind = behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if path not in self._verdicts and path != "/metrics":
            await self._behind(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            title, detail = "Method not allowed", f"{path} is read with GET"
            await _send(send, (405, PROBLEM_JSON, encoded("method_not_allowed", title, 405, detail)))
        elif path in self._verdicts:
            await _send(send, await _verdict(self._verdicts[path]))
        else:
            await _send(send, self._scrape(scope))

    def _scrape(self, scope: Scope) -> Answer:
        if self._tokens is not None and not may_scrape(scope, self._tokens):
            detail = "from elsewhere than loopback, /metrics asks for a token"
            return 401, PROBLEM_JSON, encoded("unauthorized", "No valid token", 401, detail)
        self._before_scrape()
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        encode, kind = choose_encoder(accept)
        return 200, kind, encode(self._metrics)


def may_scrape(scope: Scope, tokens: TokenFile) -> bool:
    """Whether a client is on this machine itself, or has a token."""
    headers = dict(scope["headers"])
    sent = headers.get(b"authorization", b"")
    if sent[:7].lower() == b"bearer ":
        return tokens.lookup(sent[7:].strip().decode("latin-1")) is not None
    return _is_loopback((scope.get("client") or ("",))[0]) and not FORWARDED & headers.keys()


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


async def _verdict(reasons: Reasons) -> Answer:
    try:
        found = reasons()
        if not isinstance(found, list):
            found = await found
    except asyncio.CancelledError:
        raise
    except Exception as error:  # the question itself failed: that is a no, with its reason
        log.debug("a status page failed", exc_info=True)
        found = [f"{type(error).__name__}: {error}"]
    if found:
        return 503, TEXT, "".join(f"{reason}\n" for reason in found).encode()
    return 200, TEXT, b"ok\n"


async def _send(send: Send, answer: Answer) -> None:
    status, kind, body = answer
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
