"""What is watched, and from when on it is an alert: rules, as `alerts_rules_file` gives them."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

NOTED_KEY = b"alert/rules"
"""Key of the record of `tidegate.control` that tells which rules a worker has in force."""

Watched = Literal[
    "stage_failures",
    "slow_stage",
    "disassociations",
    "clock_skew",
    "no_events",
    "insecure_network",
    "unapproved_network",
]
Part = Literal["site", "stage", "ssid", "ap"]


class Flap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cycles` openings `within_minutes` are one `flapping` notice, over after `quiet_minutes`."""

    cycles: int = 3
    within_minutes: int = 60
    quiet_minutes: int = 30


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A severity: from so many failing clients on, or from this share of at least ten; 0 is no way there."""

    clients: int = 0
    share: float = 0.0


class Severities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What reaches neither is info."""

    critical: Level = Level(50, 0.25)
    warning: Level = Level(5, 0.0)


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the clients seen within some minutes, of at least so many: needs no baseline."""

    share: float = 0.5
    clients: int = 10
    minutes: int = 5


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; what it leaves out stands in the defaults of its file."""

    name: str
    signal: Watched
    scope: tuple[Part, ...] = ("site", "stage")
    sites: tuple[str, ...] = ("*",)
    stages: tuple[str, ...] = ("*",)
    enabled: bool = True
    odds_ratio: float = 3.0  # what change of the odds is worth a person's time
    points: float = 0.05  # and by how much the share must rise at least
    score_open: float = 12.0  # CUSUM, nats
    score_close: float = 4.0
    min_clients: int = 3  # distinct failing clients in the window
    keep_open_minutes: int = 10  # quiet minutes before it is resolved
    after_minutes: int = 10  # of silence, for no_events
    expected_events: float = 5.0  # in that time, for no_events
    threshold: Threshold | None = None
    flap: Flap = Flap()
    severity: Severities = Severities()

    def is_for(self, site: str) -> bool:
        return "*" in self.sites or site in self.sites


class Rules(msgspec.Struct, frozen=True):
    """All rules, in the order of their file."""

    rules: tuple[Rule, ...] = ()


class Noted(msgspec.Struct, frozen=True):
    """The value of that record."""

    digest: str  # of all that the rules say
    rules: list[str]  # names of those that are on


def noted(rules: Rules) -> Noted:
    digest = hashlib.blake2b(msgspec.json.encode(rules), digest_size=10).hexdigest()
    return Noted(digest, [rule.name for rule in rules.rules if rule.enabled])
