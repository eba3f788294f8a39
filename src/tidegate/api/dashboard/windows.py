"""The windows of time that a page shows: the lengths of the reference documents, ending now or before."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate.api.dashboard.web import query
from tidegate.api.problems import Problem

LENGTHS = {"2h": 7200, "4h": 14_400, "8h": 28_800, "12h": 43_200, "1d": 86_400, "1w": 604_800}
WORDS = {"2h": "2 h", "4h": "4 h", "8h": "8 h", "12h": "12 h", "1d": "1 day", "1w": "1 week"}
EARLIEST, LATEST = 0, 10_413_791_999  # year 2299


@dataclass(frozen=True, slots=True)
class Choice:
    """A link to another window."""

    name: str
    words: str
    query: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Times in epoch seconds. `end` None goes on to now."""

    name: str
    since: int
    until: int
    end: int | None
    others: dict[str, str]  # what else stands in the query

    @property
    def seconds(self) -> int:
        return self.until - self.since

    @property
    def since_us(self) -> int:
        return self.since * 1_000_000

    @property
    def until_us(self) -> int:
        return self.until * 1_000_000

    def choices(self) -> list[Choice]:
        return [
            Choice(name, WORDS[name], query(window=name, end=self.end, **self.others), name == self.name)
            for name in LENGTHS
        ]

    def earlier(self) -> str:
        return query(window=self.name, end=self.until - self.seconds // 2, **self.others)

    def later(self) -> str | None:
        """None where the window ends now."""
        if self.end is None:
            return None
        end = self.end + self.seconds // 2
        return query(
            window=self.name, end=end if end < time.time() - self.seconds / 20 else None, **self.others
        )

    def with_(self, **changed: str) -> str:
        return query(window=self.name, end=self.end, **{**self.others, **changed})


def window(name: str, end: str, **others: str) -> Window:
    """The window that a query asks for. Raises Problem for one that is none."""
    if name not in LENGTHS:
        raise Problem("not_in_enum", "window", path="window", found=name, allowed=", ".join(LENGTHS))
    if end and not (end.isascii() and end.isdigit() and len(end) <= 11 and int(end) <= LATEST):
        raise Problem("wrong_type", "end is epoch seconds", path="end", found=end, allowed="epoch seconds")
    until = int(end) if end else int(time.time()) + 1
    since = max(EARLIEST, until - LENGTHS[name])
    return Window(name, since, until, int(end) if end else None, {k: v for k, v in others.items() if v})
