"""The simulation: a clock, and the events that the fleet writes as it goes on."""

from __future__ import annotations

import random
from bisect import bisect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.simulate import events
from tidegate.simulate.broken import Breaker
from tidegate.simulate.clients import (
    Client,
    build_app_devices,
    build_clients,
    pick_radio,
)
from tidegate.simulate.connection_logs import ConnectionLogs
from tidegate.simulate.device_logs import DeviceLogs
from tidegate.simulate.fleet import Radio, Site, build_sites
from tidegate.simulate.incidents import CALM, Change, Effects, Truth
from tidegate.simulate.rhythm import presence
from tidegate.simulate.schedule import Schedule, Spec

SHARES: dict[Stream, float] = {"connection_logs": 0.38, "client_events": 0.60, "device_logs": 0.02}
UNPACED_RATE = 20_000.0  # events to a simulated second when no rate is given
FAILING = (0.012, 0.03)  # a site's usual share of attempts that fail, drawn for each site
WEAK = 0.03  # more of them fail below -75 dBm
SPREAD = 8.0  # shape of the gamma factor on that share: the smaller, the more it varies
SPREAD_SECONDS = 600.0  # how long such a factor holds at a site
MOST_FAILING = 0.15
RETRY_SECONDS = 5.0  # of the client that does not give up


class Event(NamedTuple):
    """One event on its way out."""

    stream: Stream
    body: bytes  # JSON, without line breaks
    device: bytes  # the device's key: one device's events stay in one partition
    fault: Code | None = None  # what it must be refused for


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the events depend on: the same plan gives the same events."""

    seed: int = 1
    start: int  # µs since 1970 UTC at the first event
    rate: float = 0.0  # events per second; 0: as many as are taken, at UNPACED_RATE of simulated time
    speedup: float = 1.0  # simulated seconds to a second
    sites: int = 12
    streams: Sequence[Stream] = STREAMS
    invalid: float = 0.0  # share of broken events
    codes: frozenset[Code] = frozenset(Code)  # that broken events may have
    incidents: Sequence[Spec] = ()
    seasonal: bool = False  # `rate` is that of a fleet with every client there; fewer come at night


class Simulation:
    """`take` gives the next events. Not thread-safe."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self.sites = build_sites(plan.sites, self._rng)
        self._clients: list[list[Client]] = [build_clients(site, self._rng) for site in self.sites]
        self._devices = [build_app_devices(site, self._rng, "DEV") for site in self.sites]
        # µs of simulated time to an event, now and with every client there
        self._step = self._full_step = plan.speedup * 1e6 / (plan.rate or UNPACED_RATE)
        self._time = float(plan.start)
        self._next_second = 0.0
        self._next_minute = 0.0
        self._present = [0] * len(self.sites)
        self._weights: list[float] = []
        self._effects: list[Effects] = [CALM] * len(self.sites)
        self._schedule = Schedule(
            plan.incidents, random.Random(plan.seed + 1), self.sites, self._sites_by_clients, plan.start
        )
        self._spread = random.Random(plan.seed + 2)
        self._usual = [self._spread.uniform(*FAILING) for _ in self.sites]
        self._next_spread = 0.0
        self._factors: list[float] = []
        self._failing = list(self._usual)  # share of attempts that fail, now
        self._next_retry = 0.0
        self._held: list[list[Event]] = [[] for _ in self.sites]
        self._released: deque[Event] = deque()
        self._breaker = Breaker(plan.codes)
        self._pending: deque[Event] = deque()
        stamps = events.Stamps()
        self._connection_logs = ConnectionLogs(self._rng, stamps)
        self._device_logs = DeviceLogs(self._rng, stamps)
        shares = [SHARES[stream] if stream in plan.streams else 0.0 for stream in STREAMS]
        self._stream_weights = [share / sum(shares) for share in shares]

    @property
    def now(self) -> int:
        """Simulated time, µs since 1970 UTC."""
        return int(self._time)

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing was taken."""
        self._time += seconds * self._plan.speedup * 1e6

    def running(self) -> list[str]:
        """The incidents under way, as one reads them: ``radius at London``."""
        return [
            f"{incident.name} at {incident.site.name}" if incident.site else f"{incident.name} everywhere"
            for incident in self._schedule.active
        ]

    def ended(self) -> list[Truth]:
        """What has happened since the last call, incidents and hard negatives that are over."""
        ended = list(self._schedule.ended)
        self._schedule.ended.clear()
        return ended

    def unended(self) -> list[Truth]:
        """What is still under way; its end is now."""
        now = (self._time - self._plan.start) / 1e6
        return [incident.truth(now) for incident in self._schedule.active]

    def until(self, time: int) -> list[tuple[int, Event]]:
        """The events up to simulated `time` (µs since 1970), each with the time at which it is sent."""
        taken: list[tuple[int, Event]] = []
        while self._time < time:
            now = self.now
            taken += [(now, event) for event in self.take(1)]
        return taken

    def take(self, count: int) -> list[Event]:
        """The next `count` events, in the order of simulated time."""
        pending, step = self._pending, self._step
        uniform = self._rng.random
        connection, client = self._stream_weights[0], self._stream_weights[0] + self._stream_weights[1]
        taken: list[Event] = []
        while len(taken) < count:
            if self._released:
                taken.append(self._broken(self._released.popleft()))
                continue
            if not pending:
                if self._time >= self._next_second:
                    self._refresh()
                    step = self._step
                choice = uniform()
                site = bisect(self._weights, uniform() * self._weights[-1])
                before = len(pending)
                if choice < connection:
                    self._connection_log(site)
                elif choice < client:
                    self._visit(site)
                else:
                    self._log_change(self._device_logs.housekeeping(self.sites[site]))
                if self._effects[site].held:
                    self._hold(site, before)
            while pending and len(taken) < count:
                taken.append(self._broken(pending.popleft()))
                self._time += step
        return taken

    def _broken(self, event: Event) -> Event:
        """The event, broken in so many cases as the plan says."""
        if not self._plan.invalid or self._rng.random() >= self._plan.invalid:
            return event
        body, code = self._breaker.apply(event.stream, event.body)
        return Event(event.stream, body, event.device, code)

    def _hold(self, index: int, before: int) -> None:
        """Half of the site's devices keep their events, those behind the first `before` that are pending;
        time goes on as if they had sent them."""
        for number in range(len(self._pending)):
            event = self._pending.popleft()
            if number >= before and event.device[-1] & 1:
                self._held[index].append(event)
                self._time += self._step
            else:
                self._pending.append(event)

    # The clock

    def _refresh(self) -> None:
        self._next_second = self._time + 1e6
        changes = self._schedule.advance((self._time - self._plan.start) / 1e6)
        for index, site in enumerate(self.sites):
            before, after = self._effects[index], self._schedule.effects(site)
            if before.psk_changed != after.psk_changed:
                self._change_psk(index, after.psk_changed)
            if before.traffic != after.traffic:
                self._next_minute = 0.0
            if before.held and not after.held:
                self._released.extend(self._held[index])
                self._held[index].clear()
            self._effects[index] = after
        if self._time >= self._next_minute:
            self._next_minute = self._time + 60e6
            self._count_clients()
        for change in changes:
            if "device_logs" in self._plan.streams:
                self._log_change(change)
            if change.empties:
                self._empty(change)
        if self._time >= self._next_retry and "client_events" in self._plan.streams:
            self._next_retry = self._time + RETRY_SECONDS * 1e6
            for index, effects in enumerate(self._effects):
                if effects.retrying:
                    self._retry(index, effects)
        # What incidents add comes on top of the usual events: it takes no time from other sites.
        self._released.extend(self._pending)
        self._pending.clear()

    def _count_clients(self) -> None:
        """Who is there, and how many attempts fail, in the minute that begins."""
        shares = [presence(site.city, int(self._time)) for site in self.sites]
        counts = [len(clients) for clients in self._clients]
        effects = self._effects
        self._present = [
            n if effect.everybody else max(2, int(share * n))
            for share, n, effect in zip(shares, counts, effects, strict=True)
        ]
        weights = [
            max(present * effect.traffic, 1e-6)
            for present, effect in zip(self._present, effects, strict=True)
        ]
        self._weights = list(accumulate(weights))
        if self._plan.seasonal:
            self._step = min(self._full_step * sum(counts) / self._weights[-1], 60e6)
        if self._time >= self._next_spread:
            self._next_spread = self._time + SPREAD_SECONDS * 1e6
            self._factors = [self._spread.gammavariate(SPREAD, 1 / SPREAD) for _ in self.sites]
        self._failing = [
            usual * factor * (0.7 + 0.6 * share)  # a crowd fails more often
            for usual, factor, share in zip(self._usual, self._factors, shares, strict=True)
        ]

    def _sites_by_clients(self, after: float) -> list[tuple[int, Site]]:
        """The sites with the clients that are there `after` so many simulated seconds, busiest first."""
        time = self._plan.start + int(after * 1e6)
        counts = [
            (int(presence(site.city, time) * len(self._clients[site.index])), site) for site in self.sites
        ]
        return sorted(counts, key=lambda one: one[0], reverse=True)

    def _change_psk(self, index: int, changed: bool) -> None:
        site = self.sites[index]
        for client in self._clients[index]:
            if site.ssids[client.ssid].authentication == "psk":
                client.stale_psk = changed and self._rng.random() < 0.9
                if client.stale_psk:
                    client.radio = None

    # Wi-Fi clients

    def _visit(self, index: int) -> None:
        """Something happens with one client of a site."""
        uniform = self._rng.random
        clients, effects, site = self._clients[index], self._effects[index], self.sites[index]
        present = self._present[index]
        if effects.flapping is not None and uniform() < 0.4:
            self._flap(site, clients[:present], effects)
            return
        if uniform() < 0.04 and present < len(clients):
            number = present + int(uniform() * (len(clients) - present))
            client = clients[number]
            if client.radio is not None:
                self._leave(site, client, client.radio)
                return
        client = clients[int(uniform() * present)]
        radio = client.radio
        if radio is None:
            self._attempt(site, client, self._radio_near(site, client, client.home), effects)
            return
        choice = uniform()
        if choice < 0.40:
            self._report(site, client, radio)
        elif choice < 0.70:
            step = 1 if uniform() < 0.5 else -1
            self._attempt(site, client, self._radio_near(site, client, radio.ap.position + step), effects)
        elif choice < 0.92:
            self._attempt(site, client, radio, effects)
        else:
            self._leave(site, client, radio)

    def _radio_near(self, site: Site, client: Client, position: int) -> Radio:
        return pick_radio(client, site.aps[position % len(site.aps)], self._rng)

    def _attempt(self, site: Site, client: Client, radio: Radio, effects: Effects) -> None:
        """One connection attempt: perhaps its steps, then Success or Failure."""
        uniform = self._rng.random
        time = int(self._time) + radio.ap.clock_offset
        client.rssi = -42 - int(uniform() * 38)
        radius = radio.ssid.authentication in ("rad", "eap")
        self._see_clock(site, client, radio)
        failed = self._fails(site, client, radio, effects)
        if failed is not None:
            text, waited = failed
            client.radio = None
            self._send_client(client, events.failure(client, radio, time, waited, text))
            return
        client.radio = radio
        client.associations += 1
        expo = self._rng.expovariate
        aaa = 4 + int(expo(0.05)) if radius else 1 + int(uniform() * 4)
        dhcp = 3 + int(expo(0.03)) if uniform() < 0.7 else 0
        if effects.dhcp_dry:
            dhcp += int(expo(0.001))
        dns = (2 + int(expo(0.06))) * effects.dns_factor
        if effects.dns_factor > 1:
            effects.tally.add(client.mac, int(self._time))
        if uniform() < 0.2:
            begun = time - (aaa + dhcp + dns) * 1000
            for step, at in (
                (events.ASSOCIATED, begun),
                (events.AUTHENTICATED, begun + aaa * 1000),
                (events.ADDRESSED, begun + (aaa + dhcp) * 1000),
            ):
                self._send_client(client, events.intermediate(client, radio, at, step, site=site))
        self._send_client(client, events.success(client, radio, time, dhcp, aaa, dns))

    def _fails(
        self, site: Site, client: Client, radio: Radio, effects: Effects
    ) -> tuple[events.FailureText, int] | None:
        """Why the attempt fails and after how many ms, or None."""
        uniform = self._rng.random
        failed = self._fails_by_incident(client, radio, effects)
        if failed is not None:
            return failed
        weak = WEAK if client.rssi < -75 else 0.0
        if uniform() > min(MOST_FAILING, self._failing[site.index] + weak):
            return None
        authentication = radio.ssid.authentication
        radius = authentication in ("rad", "eap")
        kind = uniform()
        if kind < 0.2:
            return events.ASSOCIATION_FULL, 20
        if kind < 0.3:
            return events.DHCP_TIMEOUT, 4_000
        if authentication == "cpo":
            return events.PORTAL, 60_000
        if radius:
            return (events.RADIUS_REJECT, 120) if kind < 0.7 else (events.EAPOL, 4_000)
        return (events.WRONG_PSK, 250) if kind < 0.6 else (events.EAPOL, 4_000)

    def _fails_by_incident(
        self, client: Client, radio: Radio, effects: Effects
    ) -> tuple[events.FailureText, int] | None:
        uniform = self._rng.random
        failed: tuple[events.FailureText, int] | None = None
        tally = effects.tally
        if client.stale_psk:
            if uniform() < 0.01:
                client.stale_psk = False  # its owner typed in the new key
            failed = events.WRONG_PSK, 300
        elif effects.radius_down and radio.ssid.authentication in ("rad", "eap"):
            failed = (events.RADIUS_TIMEOUT, 15_000) if uniform() < effects.radius_down else None
        elif effects.dhcp_dry and uniform() < effects.dhcp_dry:
            failed = events.DHCP_DRY, 8_000
        elif effects.dns_lost and uniform() < effects.dns_lost:
            failed = events.DNS_TIMEOUT, 5_000
        if failed is None:
            for trouble in effects.troubles:
                if trouble.concerns(client.mac, client.ssid, radio.ap) and uniform() < trouble.chance:
                    failed, tally = (trouble.text, trouble.waited), trouble.tally
                    break
        if failed is not None:
            tally.add(client.mac, int(self._time))
        return failed

    def _retry(self, index: int, effects: Effects) -> None:
        """The client that does not give up tries once more."""
        site, clients = self.sites[index], self._clients[index]
        client = clients[len(clients) // 3]
        radio = client.radio or self._radio_near(site, client, client.home)
        client.radio = None
        authentication = radio.ssid.authentication
        text = (
            events.RADIUS_REJECT
            if authentication in ("rad", "eap")
            else events.PORTAL
            if authentication == "cpo"
            else events.WRONG_PSK
        )
        effects.tally.add(client.mac, int(self._time))
        time = int(self._time) + radio.ap.clock_offset
        self._send_client(client, events.failure(client, radio, time, 250, text))

    def _empty(self, change: Change) -> None:
        """An access point restarts: its clients go, and connect to the one before it in the corridor, which
        has restarted already where all restart in turn. Every other one comes back to one that restarts again
        and again: nothing else is as near."""
        if "client_events" not in self._plan.streams:
            return
        index, site = self._site_of(change)
        effects = self._effects[index]
        for client in self._clients[index]:
            radio = client.radio
            if radio is None or radio.ap is not change.ap:
                continue
            self._leave(site, client, radio)
            position = change.ap.position - 1
            if effects.flapping is change.ap:
                effects.tally.add(client.mac, int(self._time))
                position += self._rng.random() < 0.5
            self._attempt(site, client, self._radio_near(site, client, position), effects)

    def _site_of(self, change: Change) -> tuple[int, Site]:
        return next((index, site) for index, site in enumerate(self.sites) if change.ap in site.aps)

    def _report(self, site: Site, client: Client, radio: Radio) -> None:
        """A connected client's access point has something to say."""
        self._see_clock(site, client, radio)
        uniform = self._rng.random
        time = int(self._time) + radio.ap.clock_offset
        choice = uniform()
        if choice < 0.45:
            step, neighbour = events.BANDWIDTH, None
        elif choice < 0.97:
            step, neighbour = events.STEERING, self._radio_near(site, client, radio.ap.position + 1)
        else:
            step, neighbour = events.PREVENTION, None
        body = events.intermediate(
            client, radio, time, step, site=site, neighbour=neighbour, load=int(uniform() * 40)
        )
        self._send_client(client, body)

    def _leave(self, site: Site, client: Client, radio: Radio) -> None:
        self._see_clock(site, client, radio)
        time = int(self._time) + radio.ap.clock_offset
        client.radio = None
        self._send_client(client, events.intermediate(client, radio, time, events.DISASSOCIATED, site=site))

    def _see_clock(self, site: Site, client: Client, radio: Radio) -> None:
        if radio.ap.clock_offset:
            self._effects[site.index].tally.add(client.mac, int(self._time))

    def _flap(self, site: Site, clients: list[Client], effects: Effects) -> None:
        """A client of the flapping access point comes back to it, until it restarts again."""
        ap = effects.flapping
        assert ap is not None
        near = [client for client in clients if client.home == ap.position] or clients
        client = near[int(self._rng.random() * len(near))]
        self._attempt(site, client, pick_radio(client, ap, self._rng), CALM)

    def _send_client(self, client: Client, body: bytes) -> None:
        self._pending.append(Event("client_events", body, client.mac))

    # Apps, and access points as devices

    def _connection_log(self, index: int) -> None:
        devices = self._devices[index]
        device = devices[int(self._rng.random() * len(devices))]
        presence = self._present[index] / len(self._clients[index])
        body = self._connection_logs.body(
            self.sites[index], device, self._effects[index], presence, int(self._time)
        )
        self._pending.append(Event("connection_logs", body, device.id))

    def _log_change(self, change: Change) -> None:
        _, site = self._site_of(change)
        body = self._device_logs.body(change, site, int(self._time))
        self._pending.append(Event("device_logs", body, events.device_key(change.ap)))
