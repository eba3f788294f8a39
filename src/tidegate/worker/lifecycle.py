"""Whether this process goes on, and why it does not."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

SILENT_SECONDS = 60.0  # the longest that one record can honestly take
BEAT_SECONDS = 0.25  # of the freeze detector


class Lifecycle:
    """What the parts of a worker share: `stopping`, and the exit status that goes with it."""

    def __init__(self) -> None:
        self.stopping = False
        self.status = 0
        self._stopped = asyncio.Event()
        self._at_stop: list[Callable[[], None]] = []
        self._beat = time.monotonic()

    def stop(self, reason: str, status: int) -> None:
        """Begin to stop; the first reason counts."""
        if self.stopping:
            return
        self.stopping = True
        self.status = status
        (log.info if status == 0 else log.error)("stopping: %s", reason)
        for action in self._at_stop:
            action()
        self._stopped.set()

    def at_stop(self, action: Callable[[], None]) -> None:
        """Have `action` called when it begins to stop: who waits for something else is to look up."""
        self._at_stop.append(action)

    async def stopped(self) -> None:
        """Wait until it begins to stop."""
        await self._stopped.wait()

    async def guard(self, name: str, task: Coroutine[Any, Any, None]) -> None:
        """A background task that ends or fails takes the process with it."""
        try:
            await task
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self.stopping:
                log.exception("the %s task failed", name)
            self.stop(f"the {name} task failed: {error}", 1)

    def beat(self) -> None:
        """The event loop runs."""
        self._beat = time.monotonic()

    def not_alive(self) -> list[str]:
        """Why only a new process can help; the watchdog ends this one where it still can."""
        silent = time.monotonic() - self._beat
        return [f"the event loop has not run for {silent:.0f} s"] if silent > SILENT_SECONDS else []


class FreezeDetector:
    """Ends a process that stood still for so long that its consumer group may have given it up.

    The event loop can be busy for long with one record while the group's heartbeats go on in a thread of
    their own. When the process itself is frozen (SIGSTOP, a paused machine), every thread is, this one too.

    A thread that wakes four times a second. Calls `on_frozen(seconds)` when it slept `limit` seconds or
    more: from its thread, or from that of a caller of `check` who comes first.
    """

    def __init__(self, limit: float, on_frozen: Callable[[float], None]) -> None:
        self._limit = limit
        self._on_frozen = on_frozen
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="freeze-detector", daemon=True)

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


def end_within(seconds: float, status: int) -> None:
    """End the process with `status` after that time, whatever still runs in it: to be called when all its
    work is done. Where Faust fails while it stops, it leaves a thread behind that no exit would outlast."""

    def end() -> None:
        time.sleep(seconds)
        log.warning("something still runs %g s after the worker stopped: ending without it", seconds)
        logging.shutdown()
        os._exit(status)

    threading.Thread(target=end, name="end", daemon=True).start()
