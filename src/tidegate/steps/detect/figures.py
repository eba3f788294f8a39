"""The attempts of a minute: by stage and SSID, by stage and access point, and of the whole.

Attempts reach a stage that did not fail at an earlier one: reached(s) = attempts - failures before s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from tidegate.contracts.counts import ApCount, Count, Signal, Sketch
from tidegate.steps.outcome import FAILURE, SUCCESS

STAGES = (
    *("association", "authentication", "aaa", "dhcp", "dns", "network"),
    *("disconnect", "configuration", "unknown"),
)
_RANK = {stage: rank for rank, stage in enumerate(STAGES)}


class Counted(Protocol):
    """`MinuteCounts` or `PartialCounts`: what a unit received within a minute."""

    @property
    def counts(self) -> list[Count]: ...
    @property
    def latencies(self) -> dict[str, dict[int, int]]: ...
    @property
    def clients(self) -> Sketch: ...
    @property
    def aps(self) -> list[ApCount]: ...
    @property
    def signals(self) -> list[Signal]: ...


class Figures:
    """Parts are SSIDs ("s" and the name) and access points ("a" and the name)."""

    __slots__ = ("clients", "codes", "events", "failed", "part_clients", "parts", "succeeded")

    def __init__(self, counts: Sequence[Count], aps: Sequence[ApCount]) -> None:
        self.succeeded = 0
        self.events = 0
        self.failed: dict[str, int] = {}
        self.clients: dict[str, list[Sketch]] = {}
        self.codes: dict[str, Counter[str]] = {}
        self.parts: dict[str, dict[str, int]] = {}  # "" -> successes, stage -> failures
        self.part_clients: dict[tuple[str, str], list[Sketch]] = {}
        for count in counts:
            self.events += count.events
            if count.outcome == SUCCESS:
                self.succeeded += count.events
                part = self.parts.setdefault(f"s{count.ssid}", {})
                part[""] = part.get("", 0) + count.events
            elif count.outcome == FAILURE:
                self._fail(count)
        for ap in aps:
            name = f"a{ap.ap}"
            part = self.parts.setdefault(name, {})
            stage = ap.stage if not ap.stage or ap.stage in _RANK else "unknown"
            part[stage] = part.get(stage, 0) + ap.events
            if stage:
                self.part_clients.setdefault((name, stage), []).append(ap.clients)

    def _fail(self, count: Count) -> None:
        stage = count.stage if count.stage in _RANK else "unknown"
        self.failed[stage] = self.failed.get(stage, 0) + count.events
        self.clients.setdefault(stage, []).append(count.clients)
        self.codes.setdefault(stage, Counter())[code_text(count.code, count.sub_code)] += count.events
        name = f"s{count.ssid}"
        part = self.parts.setdefault(name, {})
        part[stage] = part.get(stage, 0) + count.events
        self.part_clients.setdefault((name, stage), []).append(count.clients)

    def reached(self, stage: str) -> int:
        rank = _RANK[stage]
        return self.succeeded + sum(count for one, count in self.failed.items() if _RANK[one] >= rank)

    def part_reached(self, part: str, stage: str) -> int:
        found = self.parts.get(part)
        if found is None:
            return 0
        if len(found) == 1 and "" in found:
            return found[""]
        rank = _RANK[stage]
        return sum(count for one, count in found.items() if not one or _RANK[one] >= rank)


NOTHING = Figures((), ())


def number_text(code: int | None) -> str:
    return "" if code is None else str(code)


def code_text(code: int | None, sub_code: int | None) -> str:
    return f"{number_text(code)}/{number_text(sub_code)}"


def code_numbers(text: str) -> tuple[int | None, int | None]:
    code, _, sub_code = text.partition("/")
    return int(code) if code else None, int(sub_code) if sub_code else None
