"""life: whether this process goes on, and why it does not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

SILENT_SECONDS = 60.0  # the longest that one record can honestly take


class Life:
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
        """The event loop comes round."""
        self._beat = time.monotonic()

    def not_alive(self) -> list[str]:
        """Why only a new process can help; the watchdog ends this one where it still can."""
        silent = time.monotonic() - self._beat
        return [f"the event loop stands still for {silent:.0f} s"] if silent > SILENT_SECONDS else []
