"""The attempts of a minute: by stage and SSID, by stage and access point, and of the whole.

Attempts reach a stage that did not fail at an earlier one: reached(s) = attempts - failures before s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidegate.contracts.counts import ApCount, Count, Signal, Sketch
from tidegate.steps.outcome import FAILURE, SUCCESS
from tidegate.steps.tally import Tally

STAGES = (
    *("association", "authentication", "aaa", "dhcp", "dns", "network"),
    *("disconnect", "configuration", "unknown"),
)
_RANK = {stage: rank for rank, stage in enumerate(STAGES)}


class Counted(Protocol):
    """`MinuteCounts`, `PartialCounts` or a `Tally`: what a unit received within a minute."""

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
    """Parts are SSIDs ("s" and the name) and access points ("a" and the name).

    Most minutes have no failure: then `passed` says it all, each part's successes.
    """

    __slots__ = (*("_parts", "clients", "codes", "events", "failed", "part_clients", "passed", "succeeded"),)

    def __init__(self, counts: Sequence[Count], aps: Sequence[ApCount]) -> None:
        succeeded, all_events, failing = 0, 0, False
        passed: dict[str, int] = {}
        for count in counts:
            events = count.events
            all_events += events
            outcome = count.outcome
            if outcome == SUCCESS:
                succeeded += events
                name = f"s{count.ssid}"
                passed[name] = passed[name] + events if name in passed else events
            elif outcome == FAILURE:
                failing = True
        self.succeeded, self.events = succeeded, all_events
        self.failed: dict[str, int] = {}
        self._parts: dict[str, dict[str, int]] | None = None
        if not failing:
            for ap in aps:
                if ap.stage:
                    failing = True
                    break
                name = f"a{ap.ap}"
                passed[name] = passed[name] + ap.events if name in passed else ap.events
        self.passed: dict[str, int] | None = passed  # None where a part failed
        if failing:
            self._fail_all(counts, aps)

    @property
    def parts(self) -> dict[str, dict[str, int]]:
        """Of each part: "" -> successes, stage -> failures."""
        found = self._parts
        if found is None:
            found = self._parts = {part: {"": count} for part, count in (self.passed or {}).items()}
        return found

    def _fail_all(self, counts: Sequence[Count], aps: Sequence[ApCount]) -> None:
        self.passed = None
        self.clients: dict[str, list[Sketch]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.part_clients: dict[tuple[str, str], list[Sketch]] = {}
        parts = self._parts = {}
        for count in counts:
            if count.outcome == SUCCESS:
                name = f"s{count.ssid}"
                part = parts.get(name)
                if part is None:
                    parts[name] = {"": count.events}
                else:
                    part[""] = part.get("", 0) + count.events
            elif count.outcome == FAILURE:
                self._fail(count, parts)
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

    def _fail(self, count: Count, parts: dict[str, dict[str, int]]) -> None:
        stage = count.stage if count.stage in _RANK else "unknown"
        events = count.events
        self.failed[stage] = self.failed.get(stage, 0) + events
        self.clients.setdefault(stage, []).append(count.clients)
        codes = self.codes.setdefault(stage, {})
        code = code_text(count.code, count.sub_code)
        codes[code] = codes.get(code, 0) + events
        name = f"s{count.ssid}"
        part = parts.setdefault(name, {})
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
        passed = self.passed
        if passed is not None:
            return passed.get(part, 0)
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


def figures_of(counted: Counted) -> Figures:
    """The attempts of what a unit received."""
    if type(counted) is not Tally or counted.passed is None:
        return Figures(counted.counts, counted.aps)
    found = Figures.__new__(Figures)
    found.events, found.succeeded, found.passed = counted.events, counted.succeeded, counted.passed
    found.failed, found._parts = {}, None
    return found


NOTHING = Figures((), ())


def number_text(code: int | None) -> str:
    return "" if code is None else str(code)


def code_text(code: int | None, sub_code: int | None) -> str:
    return f"{number_text(code)}/{number_text(sub_code)}"


def code_numbers(text: str) -> tuple[int | None, int | None]:
    code, _, sub_code = text.partition("/")
    return int(code) if code else None, int(sub_code) if sub_code else None
