"""The attempts of a minute: by stage and SSID, by stage and access point, and of the whole.

Attempts reach a stage that did not fail at an earlier one: reached(s) = attempts - failures before s.
"""

from __future__ import annotations

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
        succeeded, all_events = 0, 0
        self.failed: dict[str, int] = {}
        self.clients: dict[str, list[Sketch]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.parts: dict[str, dict[str, int]] = {}  # "" -> successes, stage -> failures
        self.part_clients: dict[tuple[str, str], list[Sketch]] = {}
        parts = self.parts
        for count in counts:
            events = count.events
            all_events += events
            if count.outcome == SUCCESS:
                succeeded += events
                name = f"s{count.ssid}"
                part = parts.get(name)
                if part is None:
                    parts[name] = {"": events}
                else:
                    part[""] = part.get("", 0) + events
            elif count.outcome == FAILURE:
                self._fail(count)
        self.succeeded, self.events = succeeded, all_events
        for ap in aps:
            name, stage = f"a{ap.ap}", ap.stage
            if stage and stage not in _RANK:
                stage = "unknown"
            part = parts.get(name)
            if part is None:
                parts[name] = {stage: ap.events}
            else:
                part[stage] = part.get(stage, 0) + ap.events
            if stage:
                self.part_clients.setdefault((name, stage), []).append(ap.clients)

    def _fail(self, count: Count) -> None:
        stage = count.stage if count.stage in _RANK else "unknown"
        events = count.events
        self.failed[stage] = self.failed.get(stage, 0) + events
        self.clients.setdefault(stage, []).append(count.clients)
        codes = self.codes.setdefault(stage, {})
        code = code_text(count.code, count.sub_code)
        codes[code] = codes.get(code, 0) + events
        name = f"s{count.ssid}"
        part = self.parts.setdefault(name, {})
        part[stage] = part.get(stage, 0) + events
        self.part_clients.setdefault((name, stage), []).append(count.clients)

    def reached(self, stage: str) -> int:
        found = self.succeeded
        if self.failed:
            rank = _RANK[stage]
            for one, count in self.failed.items():
                if _RANK[one] >= rank:
                    found += count
        return found

    def part_reached(self, part: str, stage: str) -> int:
        found = self.parts.get(part)
        if found is None:
            return 0
        if len(found) == 1 and "" in found:
            return found[""]
        rank, reached = _RANK[stage], 0
        for one, count in found.items():
            if not one or _RANK[one] >= rank:
                reached += count
        return reached


NOTHING = Figures((), ())


def number_text(code: int | None) -> str:
    return "" if code is None else str(code)


def code_text(code: int | None, sub_code: int | None) -> str:
    return f"{number_text(code)}/{number_text(sub_code)}"


def code_numbers(text: str) -> tuple[int | None, int | None]:
    code, _, sub_code = text.partition("/")
    return int(code) if code else None, int(sub_code) if sub_code else None
