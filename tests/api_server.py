"""The query API in a thread of the test's process, behind a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tidegate.api.app import build
from tidegate.settings import Settings


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The API in a thread of its own; gives its URL."""
    host, port = settings.api_listen.split(":")
    config = uvicorn.Config(build(settings), host=host, port=int(port), log_config=None, ws="none")
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
