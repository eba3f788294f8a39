"""The query API in a thread of the test's process, behind a real socket."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from tidegate.api.app import build
from tidegate.local.child import free_port
from tidegate.settings import Settings


@contextmanager
def client_of(settings: Settings, token: str | None, **changed: Any) -> Iterator[httpx.Client]:
    """The API with some settings changed, on a port of its own; asked with `token` if one is given."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    own = dataclasses.replace(settings, api_listen=f"127.0.0.1:{free_port()}", **changed)
    with serve(own) as url:
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            yield client


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The API in a thread of its own; gives its URL."""
    host, port = settings.api_listen.split(":")
    config = uvicorn.Config(
        build(settings), host=host, port=int(port), log_config=None, ws="none", timeout_keep_alive=75
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://{settings.api_listen}"
    finally:
        server.should_exit = True
        thread.join()
