"""The status pages are read, and nothing else: every other method is told so."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.service.status_pages import StatusPages


async def nothing_behind(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("it went on to what is behind the pages")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405), ("TRACE", 405)]
)
async def test_a_page_is_read_and_any_other_method_is_a_405(path: str, method: str, status: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pages = StatusPages("gateway", not_ready=list, tokens=None, behind=nothing_behind)
    scope: Any = {"type": "http", "method": method, "path": path, "headers": [], "client": ("127.0.0.1", 1)}
    await pages(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == status
    assert (b"allow", b"GET, HEAD") in sent[0]["headers"] or status == 200
