"""Waiting for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 180.0  # seconds; a machine may be slow, or have much else to do


def await_(what: Callable[[], object], says: Callable[[], str] = str, seconds: float = PATIENCE) -> None:
    """Wait until `what` is true; fails with what `says` says."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"it did not come: {says()}"
        time.sleep(0.05)
