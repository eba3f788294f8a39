"""The trace that a request or a record is part of: W3C's `traceparent`, which stands in a header of either.

Whoever does not trace ignores it, and so does a reader who finds anything else there: it is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import AnyStr, NamedTuple

TRACEPARENT = "traceparent"
LONGEST = 512  # bytes: versions to come may say more behind the four fields
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


class TraceContext(NamedTuple):
    """A span of somebody's trace."""

    trace_id: int  # 128 bits, not 0
    span_id: int  # 64 bits, not 0
    sampled: bool  # whether its spans are kept


def parse_traceparent(value: bytes) -> TraceContext | None:
    """None for what is not in the W3C's form."""
    found = _FORM.fullmatch(value) if len(value) <= LONGEST else None
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    context = TraceContext(int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & 1))
    return context if context.trace_id and context.span_id else None


def write_traceparent(context: TraceContext) -> bytes:
    """The inverse of parse_traceparent."""
    return b"00-%032x-%016x-%02x" % context


def context_of(headers: Iterable[tuple[AnyStr, bytes | None]] | None, name: AnyStr) -> TraceContext | None:
    """The context in the headers, if there is one: a second header of that name makes both void."""
    found = [value for one, value in headers or () if one == name]
    return parse_traceparent(found[0]) if len(found) == 1 and found[0] is not None else None
