"""A thread between enter and exit."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Runs `_run` in a thread of its own. Exit sets `_stopping` and waits `stop_seconds` for its end."""

    def __init__(self, name: str, *, stop_seconds: float) -> None:
        self._stopping = threading.Event()
        self._stop_seconds = stop_seconds
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(self._stop_seconds)

    @abstractmethod
    def _run(self) -> None: ...
