"""What became of the chosen lines, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidegate.contracts.rejects import Fault
from tidegate.contracts.topics import Stream
from tidegate.log_format import escaped
from tidegate.replay.choice import Refused

SAMPLES = 3  # of each verdict
LINE_CHARACTERS = 160  # of a sample's line that are shown


class Verdict(NamedTuple):
    stream: Stream
    verdict: str  # "passes", or the code of the refusal
    path: str
    was: str  # the code of the first refusal


@dataclass(slots=True)
class Group:
    lines: int = 0
    samples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """`sent` to `duplicates` stay 0 in a dry run."""

    dry_run: bool
    transform_version: str
    chosen: int = 0
    passing: int = 0
    refused: int = 0  # by the present contract: not sent
    expired: int = 0  # older than their table keeps, or gone from the raw topic that alone had them: not sent
    sent: int = 0
    stored: int = 0  # of those sent
    refused_again: int = 0  # of those sent: by workers of another version, or by a race
    duplicates: int = 0  # of those sent: dropped, as their event_id came since
    other_versions: list[str] = field(default_factory=list)  # of the workers that refused them
    groups: dict[Verdict, Group] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """0: every chosen line passes, and is stored unless this is a dry run; 1: some do not."""
        return int(bool(self.refused or self.expired or self.refused_again))

    def passes(self, stream: Stream, item: Refused) -> None:
        self.passing += 1
        self._count(Verdict(stream, "passes", "", item.code), item, "")

    def refuses(self, stream: Stream, item: Refused, fault: Fault) -> None:
        self.refused += 1
        said = ", ".join(filter(None, (fault.found and f"found {fault.found}", fault.detail)))
        self._count(Verdict(stream, str(fault.code), fault.path, item.code), item, said)

    def expires(self, stream: Stream, item: Refused, said: str) -> None:
        self.expired += 1
        self._count(Verdict(stream, "expired", "", item.code), item, said)

    def _count(self, verdict: Verdict, item: Refused, said: str) -> None:
        self.chosen += 1
        group = self.groups.setdefault(verdict, Group())
        group.lines += 1
        if len(group.samples) < SAMPLES:
            line = item.original
            shown = line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS] + "…"
            group.samples.append({"id": item.id, "said": said, "line": shown})

    def as_json(self) -> bytes:
        """What `--json` prints: the counts, and the verdicts with samples of each, most lines first."""
        names = (
            "dry_run",
            "transform_version",
            "chosen",
            "passing",
            "refused",
            "expired",
            "sent",
            "stored",
            "refused_again",
            "duplicates",
            "other_versions",
        )
        answer: dict[str, Any] = {name: getattr(self, name) for name in names}
        answer["verdicts"] = [
            verdict._asdict() | {"lines": group.lines, "samples": group.samples}
            for verdict, group in self._sorted()
        ]
        return msgspec.json.format(msgspec.json.encode(answer), indent=2)

    def _sorted(self) -> list[tuple[Verdict, Group]]:
        return sorted(self.groups.items(), key=lambda item: -item[1].lines)


def show(report: Report, console: Console) -> None:
    """Print the verdicts with samples of each, and the summary."""
    table = Table()
    for name in ("stream", "refused for", "now", "lines"):
        table.add_column(name, justify="right" if name == "lines" else "left")
    for verdict, group in report._sorted():
        now = escaped(f"{verdict.verdict} ({verdict.path})" if verdict.path else verdict.verdict)
        table.add_row(verdict.stream, verdict.was, Text(now), f"{group.lines:,}")
    if report.groups:
        console.print(table)
    for verdict, group in report._sorted():
        for sample in group.samples:
            said = f" {sample['said']}" if sample["said"] else ""
            console.print(
                f"{verdict.verdict}: {sample['id']}{escaped(said)}\n  {escaped(sample['line'])}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
    console.print(summary(report), highlight=False)


def summary(report: Report) -> str:
    """One line, or a few."""
    kept = [f"{report.refused:,} would be refused" if report.dry_run else f"{report.refused:,} still refused"]
    if report.expired:
        kept.append(f"{report.expired:,} too old")
    text = f"{report.chosen:,} lines not stored yet: {report.passing:,} pass, {', '.join(kept)}"
    if report.dry_run:
        return text + ". Nothing was sent."
    text += f"\nsent {report.sent:,}: {report.stored:,} stored, {report.refused_again:,} refused again"
    if report.duplicates:
        text += f", {report.duplicates:,} dropped: their event_id came since"
    if report.other_versions:
        text += (
            f"\nThe workers that refused them have transform_version {', '.join(report.other_versions)}, this"
            f" command {report.transform_version}: give them the same lookups and settings, start them again,"
            " and run `tidegate replay --again`"
        )
    return text
