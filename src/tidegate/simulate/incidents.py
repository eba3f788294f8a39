"""What goes wrong: incidents that an on-call engineer knows, each at one site for some minutes.

By default they come round one after another, the first a minute after the start. Some begin with a
change that the device logs show; all of them show in the client events.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from tidegate.errors import UsageError
from tidegate.simulate.fleet import AccessPoint, Site

Name = Literal["radius", "dhcp", "dns", "psk", "flapping", "clocks"]
NAMES: tuple[Name, ...] = get_args(Name)

FIRST_AFTER = 60.0  # simulated seconds from the start to the first incident of the round
APART = 240.0  # from one to the next
LASTING = (240.0, 480.0)
CLOCK_RESET = 1_262_304_000_000_000  # 2010-01-01 in µs: where a clock without a battery starts


class Change(NamedTuple):
    """A device log entry that an incident leaves."""

    ap: AccessPoint
    action: str
    variable: str | None
    old: str | None
    new: str | None
    notes: str


@dataclass(slots=True)
class Effects:
    """What is wrong at one site right now; the defaults are a site where all is well."""

    radius_down: float = 0.0  # probability that a RADIUS login times out
    dhcp_dry: float = 0.0  # probability that no address is left
    dns_factor: int = 1  # times the usual DNS latency
    dns_lost: float = 0.0  # probability that a look-up times out
    psk_changed: bool = False
    flapping: AccessPoint | None = None


CALM = Effects()


class Spec(NamedTuple):
    """One `--incidents` item. `after` None: takes its turn in the round."""

    name: Name
    after: float | None = None
    lasting: float | None = None


def parse(text: str) -> list[Spec]:
    """`all`, `none`, or a comma-separated list of ``NAME[@AFTER[+LASTING]]``, seconds of simulated time."""
    if text == "none":
        return []
    if text == "all":
        return [Spec(name) for name in NAMES]
    specs = []
    for item in text.split(","):
        name, _, when = item.strip().partition("@")
        if name not in NAMES:
            raise UsageError(f"--incidents: {name!r} is none of all, none, {', '.join(NAMES)}")
        after, _, lasting = when.partition("+")
        try:
            specs.append(Spec(name, float(after) if after else None, float(lasting) if lasting else None))
        except ValueError:
            raise UsageError(f"--incidents: {item!r} is not NAME@AFTER+LASTING") from None
    return specs


@dataclass(slots=True, eq=False)
class Incident:
    name: Name
    site: Site
    ap: AccessPoint
    start: float  # simulated seconds from the start of the simulation
    end: float
    epoch: int  # µs since 1970 at simulated second 0
    effects: Effects = field(default_factory=Effects)
    next_restart: float = 0.0

    def begin(self) -> Iterator[Change]:
        """Take hold; the changes that the device logs show."""
        if self.name == "psk":
            self.effects.psk_changed = True
            yield Change(
                self.ap, "config_change", "ssid.psk", "********", "********", "Rotated the pre-shared key"
            )
        elif self.name == "clocks":
            reset = CLOCK_RESET - self.epoch - int(self.start * 1e6)
            for number, ap in enumerate(self.site.aps):
                # Half of them start at 2010 again, the others run days ahead.
                ap.clock_offset = reset if number % 2 == 0 else 3 * 86_400_000_000
                old, ap.firmware = ap.firmware, "13.1.0"
                yield Change(ap, "firmware_update", None, old, ap.firmware, "Scheduled update")
        elif self.name == "flapping":
            self.effects.flapping = self.ap
        elif self.name == "dhcp":
            yield Change(
                self.ap,
                "config_change",
                "dhcp.lease_time",
                "3600",
                "86400",
                "Longer leases for the guest pool",
            )

    def progress(self, now: float) -> Iterator[Change]:
        """Go on to `now`."""
        part = min(1.0, (now - self.start) / max(1.0, self.end - self.start))
        effects = self.effects
        if self.name == "radius":
            effects.radius_down = 0.95
        elif self.name == "dhcp":
            effects.dhcp_dry = min(0.85, part * 2.5)  # the pool runs dry as leases go out
        elif self.name == "dns":
            effects.dns_factor = 12 + int(30 * part)
            effects.dns_lost = 0.15 * part
        elif self.name == "flapping" and now >= self.next_restart:
            self.next_restart = now + 25
            yield Change(self.ap, "restart", None, None, None, "Restarted by watchdog: PoE power lost")

    def finish(self) -> Iterator[Change]:
        """Somebody mended it."""
        if self.name == "clocks":
            for ap in self.site.aps:
                ap.clock_offset = 0
                old, ap.firmware = ap.firmware, "13.1.1"
                yield Change(
                    ap, "firmware_update", None, old, ap.firmware, "Hotfix: keep the clock at restart"
                )
        elif self.name == "flapping":
            yield Change(
                self.ap, "config_change", "port.poe_budget", "15.4", "30", "Moved to another switch port"
            )
        elif self.name == "dhcp":
            yield Change(self.ap, "config_change", "dhcp.lease_time", "86400", "3600", "Back to short leases")


class Schedule:
    """Which incident is where. `busy` gives the sites to choose from, the busiest first."""

    def __init__(
        self,
        specs: Sequence[Spec],
        rng: random.Random,
        busy: Callable[[float], Sequence[Site]],
        epoch: int,
    ) -> None:
        self._epoch = epoch
        self._rng = rng
        self._busy = busy
        self._fixed = sorted((spec for spec in specs if spec.after is not None), key=lambda s: s.after or 0.0)
        self._round = [spec for spec in specs if spec.after is None]
        self._turn = 0
        self.active: list[Incident] = []

    def advance(self, now: float) -> list[Change]:
        """Begin, go on and end what is due at `now` (simulated seconds since the start)."""
        changes: list[Change] = []
        while self._fixed and (self._fixed[0].after or 0.0) <= now:
            spec = self._fixed.pop(0)
            changes += self._start(spec, spec.after or 0.0)
        while self._round and FIRST_AFTER + self._turn * APART <= now:
            spec = self._round[self._turn % len(self._round)]
            changes += self._start(spec, FIRST_AFTER + self._turn * APART)
            self._turn += 1
        for incident in list(self.active):
            if now >= incident.end:
                self.active.remove(incident)
                changes += incident.finish()
            else:
                changes += incident.progress(now)
        return changes

    def effects(self, site: Site) -> Effects:
        for incident in self.active:
            if incident.site is site:
                return incident.effects
        return CALM

    def _start(self, spec: Spec, start: float) -> list[Change]:
        taken = {incident.site.index for incident in self.active}
        sites = [site for site in self._busy(start) if site.index not in taken][:4]
        if not sites:
            return []  # more incidents than sites: this one does not take place
        if spec.name == "radius":
            sites = [site for site in sites if site.ssids[0].authentication in ("rad", "eap")] or sites
        site = self._rng.choice(sites)
        lasting = spec.lasting if spec.lasting is not None else self._rng.uniform(*LASTING)
        incident = Incident(spec.name, site, self._rng.choice(site.aps), start, start + lasting, self._epoch)
        self.active.append(incident)
        return list(incident.begin())
