"""What is kept of a stream at a site from minute to minute, and the minute that is folded into it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import Sketch
from tidegate.steps.sketch import EMPTY, distinct_of, union, values_of
from tidegate.steps.usual import Pair, Usual

WINDOW = 15  # minutes over which distinct clients are counted
HASHES = 256  # of a minute's sketch that the window keeps: of more clients it has those with the smallest
OFTEN = 60  # minutes over which clients on insecure and unapproved networks are counted

MOST_CODES = 512  # failure codes that are followed for a key

UnitKey = tuple[str, str, str]  # stream, fleet, site
Key = tuple[str, str, str, str]  # signal, stage, SSID, access point
NETWORKS = ("insecure_network", "unapproved_network")


NOBODY: dict[str, Sketch] = {}  # the clients of a quiet minute, never filled in


class Hits(msgspec.Struct, array_like=True):
    """What a key hit since its evidence began."""

    attempts: int = 0
    failures: int = 0
    codes: dict[str, int] = {}  # "code/sub-code" -> failures
    parts: dict[str, list[int]] = {}  # "s" or "a" and a name -> attempts, failures

    def count_code(self, code: str, count: int) -> None:
        """Of codes beyond MOST_CODES it is not told how many failures had them."""
        if code in self.codes or len(self.codes) < MOST_CODES:
            self.codes[code] = self.codes.get(code, 0) + count


class Track(msgspec.Struct, array_like=True):
    """The evidence for one key."""

    score: float = 0.0
    since: int = 0  # minute in which it left 0
    recent: list[float] = []  # of the last minutes
    hits: Hits = msgspec.field(default_factory=Hits)
    much: float = 0.0  # the evidence for a thorough breakdown
    last: int = 0  # minute that added to it

    @property
    def evidence(self) -> float:
        return max(self.score, self.much)


class Active(msgspec.Struct):
    """An alert that is not resolved, as it was told last, and what it hit since it began."""

    alert: Alert
    quiet: int = 0  # minutes
    acked_at: str = ""
    hits: Hits = msgspec.field(default_factory=Hits)
    failing: Sketch = b""
    seen: Sketch = b""


class Before:
    """Clients of earlier minutes; `hashes` has each once for each minute."""

    __slots__ = ("_sketches", "hashes")

    def __init__(self, sketches: list[Sketch]) -> None:
        self._sketches = sketches
        self.hashes = values_of(b"".join(sketches)) if sketches else ()

    def known(self, hashes: tuple[int, ...]) -> tuple[int, ...]:
        """Those of some hashes of which it can be said whether they were there: all where no minute had more
        clients than it keeps."""
        cut = [one[-8:] for one in self._sketches if len(one) >= 8 * HASHES]
        if not cut:
            return hashes
        reach = int.from_bytes(min(cut), "big")
        return tuple([one for one in hashes if one <= reach])

    def distinct(self) -> int:
        """How many clients they are."""
        return distinct_of(self._sketches, HASHES)


class Unit(msgspec.Struct):
    """What is kept of one stream at one site from minute to minute."""

    stream: str
    fleet: str
    site: str
    minute: int = 0  # the last one that was folded
    hour: int = -1  # of the week in the site's zone
    usual: dict[str, Usual] = {}  # by stage, or by "~" and a signal
    tracks: dict[Key, Track] = {}
    active: dict[Key, Active] = {}
    openings: dict[Key, list[int]] = {}  # minutes, within the time that makes it flapping
    window: list[dict[str, Sketch]] = []  # of the last minutes: clients by key
    parts: dict[str, dict[str, float]] = {}  # "s" or "a" and a name -> "" attempts, stage -> failures; fading
    slow: dict[str, dict[int, float]] = {}  # latency -> bucket -> successes of the hours before; fading
    traffic: dict[int, list[Pair]] = {}  # hour of the week -> events and minutes of the last weeks
    traffic_now: Pair = msgspec.field(default_factory=lambda: [0.0, 0.0])
    recent: Pair = msgspec.field(
        default_factory=lambda: [0.0, 0.0]
    )  # mean and mean square of the events of a
    # minute lately: half of it is twenty minutes old
    silent: int = 0  # minutes without an event
    missing: float = 0.0  # events that are usual in them
    slow_now: dict[str, dict[int, int]] = {}  # as `slow`, of the hour under way

    def within(self, name: str, minutes: int) -> Sketch:
        """The clients that the window has under a name in its last minutes."""
        return union((found for one in self.window[-minutes:] if (found := one.get(name))), HASHES)

    def distinct(self, name: str, minutes: int) -> int:
        """How many they are."""
        return distinct_of([one.get(name, EMPTY) for one in self.window[-minutes:]], HASHES)

    def before(self, name: str) -> Before:
        """The clients that the window has under a name before its last minute."""
        return Before([found for one in self.window[-WINDOW:-1] if (found := one.get(name))])


def keep(unit: Unit, now: dict[str, Sketch]) -> None:
    """A minute more in the unit's window."""
    window = unit.window
    window.append(now)
    most = OFTEN if unit.stream == "connection_logs" else WINDOW
    if len(window) > most:
        del window[: len(window) - most]


def window_name(key: Key) -> str:
    """Under which name the window has a key's clients."""
    signal, stage, ssid, ap = key
    if signal in NETWORKS:
        return f"~{signal.removesuffix('_network')}\0{ssid}"
    if signal == "stage_failures":
        return f"{stage}\0{part_name(key)}" if ssid or ap else stage
    return f"~{signal}"


def part_name(key: Key) -> str:
    """An SSID or access point as it stands in figures and windows: a letter and its name."""
    _, _, ssid, ap = key
    return f"a{ap}" if ap else f"s{ssid}"


def part_key(signal: str, stage: str, part: str) -> Key:
    return (signal, stage, "", part[1:]) if part[0] == "a" else (signal, stage, part[1:], "")


def iso(at: int) -> str:
    """A time in µs as alerts have it."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000
