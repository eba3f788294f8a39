"""Daemon threads that run jobs: a request that hangs must not hold up the end of the process."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

Job = Callable[[], Any]
Done = Callable[[Any], None]  # gets the job's result, or the exception that it ended in


class Threads:
    """`submit` from anywhere; the outcome comes into `outcomes` as a call to be made by who reads it."""

    def __init__(self, name: str, count: int, outcomes: SimpleQueue[Callable[[], None]]) -> None:
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._outcomes = outcomes
        self._threads = [Thread(target=self._run, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def stop(self) -> None:
        """End the threads behind the jobs that are queued, without waiting for it."""
        for _ in self._threads:
            self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                result = job()
            except Exception as error:  # handed to who asked, who decides what it means
                result = error
            self._outcomes.put(_call(done, result))


def _call(done: Done, result: Any) -> Callable[[], None]:
    return lambda: done(result)
