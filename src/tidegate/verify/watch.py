"""One line a look, for `verify --watch`: what came in, what became of it, and whether it all adds up."""

from __future__ import annotations

from datetime import datetime

from tidegate.verify.report import Report


def line(report: Report, now: datetime) -> str:
    """For example::

    12:00:04  balanced  1,204,000 lines = 1,191,946 stored + 12,054 rejected + 0 duplicates, 3 frames …
    """
    lines = sum(row.lines for row in report.partitions)
    stored = sum(row.stored for row in report.partitions)
    rejected = sum(row.rejects_stored for row in report.partitions)
    duplicates = sum(row.duplicates for row in report.partitions)
    frames = sum(item.frames for item in report.in_flight)
    oldest = max((item.oldest_age or 0.0 for item in report.in_flight), default=0.0)
    flying = f", {frames:,} frames in flight" if report.in_flight else ""
    if undecided := sum(item.undecided for item in report.in_flight):
        flying += f", {undecided:,} offsets behind open transactions"
    if report.kafka_is_away:
        flying = ", in flight unknown"
    if frames:
        flying += f", the oldest {oldest:.0f} s"
    verdict, sign = ("balanced", "=") if report.balanced else ("NOT BALANCED", "≠")
    return (
        f"{now:%H:%M:%S}  {verdict}  {lines:,} lines {sign} {stored:,} stored + {rejected:,} rejected"
        f" + {duplicates:,} duplicates{flying}"
    )


def away(reason: object, now: datetime) -> str:
    """The line for a look that got no answer: nothing is said of the balance then."""
    return f"{now:%H:%M:%S}  no answer  {reason}"
