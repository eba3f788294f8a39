"""The report of one verification, for people and for machines."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TextIO

import msgspec

from tidegate.log_format import escaped
from tidegate.verify.balance import SINCE, Finding, PartitionBalance
from tidegate.verify.in_flight import InFlight

TOLD = 20  # findings that are told one by one


@dataclass(frozen=True, slots=True)
class Report:
    """What `tidegate verify` found of the received days `since` to `until`, both inclusive."""

    since: date
    until: date
    partitions: list[PartitionBalance]
    in_flight: list[InFlight] = field(default_factory=list)  # empty where Kafka was not asked or is away
    kafka_is_away: bool = False  # what is in flight is unknown
    accepted_gaps: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balanced(self) -> bool:
        return not self.findings

    def as_json(self) -> bytes:
        partitions = [row._asdict() | {"balanced": row.balanced} for row in self.partitions]
        answer = {
            "balanced": self.balanced,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "seconds": round(self.seconds, 3),
            "partitions": partitions,
            "in_flight": [item._asdict() for item in self.in_flight],
            "kafka_is_away": self.kafka_is_away,
            "accepted_gaps": self.accepted_gaps,
            "findings": [asdict(finding) for finding in self.findings],
        }
        return msgspec.json.format(msgspec.json.encode(answer), indent=2)


PLAIN_WIDTH = 1000  # into a pipe or a file: nothing is cut off and nothing wrapped
COLUMNS = ("stream", "epoch", "partitions", "frames", "lines", "stored", "rejected", "duplicates", "state")
TEXTS = ("stream", "epoch", "state")
NARROW = 100  # columns of a terminal that the table does not fit


def width_of(file: TextIO) -> int:
    """Columns to write for: those of the terminal, or no limit where `file` is none."""
    return shutil.get_terminal_size().columns if file.isatty() else PLAIN_WIDTH


def show(report: Report, say: Callable[[str], None], *, width: int = PLAIN_WIDTH) -> None:
    """The report for people: a row a stream and epoch, or where that is too wide, a paragraph."""
    if report.since != SINCE:
        say(f"Received {report.since} to {report.until}")
    rows = [list(COLUMNS), *_rows(report)]
    if width >= NARROW:
        for text in _table(rows):
            say(text)
    else:
        for row in rows[1:]:
            say(f"{row[0]}: {row[-1]}\n  epoch {row[1]}")
            words = [f"{value} {name}" for name, value in zip(COLUMNS[2:-1], row[2:-1], strict=True)]
            say(textwrap.fill(", ".join(words), width, initial_indent="  ", subsequent_indent="  "))
    if report.in_flight:
        frames = sum(item.frames for item in report.in_flight)
        oldest = max((item.oldest_age or 0.0 for item in report.in_flight), default=0.0)
        say(f"in flight: {frames:,} frames" + (f", the oldest {oldest:.1f} s old" if frames else ""))
        if undecided := sum(item.undecided for item in report.in_flight):
            say(f"behind open transactions: {undecided:,} offsets, which nobody can read until they end")
    if report.kafka_is_away:
        say("in flight: unknown, Kafka does not answer")
    if erased := sum(row.erased + row.rejects_erased for row in report.partitions):
        say(f"rows that were erased on request: {erased:,}")
    if expired := sum(row.expired + row.rejects_expired for row in report.partitions):
        say(f"rows that went at the end of their fleet's retention: {expired:,}")
    if report.accepted_gaps:
        say(f"gaps that an operator accepted: {report.accepted_gaps}")
    show_findings(report, say)
    verdict = "balanced" if report.balanced else f"NOT BALANCED: {len(report.findings)} findings"
    say(f"{verdict} ({report.seconds:.1f} s)")


def show_findings(report: Report, say: Callable[[str], None]) -> None:
    """What does not balance, each with the SQL that shows it."""
    for finding in report.findings[:TOLD]:
        say(f"{escaped(finding.what)}\n  {escaped(finding.sql)};")


def _rows(report: Report) -> Iterator[list[str]]:
    groups: dict[tuple[str, str], list[PartitionBalance]] = {}
    for row in report.partitions:
        groups.setdefault((row.stream, row.epoch), []).append(row)
    for (stream, epoch), rows in groups.items():
        totals = [
            sum(getattr(row, name) for row in rows)
            for name in ("frames", "lines", "stored", "rejects_stored", "duplicates")
        ]
        state = "balanced" if all(row.balanced for row in rows) else "NOT BALANCED"
        yield [stream, epoch, str(len(rows)), *(f"{total:,}" for total in totals), state]


def _table(rows: list[list[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell: texts to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    for row in rows:
        cells = [
            cell.ljust(width) if name in TEXTS else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
