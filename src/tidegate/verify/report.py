"""The report of one verification, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date

import msgspec
from rich.console import Console
from rich.table import Table

from tidegate.verify.books import SINCE, Books, Finding
from tidegate.verify.in_flight import InFlight

TOLD = 20  # findings that are told one by one


@dataclass(frozen=True, slots=True)
class Report:
    since: date
    until: date
    books: list[Books]
    in_flight: list[InFlight] = field(default_factory=list)  # empty where Kafka was not asked or is away
    accepted_gaps: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balanced(self) -> bool:
        return not self.findings

    def as_json(self) -> bytes:
        books = [row._asdict() | {"balanced": row.balanced} for row in self.books]
        answer = {
            "balanced": self.balanced,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "seconds": round(self.seconds, 3),
            "partitions": books,
            "in_flight": [item._asdict() for item in self.in_flight],
            "accepted_gaps": self.accepted_gaps,
            "findings": [asdict(finding) for finding in self.findings],
        }
        return msgspec.json.format(msgspec.json.encode(answer), indent=2)


def show(report: Report, console: Console) -> None:
    """The report for people: a row a stream and epoch."""
    table = Table(title=f"Received {report.since} to {report.until}" if report.since != SINCE else None)
    for name in (
        "stream",
        "epoch",
        "partitions",
        "frames",
        "lines",
        "stored",
        "rejected",
        "duplicates",
        "books",
    ):
        table.add_column(name, justify="left" if name in ("stream", "epoch", "books") else "right")
    groups: dict[tuple[str, str], list[Books]] = {}
    for row in report.books:
        groups.setdefault((row.stream, row.epoch), []).append(row)
    for (stream, epoch), rows in groups.items():
        totals = [
            sum(getattr(row, name) for row in rows)
            for name in ("frames", "lines", "stored", "rejects_stored", "duplicates")
        ]
        state = "balanced" if all(row.balanced for row in rows) else "NOT BALANCED"
        table.add_row(stream, epoch, str(len(rows)), *(f"{total:,}" for total in totals), state)
    console.print(table)
    if report.in_flight:
        frames = sum(item.frames for item in report.in_flight)
        oldest = max((item.oldest_age or 0.0 for item in report.in_flight), default=0.0)
        console.print(
            f"in flight: {frames:,} frames" + (f", the oldest {oldest:.1f} s old" if frames else "")
        )
    if report.accepted_gaps:
        console.print(f"gaps that an operator accepted: {report.accepted_gaps}")
    for finding in report.findings[:TOLD]:
        console.print(f"[bold]{finding.what}[/bold]\n  {finding.sql};", soft_wrap=True)
    verdict = "balanced" if report.balanced else f"NOT BALANCED: {len(report.findings)} findings"
    console.print(f"{verdict} ({report.seconds:.1f} s)")
