"""What was sent and what became of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import STREAMS, Stream


@dataclass(slots=True)
class Totals:
    """Events of one stream. sent = acked + refused + those without an answer."""

    sent: int = 0  # put on the wire at least once
    acked: int = 0  # the gateway's 201 or the broker's ack came
    refused: int = 0  # answered as bad
    retried: int = 0  # sent again after a 429, a 503 or a lost connection
    unsure: int = 0  # of the retried: the first try may have arrived too, and nothing told the receiver

    def unanswered(self) -> int:
        return self.sent - self.acked - self.refused


@dataclass(slots=True)
class Report:
    """Counts of what was sent, and the broken events among it."""

    streams: dict[Stream, Totals] = field(default_factory=lambda: {stream: Totals() for stream in STREAMS})
    broken: Counter[Code] = field(default_factory=Counter)  # broken events sent, by the code they deserve
    good_refused: int = 0  # over HTTP: refused though nothing was wrong with them
    broken_acked: int = 0  # over HTTP: taken though broken

    def total(self, name: str) -> int:
        return sum(int(getattr(totals, name)) for totals in self.streams.values())

    def line(self, seconds: float, rate: float, running: Sequence[str]) -> str:
        """One line of progress; `rate` acked events per second since the last line."""
        parts = [
            f"{seconds:6.0f} s",
            f"sent {self.total('sent'):,}",
            f"acked {self.total('acked'):,} ({rate:,.0f}/s)",
        ]
        for name in ("refused", "retried"):
            if self.total(name):
                parts.append(f"{name} {self.total(name):,}")
        if running:
            parts.append("; ".join(running))
        return "  ".join(parts)

    def summary(self, seconds: float) -> str:
        """The totals for each stream and altogether, as a table."""
        names = ("sent", "acked", "refused", "retried")
        rows = [f"{'':<16}" + "".join(f"{name:>12}" for name in names) + f"{'unanswered':>12}"]
        everything = Totals(**{name: self.total(name) for name in names})
        for label, totals in [*self.streams.items(), ("all", everything)]:
            if totals.sent or label == "all":
                cells = "".join(f"{getattr(totals, name):>12,}" for name in names)
                rows.append(f"{label:<16}{cells}{totals.unanswered():>12,}")
        rows.append(f"{seconds:.1f} s, {self.total('acked') / max(seconds, 1e-9):,.0f} acked events/s")
        if self.broken:
            kinds = ", ".join(f"{code} {count}" for code, count in sorted(self.broken.items()))
            rows.append(f"broken on purpose: {self.broken.total():,} ({kinds})")
        if self.good_refused:
            rows.append(f"refused though good: {self.good_refused:,}")
        if self.broken_acked:
            rows.append(f"taken though broken: {self.broken_acked:,}")
        if self.total("unsure"):
            rows.append(
                f"perhaps there twice: {self.total('unsure'):,} (resent after a lost answer; "
                "--idempotent prevents it)"
            )
        return "\n".join(rows)


class Ledger:
    """A file with a JSON line for each ack: ids over HTTP, positions over Kafka."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path is not None else None

    def ids(self, stream: Stream, ids: Sequence[str]) -> None:
        if self._file is not None and ids:
            self._file.write(json.dumps({"stream": stream, "ids": list(ids)}) + "\n")

    def position(self, stream: Stream, partition: int, offset: int, lines: int, broken: int) -> None:
        if self._file is not None:
            entry = {
                "stream": stream,
                "partition": partition,
                "offset": offset,
                "lines": lines,
                "broken": broken,
            }
            self._file.write(json.dumps(entry) + "\n")

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
