"""Log set-up, and every metric of every role, declared once.

The comment on each metric says what to do when it moves. Labels are few and bounded: stream,
partition, kind, outcome. Logs are written a line a batch or state change, never a line an event.
"""

from __future__ import annotations

import logging
import sys


def configure_logging(role: str, level: str) -> None:
    """Plain one-line logs on standard error, led by time, level and role."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format=f"%(asctime)s %(levelname)-7s {role} %(name)s: %(message)s",
        force=True,
    )
