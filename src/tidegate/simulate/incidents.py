"""What goes wrong, and what only looks like it.

An incident is one that an on-call engineer knows: a cause, a site (or the whole fleet), some minutes or
hours. Some begin with a change that the device logs show; all of them show in the client events. A hard
negative is what a detector should not take for one: a rush, a single client that retries, late uploads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from tidegate.simulate import events
from tidegate.simulate.clients import VENDORS
from tidegate.simulate.events import FailureText
from tidegate.simulate.fleet import AccessPoint, Site

Incidents = Literal[
    "radius",  # logins time out
    "dhcp",  # the pool runs dry after a longer lease time
    "dns",  # answers get slow, some never come
    "psk",  # clients still have the key from before a change
    "flapping",  # one access point restarts again and again
    "clocks",  # access points lose the time at a firmware update
    "ap",  # one access point takes nobody
    "ssid",  # one network fails, the others do not
    "vendor",  # clients of one maker fail
    "quiet",  # DHCP is away at a site with few clients
    "drift",  # DHCP gets worse over an hour or two
    "fleet-dns",  # DNS fails at every site
    "silence",  # a site's uplink is away: nothing comes, and nothing later
]
Negatives = Literal[
    "rush",  # everybody comes at once and connects
    "retrying",  # one client with a wrong password, every five seconds
    "late",  # half of a site's devices keep their events for a while and send them at once
    "restarts",  # planned: each access point once, its clients come back
    "night",  # even fewer events than in other nights
]
Name = Incidents | Negatives
NAMES: tuple[Incidents, ...] = get_args(Incidents)
NEGATIVES: tuple[Negatives, ...] = get_args(Negatives)

DRIFT = 0.4  # share of attempts that fail at the end of a drift
CLOCK_RESET = 1_262_304_000_000_000  # 2010-01-01 in µs: where a clock without a battery starts


class Kind(NamedTuple):
    """What a detector should say of an incident; nothing of a hard negative."""

    lasting: tuple[float, float] = (240.0, 480.0)  # seconds
    signals: tuple[str, ...] = ()  # of contracts/alerts.py, the chief one first
    stage: str = ""
    text: FailureText | None = None


_MINUTES = 60.0
_FAILING = ("stage_failures",)
KINDS: dict[Name, Kind] = {
    "radius": Kind(signals=_FAILING, stage="aaa", text=events.RADIUS_TIMEOUT),
    "dhcp": Kind(signals=_FAILING, stage="dhcp", text=events.DHCP_DRY),
    "dns": Kind(signals=("slow_stage", "stage_failures"), stage="dns", text=events.DNS_TIMEOUT),
    "psk": Kind(signals=_FAILING, stage="authentication", text=events.WRONG_PSK),
    "flapping": Kind(signals=("disassociations",)),
    "clocks": Kind(signals=("clock_skew",)),
    "ap": Kind(signals=_FAILING, stage="association", text=events.ASSOCIATION_FULL),
    "ssid": Kind(signals=_FAILING, stage="authentication", text=events.EAPOL),
    "vendor": Kind(signals=_FAILING, stage="authentication", text=events.EAPOL),
    "quiet": Kind((10 * _MINUTES, 20 * _MINUTES), _FAILING, "dhcp", events.DHCP_TIMEOUT),
    "drift": Kind((60 * _MINUTES, 120 * _MINUTES), _FAILING, "dhcp", events.DHCP_TIMEOUT),
    "fleet-dns": Kind(signals=_FAILING, stage="dns", text=events.DNS_TIMEOUT),
    "silence": Kind((20 * _MINUTES, 40 * _MINUTES), ("no_events",)),
    "rush": Kind((30 * _MINUTES, 60 * _MINUTES)),
    "retrying": Kind((10 * _MINUTES, 10 * _MINUTES)),
    "late": Kind((15 * _MINUTES, 40 * _MINUTES)),
    "restarts": Kind((20 * _MINUTES, 40 * _MINUTES)),
    "night": Kind((240 * _MINUTES, 360 * _MINUTES)),
}


class Change(NamedTuple):
    """A device log entry that an incident leaves. `empties`: the access point's clients are thrown off."""

    ap: AccessPoint
    action: str
    variable: str | None
    old: str | None
    new: str | None
    notes: str
    empties: bool = False


@dataclass(slots=True)
class Tally:
    """Whom an incident hit."""

    clients: set[bytes] = field(default_factory=set)
    first: int = 0  # simulated µs since 1970 of the first hit; 0: none

    def add(self, mac: bytes, time: int) -> None:
        if not self.first:
            self.first = time
        self.clients.add(mac)


@dataclass(slots=True)
class Trouble:
    """Attempts that fail with probability `chance`; where a field is empty, any."""

    chance: float
    text: FailureText
    waited: int  # ms
    tally: Tally
    ap: AccessPoint | None = None
    ssids: tuple[int, ...] = ()  # indexes in the site's SSIDs
    ouis: tuple[bytes, ...] = ()

    def concerns(self, mac: bytes, ssid: int, ap: AccessPoint) -> bool:
        return (
            (self.ap is None or self.ap is ap)
            and (not self.ssids or ssid in self.ssids)
            and (not self.ouis or mac.startswith(self.ouis))
        )


@dataclass(slots=True)
class Effects:
    """What is wrong at one site right now; the defaults are a site where all is well."""

    radius_down: float = 0.0  # probability that a RADIUS login times out
    dhcp_dry: float = 0.0  # probability that no address is left
    dns_factor: int = 1  # times the usual DNS latency
    dns_lost: float = 0.0  # probability that a look-up times out
    psk_changed: bool = False
    flapping: AccessPoint | None = None
    troubles: list[Trouble] = field(default_factory=list)
    traffic: float = 1.0  # times the usual number of events
    everybody: bool = False  # all clients are there
    retrying: bool = False
    held: bool = False  # half of the devices keep what they have to say
    tally: Tally = field(default_factory=Tally)


CALM = Effects()


class Truth(NamedTuple):
    """What an incident or hard negative was. Times are simulated µs since 1970; empty: does not apply."""

    name: Name
    hard_negative: bool
    site: str  # empty: the whole fleet
    location: int  # id of the site, 0: the whole fleet
    signals: tuple[str, ...]
    stages: tuple[str, ...]
    ssid: str
    ap: str
    vendor: str
    code: int | None
    sub_code: int | None
    start: int
    end: int
    first: int  # first event that shows it, 0: none did
    clients: int  # distinct ones that it hit


@dataclass(slots=True, eq=False)
class Incident:
    """A fault that takes hold of a site, or the fleet, for a while. `begin`, `progress` and `finish` change
    its `effects`."""

    name: Name
    site: Site | None  # None: every site
    ap: AccessPoint  # that is concerned, or whose log shows the change
    ssid: int  # index of the network that is concerned
    vendor: str
    start: float  # simulated seconds from the start of the simulation
    end: float
    epoch: int  # µs since 1970 at simulated second 0
    effects: Effects = field(default_factory=Effects)
    next_restart: float = 0.0
    restarted: int = 0

    def begin(self) -> Iterator[Change]:
        """Take hold; the changes that the device logs show."""
        effects, ap = self.effects, self.ap
        match self.name:
            case "radius":
                effects.radius_down = 0.95
            case "dhcp":
                yield Change(
                    ap,
                    "config_change",
                    "dhcp.lease_time",
                    "3600",
                    "86400",
                    "Longer leases for the guest pool",
                )
            case "psk":
                effects.psk_changed = True
                yield Change(
                    ap, "config_change", "ssid.psk", "********", "********", "Rotated the pre-shared key"
                )
            case "flapping":
                effects.flapping = ap
            case "clocks":
                yield from self._lose_clocks()
            case "ap":
                self._trouble(0.9, 20, ap=ap)
            case "ssid":
                self._trouble(0.9, 4_000, ssids=(self.ssid,))
                yield Change(ap, "config_change", "ssid.cipher", "ccmp", "gcmp", "Stronger cipher")
            case "vendor":
                ouis = tuple(oui.encode() for oui in VENDORS[self.vendor])
                self._trouble(0.9, 4_000, ssids=SECURED, ouis=ouis)
            case "quiet":
                self._trouble(0.85, 4_000)
            case "drift":
                self._trouble(0.0, 4_000)
            case "fleet-dns":
                self._trouble(0.7, 5_000)
            case "silence":
                effects.traffic = 0.0
            case "rush":
                effects.traffic, effects.everybody = 4.0, True
            case "retrying":
                effects.retrying = True
            case "late":
                effects.held = True
            case "night":
                effects.traffic = 0.1

    def progress(self, now: float) -> Iterator[Change]:
        """Go on to `now`."""
        part = min(1.0, (now - self.start) / max(1.0, self.end - self.start))
        effects = self.effects
        if self.name == "dhcp":
            effects.dhcp_dry = min(0.85, part * 2.5)  # the pool runs dry as leases go out
        elif self.name == "dns":
            effects.dns_factor = 12 + int(30 * part)
            effects.dns_lost = 0.15 * part
        elif self.name == "drift":
            effects.troubles[0].chance = DRIFT * part
        elif self.name == "flapping" and now >= self.next_restart:
            self.next_restart = now + 25
            yield Change(
                self.ap, "restart", None, None, None, "Restarted by watchdog: PoE power lost", empties=True
            )
        elif self.name == "restarts" and self.site is not None:
            aps = self.site.aps
            while self.restarted < min(len(aps), int(part * len(aps)) + 1):
                ap = aps[self.restarted]
                self.restarted += 1
                yield Change(ap, "restart", None, None, None, "Planned maintenance", empties=True)

    def finish(self) -> Iterator[Change]:
        """Somebody mended it."""
        if self.name == "clocks" and self.site is not None:
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
        elif self.name == "ssid":
            yield Change(self.ap, "config_change", "ssid.cipher", "gcmp", "ccmp", "Back to the old cipher")

    def truth(self, now: float) -> Truth:
        """What it was, `now` if it goes on."""
        kind, tally = KINDS[self.name], self.effects.tally
        text = self._text
        return Truth(
            name=self.name,
            hard_negative=self.name in NEGATIVES,
            site=self.site.name if self.site else "",
            location=self.site.location if self.site else 0,
            signals=kind.signals,
            stages=(kind.stage,) if kind.stage else (),
            ssid=self.site.ssids[self.ssid].name if self.site and self.name == "ssid" else "",
            ap=self.ap.name if self.name in ("ap", "flapping") else "",
            vendor=self.vendor if self.name == "vendor" else "",
            code=text.code if text else None,
            sub_code=text.sub_code if text else None,
            start=self.epoch + int(self.start * 1e6),
            end=self.epoch + int(min(self.end, now) * 1e6),
            first=tally.first,
            clients=len(tally.clients),
        )

    @property
    def _text(self) -> FailureText | None:
        if self.name == "ssid" and self.ssid not in SECURED:
            return events.PORTAL
        return KINDS[self.name].text

    def _trouble(
        self,
        chance: float,
        waited: int,
        *,
        ap: AccessPoint | None = None,
        ssids: tuple[int, ...] = (),
        ouis: tuple[bytes, ...] = (),
    ) -> None:
        text = self._text
        assert text is not None
        self.effects.troubles.append(Trouble(chance, text, waited, self.effects.tally, ap, ssids, ouis))

    def _lose_clocks(self) -> Iterator[Change]:
        assert self.site is not None
        reset = CLOCK_RESET - self.epoch - int(self.start * 1e6)
        for number, ap in enumerate(self.site.aps):
            # Half of them start at 2010 again, the others run days ahead.
            ap.clock_offset = reset if number % 2 == 0 else 3 * 86_400_000_000
            old, ap.firmware = ap.firmware, "13.1.0"
            yield Change(ap, "firmware_update", None, old, ap.firmware, "Scheduled update")


SECURED = (0, 2)  # indexes of the SSIDs with a key or a login: each site's second one is open
