"""Alert rules from a TOML file, with the line of whatever is wrong in it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from tidegate.contracts.alert_rules import Rule, Rules
from tidegate.errors import UsageError
from tidegate.lookups.stages import STAGES

SHIPPED = "alerts.toml"
_RULE_FIELDS = tuple(msgspec.structs.fields(Rule))
_NAMES = tuple(field.name for field in _RULE_FIELDS)
_OWN = ("name", "signal", "threshold")  # that have no default for a whole file
_DEFAULTS = tuple(name for name in _NAMES if name not in _OWN)
_RANGES: dict[str, tuple[float, float]] = {
    "odds_ratio": (1.01, 1000.0),
    "points": (0.0, 0.9),
    "score_open": (3.0, 1000.0),
    "score_close": (0.0, 1000.0),
    "min_clients": (1, 100_000),
    "keep_open_minutes": (1, 1440),
    "after_minutes": (1, 10_080),
    "expected_events": (0.1, 1e9),
    "share": (0.0, 1.0),
    "clients": (0, 1_000_000),
    "minutes": (1, 15),
    "cycles": (2, 1000),
    "within_minutes": (1, 1440),
    "quiet_minutes": (1, 1440),
}


def load(file: str, sites: Collection[str] | None = None) -> Rules:
    """The rules of `file`, those of the product for "". `sites`: the names that a rule may name; None: any.

    Raises UsageError that names file and line, and for an unknown name the nearest known one.
    """
    if not file:
        return parse(resources.files("tidegate.lookups.data").joinpath(SHIPPED).read_text("utf-8"), SHIPPED)
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"alerts_rules_file: {file} cannot be read: {error}") from error
    return parse(text, file, sites)


def parse(text: str, file: str, sites: Collection[str] | None = None) -> Rules:
    """The same of the text of a file."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        last = len(text.splitlines())
        raise UsageError(f"{file}:{line[1] if line else max(last, 1)}: {error}") from error
    return _Reader(text, file, sites).rules(document)


class _Reader:
    def __init__(self, text: str, file: str, sites: Collection[str] | None) -> None:
        self._lines = text.splitlines()
        self._file = file
        self._sites = sites

    def rules(self, document: Mapping[str, Any]) -> Rules:
        self._known(document, ("defaults", "rule"), 0, len(self._lines))
        defaults = document.get("defaults", {})
        begin, end = self._table(r"\[\s*defaults\s*\]", 0)
        if not isinstance(defaults, dict):
            self._wrong("defaults", "is no table", begin, end)
        self._known(defaults, _DEFAULTS, begin, end)
        self._numbers(defaults, begin, end)
        listed = document.get("rule", [])
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            self._wrong("rule", "must be tables [[rule]]", 0, len(self._lines))
        found: list[Rule] = []
        for number, values in enumerate(listed):
            rule = self._rule(values, defaults, *self._table(r"\[\[\s*rule\s*\]\]", number))
            if any(rule.name == other.name for other in found):
                begin, end = self._table(r"\[\[\s*rule\s*\]\]", number)
                self._wrong("name", f"{rule.name!r} stands there twice", begin, end)
            found.append(rule)
        return Rules(tuple(found))

    def _rule(self, values: dict[str, Any], defaults: dict[str, Any], begin: int, end: int) -> Rule:
        self._known(values, _NAMES, begin, end)
        for name in ("name", "signal"):
            if name not in values:
                self._wrong(name, "is missing", begin, end)
        self._numbers(values, begin, end)
        try:
            rule = msgspec.convert({**defaults, **values}, Rule)
        except msgspec.ValidationError as error:
            message = str(error)
            path = re.search(r"`\$\.(\w+)", message)
            self._wrong(path[1] if path else "name", message.partition(" - at ")[0], begin, end)
        if not rule.name or len(rule.name) > 64:
            self._wrong("name", "must have 1 to 64 characters", begin, end)
        if rule.score_close >= rule.score_open:
            self._wrong("score_close", f"{rule.score_close} is not below score_open", begin, end)
        for site in rule.sites:
            if site != "*" and self._sites is not None and site not in self._sites:
                self._wrong("sites", f"no site {site!r}{_near(site, self._sites)}", begin, end)
        for stage in rule.stages:
            if stage != "*" and stage not in STAGES:
                self._wrong("stages", f"no stage {stage!r}{_near(stage, STAGES)}", begin, end)
        return rule

    def _numbers(self, values: Mapping[str, Any], begin: int, end: int) -> None:
        for name, value in _leaves(values):
            limits = _RANGES.get(name)
            if limits is None or isinstance(value, str):
                continue
            low, high = limits
            if isinstance(value, bool) or not low <= value <= high:
                self._wrong(name, f"{value} is not between {low:g} and {high:g}", begin, end)

    def _known(self, values: Mapping[str, Any], names: Collection[str], begin: int, end: int) -> None:
        for name in values:
            if name not in names:
                self._wrong(name, f"is no key here{_near(name, names)}", begin, end)

    def _table(self, header: str, number: int) -> tuple[int, int]:
        """The lines, from 0, of the table whose header is the `number`-th of its kind."""
        begins = [at for at, line in enumerate(self._lines) if re.match(rf"\s*{header}", line)]
        begin = begins[number] if number < len(begins) else 0
        ends = [at for at in range(begin + 1, len(self._lines)) if self._lines[at].lstrip().startswith("[")]
        return begin, ends[0] if ends else len(self._lines)

    def _wrong(self, name: str, why: str, begin: int, end: int) -> NoReturn:
        place = begin
        for at in range(begin, end):
            if re.search(
                rf"(^|[\s{{,\[\.\"]){re.escape(name)}\"?\s*[=.\]]", self._lines[at].partition("#")[0]
            ):
                place = at
                break
        raise UsageError(f"{self._file}:{place + 1}: {name}: {why}")


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif not isinstance(value, list):
            yield name, value


def _near(name: str, names: Collection[str]) -> str:
    found = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {found[0]!r}?" if found else f"; there is: {', '.join(sorted(names)[:20])}"
