"""The query API in a thread of the test's process, behind a real socket."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tidegate.api.server import server as server_of
from tidegate.local.child import free_port
from tidegate.service.server import listener
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
    listening = listener(settings.api_listen, "api_listen")
    server = server_of(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://{settings.api_listen}"
    finally:
        server.should_exit = True
        thread.join()
