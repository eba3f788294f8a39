"""The failure catalogue: what a vendor code or an 802.11 code means, its stage, and what to do.

A failure is looked up by (code, sub-code), then by code, then by a pair learned from events, then by the
802.11 code or name that its text quotes, last by the words of its text. A code that nothing knows keeps
its row, with stage ``unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tidegate.lookups.stages import ACTIONS, STAGES, stage_of_text
from tidegate.lookups.table import Row

VENDOR_COLUMNS = ("failureCode", "failure", "subFailureCode", "subFailure", "stage", "action")
IEEE80211_COLUMNS = ("kind", "code", "name", "stage")
LEARNED_PAIRS = 10_000
MEMO_ENTRIES = 20_000
TEXT_LENGTH = 500  # characters of a text that are looked at and remembered: an event may bring a megabyte

_QUOTED = re.compile(r"\b(reason|status)(?:[ _]?code)?[ :=#(]*(\d{1,3})\b", re.IGNORECASE)
_NAME = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)+", re.IGNORECASE)


class Meaning(NamedTuple):
    """What a failure means. `known` is False where the catalogue has neither its code nor an 802.11 code."""

    failure: str | None
    sub_failure: str | None
    stage: str
    action: str
    known: bool


class Seen(NamedTuple):
    """A failure as an event tells it."""

    code: int | None
    sub_code: int | None
    failure: str | None
    sub_failure: str | None


@dataclass(frozen=True, slots=True)
class FailureCatalogue:
    """What failures mean. Keys are (code, sub-code), None for any sub-code; (reason or status, number) of
    802.11; and 802.11 names in upper case. `learned` has texts that events brought for codes that no row
    has."""

    by_code: Mapping[tuple[int, int | None], Meaning]
    ieee80211: Mapping[tuple[str, int], Meaning]
    ieee80211_names: Mapping[str, Meaning]
    learned: Mapping[tuple[int, int | None], Seen] = field(default_factory=dict)
    _memo: dict[Seen, Meaning] = field(default_factory=dict, compare=False, repr=False)

    def meaning(self, seen: Seen) -> Meaning:
        """The meaning of one failure; texts that the event lacks come from the catalogue."""
        if len(seen.failure or "") + len(seen.sub_failure or "") > TEXT_LENGTH:
            return self._find(seen)
        found = self._memo.get(seen)
        if found is None:
            if len(self._memo) >= MEMO_ENTRIES:  # senders choose the texts: forget rather than grow
                self._memo.clear()
            found = self._memo[seen] = self._find(seen)
        return found

    def lists(self, seen: Seen) -> bool:
        """Whether the catalogue's own rows, or an 802.11 code in the text, tell what this failure is."""
        return self.meaning(seen).known

    def with_learned(self, pairs: Iterable[Seen]) -> FailureCatalogue:
        """A catalogue that also knows the (code, text) pairs that arrived on events.

        The catalogue's own rows win; the first text learned for a code stays. At most LEARNED_PAIRS are
        kept: senders choose the codes.
        """
        learned = dict(self.learned)
        for seen in pairs:
            if len(learned) >= LEARNED_PAIRS:
                break
            if (
                seen.code is not None
                and 0 < len((seen.failure or "") + (seen.sub_failure or "")) <= TEXT_LENGTH
            ):
                for pair in (seen, seen._replace(sub_code=None, sub_failure=None)):
                    if (seen.code, pair.sub_code) not in self.by_code:
                        learned.setdefault((seen.code, pair.sub_code), pair)
        return replace(self, learned=learned, _memo={})

    def _find(self, seen: Seen) -> Meaning:
        code, sub_code, failure, sub_failure = seen
        if code is not None:
            for key in dict.fromkeys(((code, sub_code), (code, None))):
                row = self.by_code.get(key)
                if row is not None:
                    return row._replace(
                        failure=failure or row.failure, sub_failure=sub_failure or row.sub_failure
                    )
            for key in dict.fromkeys(((code, sub_code), (code, None))):
                pair = self.learned.get(key)
                if pair is not None:
                    failure, sub_failure = failure or pair.failure, sub_failure or pair.sub_failure
                    break
        text = f"{(failure or '')[:TEXT_LENGTH]} {(sub_failure or '')[:TEXT_LENGTH]}"
        quoted = self._quoted(text)
        if quoted is not None:
            return quoted._replace(failure=failure, sub_failure=sub_failure)
        stage = stage_of_text(text)
        return Meaning(failure, sub_failure, stage, ACTIONS[stage], False)

    def _quoted(self, text: str) -> Meaning | None:
        """The 802.11 code that a text quotes, by number ("reason code 15") or by name."""
        match = _QUOTED.search(text)
        if match is not None:
            meaning = self.ieee80211.get((match[1].lower(), int(match[2])))
            if meaning is not None:
                return meaning
        for name in _NAME.findall(text):
            meaning = self.ieee80211_names.get(name.upper())
            if meaning is not None:
                return meaning
        return None


def read_failures(vendor: Iterable[Row], ieee80211: Iterable[Row]) -> FailureCatalogue:
    """The catalogue of rows of `vendor_failure_codes.csv` and `ieee80211_codes.csv`. Raises BadLookup, naming
    the cell."""
    by_code: dict[tuple[int, int | None], Meaning] = {}
    for row in vendor:
        stage = row.text("stage", required=True, allowed=STAGES)
        meaning = Meaning(
            row.text("failure") or None,
            row.text("subFailure") or None,
            stage,
            row.text("action") or ACTIONS[stage],
            True,
        )
        key = (row.whole("failureCode"), row.whole_or_none("subFailureCode"))
        if key in by_code:
            row.wrong("subFailureCode", f"the pair {key[0]}, {key[1]} stands there twice")
        by_code[key] = meaning
    codes: dict[tuple[str, int], Meaning] = {}
    names: dict[str, Meaning] = {}
    for row in ieee80211:
        kind = row.text("kind", allowed=("reason", "status"))
        name = row.text("name", required=True)
        stage = row.text("stage", allowed=("", "ok", *STAGES))
        if stage in ("", "ok"):  # reserved codes and successes say nothing about a failure
            continue
        meaning = Meaning(name, None, stage, row.text("action") or ACTIONS[stage], True)
        codes[kind, row.whole("code")] = meaning
        if "_" in name:  # a single word such as TIMEOUT would match any text
            names.setdefault(name.upper(), meaning)
    return FailureCatalogue(by_code, codes, names)
