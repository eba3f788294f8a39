"""pulse: whether this process stood still for so long that its consumer group may have given it up.

The event loop can be busy for long with one record while the group's heartbeats go on in a thread of their
own. When the process itself is frozen (SIGSTOP, a paused machine), every thread is: this one, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BEAT_SECONDS = 0.25


class Pulse:
    """A thread that wakes four times a second. Calls `on_frozen(seconds)` when it slept `limit` seconds or
    more: from its thread, or from that of a caller of `check` who comes first.
    """

    def __init__(self, limit: float, on_frozen: Callable[[float], None]) -> None:
        self._limit = limit
        self._on_frozen = on_frozen
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._last = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def check(self) -> None:
        """To be called before what only a living member may do."""
        self._look(time.monotonic())

    def _look(self, now: float) -> None:
        silent = now - self._last
        if silent >= self._limit and self._thread.is_alive():
            self._on_frozen(silent)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            now = time.monotonic()  # one reading: what it sleeps from here on, the next beat sees
            self._look(now)
            self._last = now
