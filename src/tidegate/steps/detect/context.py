"""What a fold looks up and does not keep: the same for the worker and for a backtest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tidegate.contracts.alert_rules import Rules
from tidegate.lookups import Lookups
from tidegate.lookups.failures import FailureCatalogue, Seen


class Context(NamedTuple):
    rules: Rules
    zone: Callable[[str, str], tzinfo]  # of a fleet's site
    text: Callable[[int | None, int | None], tuple[str, str]]  # reason and action of a failure code
    silenced: Callable[[str, str, str, int], str]  # fleet, rule, site, time -> until when, "" for not


def no_silence(fleet: str, rule: str, site: str, at: int) -> str:
    return ""


def context_of(
    rules: Rules,
    tables: Lookups,
    *,
    catalogue: Callable[[], FailureCatalogue] | None = None,
    silenced: Callable[[str, str, str, int], str] = no_silence,
) -> Context:
    """From the lookup files. `catalogue` is asked each time, where codes are learned meanwhile."""
    zones = {(fleet, site.name): site.timezone for (fleet, _), site in tables.sites.by_location.items()}

    def text(code: int | None, sub_code: int | None) -> tuple[str, str]:
        if code is None:
            return "", ""
        known = catalogue() if catalogue is not None else tables.failures
        meaning = known.meaning(Seen(code, sub_code, None, None))
        return ": ".join(part for part in (meaning.failure, meaning.sub_failure) if part), meaning.action

    return Context(rules, lambda fleet, site: _zone(zones.get((fleet, site), "")), text, silenced)


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except Exception:  # a machine without this zone
        return UTC
