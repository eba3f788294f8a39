"""Log formats that escape what breaks, colours or turns a line around: no client writes a line of its own.

A message is one line. The lines of a traceback, whose last one may quote what a client sent, are indented
behind a bar, so that none of them reads as a message. As JSON a message with its traceback is one object on
one line, of ASCII alone.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

BAR = "    | "
_UNSAFE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed, of which C1 has terminal sequences too
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # directions, separators, signs without a width
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_IN_LINE = re.compile(f"[{_UNSAFE}\t\n]")


def escaped(text: str) -> str:
    """One line, of signs that are seen: the others as Python writes them."""
    return _IN_LINE.sub(_written, text)


class LineFormatter(logging.Formatter):
    """One line a message, and tracebacks behind it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        return _indented(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, role, logger, message, and where there is one
    `exception`, the traceback."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        # ASCII: what breaks or turns a line around is an escape of JSON's.
        return json.dumps(document)


def _indented(text: str) -> str:
    return "\n".join(BAR + _IN_TEXT.sub(_written, line) for line in text.split("\n"))


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
