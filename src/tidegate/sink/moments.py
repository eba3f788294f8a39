"""Named moments of the protocol at which a test can stop the process. Off in production.

The setting `test_pause_at` names one (``planned``, or ``planned:3`` for the third time it is reached):
there the process stops itself as by SIGSTOP, and whoever watches kills it or lets it go on.
"""

from __future__ import annotations

import os
import signal
from typing import Literal, get_args

from tidegate.errors import UsageError

Moment = Literal["cut", "planned", "fenced", "inserting", "inserted"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
REPLAYED: Literal["replayed"] = "replayed"  # of `tidegate replay`: some frames are acknowledged


class Moments:
    def __init__(self, pause_at: str) -> None:
        name, _, count = pause_at.partition(":")
        if pause_at and (name not in (*MOMENTS, REPLAYED) or (count and not count.isdigit())):
            raise UsageError(f"test_pause_at: {pause_at!r} is none of {', '.join(MOMENTS)}, with :n or not")
        self._name = name
        self._left = int(count or 1)

    def reach(self, moment: Moment | Literal["replayed"]) -> None:
        if moment != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
