"""What `tidegate up` says: on a terminal a line of progress that renews itself, else plain logs."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

QUIET_SECONDS = 30.0  # between lines of progress where there is no terminal


class Console:
    """Messages go to standard output; without a terminal the roles' logs go to standard error."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at = 0.0 if self._terminal else time.monotonic()
        self._line = False  # whether the cursor stands behind a line of progress
        self._read: dict[Path, int] = {}  # how far a log was passed on

    def say(self, text: str) -> None:
        if not text:
            return
        if self._line:
            sys.stdout.write("\r\x1b[K")
            self._line = False
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Show how it goes: once a second in place, or seldom as a line of its own."""
        now = time.monotonic()
        if now - self._shown_at < (1.0 if self._terminal else QUIET_SECONDS):
            return
        self._shown_at = now
        if not self._terminal:
            self.say(text)
            return
        width = shutil.get_terminal_size().columns
        sys.stdout.write("\r\x1b[K" + f"{time.strftime('%H:%M:%S')} {text}"[: width - 1])
        sys.stdout.flush()
        self._line = True

    def follow(self, logs: Iterable[Path]) -> None:
        """Pass on what the roles logged since the last call. On a terminal their files keep it."""
        if self._terminal:
            return
        for path in logs:
            try:
                with path.open("rb") as log:
                    log.seek(self._read.get(path, 0))
                    data = log.read()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole)
                sys.stderr.buffer.write(whole)
                sys.stderr.buffer.flush()
