"""When and where incidents take place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeGuard

from tidegate.errors import UsageError
from tidegate.simulate.clients import VENDORS
from tidegate.simulate.fleet import Site
from tidegate.simulate.incidents import (
    CALM,
    KINDS,
    NAMES,
    NEGATIVES,
    SECURED,
    Change,
    Effects,
    Incident,
    Name,
    Truth,
)

FIRST_AFTER = 60.0  # simulated seconds from the start to the first incident of the round
APART = 240.0  # from one to the next
SHOWN = 3  # so many of the round come to the busiest sites: a demo shows something soon
SOME_CLIENTS = 8  # a site with fewer hardly shows anything

_GROUPS: dict[str, tuple[Name, ...]] = {"all": NAMES, "negatives": NEGATIVES, "none": ()}


class Spec(NamedTuple):
    """One `--incidents` item. `after` None: takes its turn in the round. `site` None: any that fits."""

    name: Name
    after: float | None = None
    lasting: float | None = None
    site: str | None = None


def parse(text: str) -> list[Spec]:
    """A comma-separated list of ``all``, ``negatives``, ``none`` and ``NAME[:SITE][@AFTER[+LASTING]]``,
    seconds of simulated time."""
    specs: list[Spec] = []
    for item in (part.strip() for part in text.split(",")):
        if item in _GROUPS:
            specs += [Spec(name) for name in _GROUPS[item]]
            continue
        what, _, when = item.partition("@")
        name, _, site = what.partition(":")
        if not _known(name):
            known = ", ".join([*_GROUPS, *KINDS])
            raise UsageError(f"--incidents: {name!r} is none of {known}")
        after, _, lasting = when.partition("+")
        try:
            seconds = float(after) if after else None, float(lasting) if lasting else None
        except ValueError:
            raise UsageError(f"--incidents: {item!r} is not NAME[:SITE][@AFTER[+LASTING]]") from None
        specs.append(Spec(name, *seconds, site or None))
    return specs


def _known(name: str) -> TypeGuard[Name]:
    return name in KINDS


class Schedule:
    """Which incident is where. `present` gives the sites with their clients at a simulated second, the
    busiest first. Raises UsageError for a site that does not exist."""

    def __init__(
        self,
        specs: Sequence[Spec],
        rng: random.Random,
        sites: Sequence[Site],
        present: Callable[[float], Sequence[tuple[int, Site]]],
        epoch: int,
    ) -> None:
        self._epoch = epoch
        self._rng = rng
        self._sites = {site.name.casefold(): site for site in sites}
        for spec in specs:
            if spec.site is not None and spec.site.casefold() not in self._sites:
                names = ", ".join(site.name for site in sites[:24])
                raise UsageError(f"--incidents: there is no site {spec.site!r}; the first are {names}")
        self._present = present
        self._fixed = sorted((spec for spec in specs if spec.after is not None), key=lambda s: s.after or 0.0)
        self._round = [spec for spec in specs if spec.after is None]
        self._turn = 0
        self.active: list[Incident] = []
        self.ended: list[Truth] = []

    def advance(self, now: float) -> list[Change]:
        """Begin, go on and end what is due at `now` (simulated seconds since the start)."""
        changes: list[Change] = []
        while self._fixed and (self._fixed[0].after or 0.0) <= now:
            spec = self._fixed.pop(0)
            changes += self._start(spec, spec.after or 0.0)
        while self._round and FIRST_AFTER + self._turn * APART <= now:
            spec = self._round[self._turn % len(self._round)]
            changes += self._start(spec, FIRST_AFTER + self._turn * APART, shown=self._turn < SHOWN)
            self._turn += 1
        for incident in list(self.active):
            if now >= incident.end:
                self.active.remove(incident)
                changes += incident.finish()
                self.ended.append(incident.truth(now))
            else:
                changes += incident.progress(now)
        return changes

    def effects(self, site: Site) -> Effects:
        own = next((incident.effects for incident in self.active if incident.site is site), CALM)
        everywhere = [
            trouble
            for incident in self.active
            if incident.site is None
            for trouble in incident.effects.troubles
        ]
        return replace(own, troubles=[*own.troubles, *everywhere]) if everywhere else own

    def _start(self, spec: Spec, start: float, *, shown: bool = False) -> list[Change]:
        taken = {incident.site.index for incident in self.active if incident.site is not None}
        free = [(count, site) for count, site in self._present(start) if site.index not in taken]
        if spec.site is not None:
            free = [(count, site) for count, site in free if site is self._sites[str(spec.site).casefold()]]
        if not free:
            return []  # its site has another one, or there are more incidents than sites: not this time
        site = self._rng.choice(free[:4] if shown else _suitable(spec.name, free))[1]
        lasting = spec.lasting if spec.lasting is not None else self._rng.uniform(*KINDS[spec.name].lasting)
        incident = Incident(
            name=spec.name,
            site=None if spec.name == "fleet-dns" else site,
            ap=self._rng.choice(site.aps),
            ssid=self._rng.choice((SECURED[0], 1)),
            vendor=self._rng.choice(list(VENDORS)),
            start=start,
            end=start + lasting,
            epoch=self._epoch,
        )
        self.active.append(incident)
        return list(incident.begin())


def _suitable(name: Name, free: Sequence[tuple[int, Site]]) -> Sequence[tuple[int, Site]]:
    """Those of the sites, the busiest first, where it can be seen; all where it can be seen nowhere."""
    half = (len(free) + 1) // 2
    if name == "night":
        return free[-3:]
    if name == "quiet":
        quiet = free[half:] or free
        return [one for one in quiet if one[0] >= SOME_CLIENTS] or quiet[:1]
    if name == "radius":
        logins = [one for one in free if one[1].ssids[0].authentication in ("rad", "eap")]
        free = logins or free
    elif name == "psk":
        free = [one for one in free if one[1].ssids[0].authentication == "psk"] or free
    elif name in ("ap", "vendor", "rush"):
        free = free[:half]  # what concerns a part of the clients needs many
    return [one for one in free if one[0] >= SOME_CLIENTS] or free
