"""A store for the pages, notebooks and dashboards of analysts: three sites on a working day.

Everything stands in the lists of this module; whoever wants to know what a query must answer counts in them.
Yesterday from 8:00 to 13:00 UTC: at Toronto RADIUS fails on the SSID `staff` from 10:40 to 11:20, at Oslo the
access point Oslo-2 gives no addresses from 11:00 on, at Lima DNS fails from 10:30 on until the site falls
silent at 11:30. The same hours of the week before were calm. Fleet `other` has events of the same clients,
networks and sites.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import table_rows
from alert_documents import alert
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of
from enriched_events import with_sites

import builders
from tidegate.contracts.alerts import Alert, Impact
from tidegate.contracts.topics import Stream
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.clickhouse.credentials import User
from tidegate.lookups import Lookups
from tidegate.lookups.networks import ApprovedNetworks
from tidegate.lookups.sites import Site
from tidegate.store.alerts import block, months
from tidegate.store.insert import insert

FLEET, OTHER = "demo", "other"
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""A day that the refreshed tables of hours still count."""
SINCE, UNTIL = DAY + timedelta(hours=10), DAY + timedelta(hours=12)
WEEK = timedelta(days=7)

SITES = {
    1: Site("Toronto", 43.65, -79.38, "America/Toronto"),
    2: Site("Oslo", 59.91, 10.75, "Europe/Oslo"),
    3: Site("Lima", -12.05, -77.04, "America/Lima"),
}
VENDORS = {
    "68:05:71": "Samsung Electronics Co.,Ltd",
    "f0:18:98": "Apple, Inc.",
    "a4:c3:f0": "Intel Corporate",
}
TIMES = (120, 400, 900, 1800, 2500, 6000)  # ms from association to network


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A client event. `kind`: success, failure, report (of signals) or left."""

    fleet: str
    received: datetime
    at: datetime  # by the client's clock
    skewed: bool
    site: str
    mac: str
    ssid: str
    ap: str
    channel: int
    kind: str
    stage: str = ""  # of a failure
    took: int | None = None  # ms, of a success; the AAA, DHCP and DNS parts a tenth, a fifth and a half of it
    rssi: int | None = None  # dBm, of a report
    neighbour_rssi: int | None = None
    load: int | None = None  # clients in both bands, of a report

    @property
    def band(self) -> str:
        return "2.4" if self.channel == 1 else "5"

    @property
    def vendor(self) -> str:
        return VENDORS[self.mac[:8]]

    @property
    def moment(self) -> datetime:
        """When it happened, as far as its clock is to be trusted."""
        return self.received if self.skewed else self.at

    @property
    def attempt(self) -> bool:
        return self.kind in ("success", "failure")

    def document(self) -> dict[str, Any]:
        place = {
            "macAddress": self.mac,
            "locationId": {
                "type": "locallocationid",
                "id": next(n for n, s in SITES.items() if s.name == self.site),
            },
            "bssid": f"00:11:74:00:00:{int(self.ap[-1]):02x}",
            "timestamp": micros(self.at),
            "ssid": self.ssid,
            "associatedAPName": self.ap,
            "channel": self.channel,
        }
        end = micros(self.at) // 1000
        if self.kind == "success":
            assert self.took is not None
            parts = {"aaaLatency": 10, "dhcpLatency": 5, "dnsLatency": 2}
            return builders.connected(
                end, self.took, **place, **{name: self.took // part for name, part in parts.items()}
            )
        if self.kind == "failure":
            return builders.failed_at(self.stage, end, 4000, **place)
        return builders.intermediate(
            **place,
            eventDescription="Disassociation" if self.kind == "left" else "Report",
            subEventDescription=None,
            rssi=self.rssi,
            bstNbrRssi=self.neighbour_rssi,
            clCount2Ghz=self.load,
            clCount5Ghz=0 if self.load is not None else None,
        )


def micros(moment: datetime) -> int:
    """Since 1970; whole milliseconds in all of these events."""
    return round(moment.timestamp() * 1000) * 1000


def _macs(site: int) -> list[str]:
    return [f"{list(VENDORS)[number % 3]}:0{site}:00:{number:02x}" for number in range(12)]


def _event(pick: random.Random, fleet: str, around: datetime, place: int, *, calm: bool) -> Seen:
    received = around + timedelta(milliseconds=pick.randrange(30_000))
    site = SITES[place].name
    mac = pick.choice(_macs(place))
    ssid, ap = pick.choice(["staff", "guests"]), f"{site}-{pick.randint(1, 3)}"
    start = received.hour * 60 + received.minute
    chances = {"authentication": 0.04, "aaa": 0.01, "dhcp": 0.01}
    if not calm and site == "Toronto" and ssid == "staff" and 640 <= start < 680:
        chances["aaa"] = 0.8
    if not calm and ap == "Oslo-2" and start >= 660:
        chances["dhcp"] = 0.6
    if not calm and site == "Lima" and start >= 630:
        chances["dns"] = 0.3
    skewed = mac.endswith("03")  # one client of each site has the wrong day
    lag = timedelta(days=3) if skewed else timedelta(minutes=40) if pick.random() < 0.03 else timedelta(0)
    common: dict[str, Any] = {
        "fleet": fleet,
        "received": received,
        "at": received - lag - timedelta(milliseconds=pick.randrange(100, 900)),
        "skewed": skewed,
        "site": site,
        "mac": mac,
        "ssid": ssid,
        "ap": ap,
        "channel": pick.choice([1, 36]),
    }
    if pick.random() < 0.3:
        if pick.random() < 0.2:
            return Seen(**common, kind="left")
        rssi = pick.randint(-85, -50) - (8 if ap.endswith("3") else 0)
        near = rssi + pick.randint(-10, 15)
        return Seen(**common, kind="report", rssi=rssi, neighbour_rssi=near, load=pick.randint(1, 50))
    for stage, chance in chances.items():
        if pick.random() < chance:
            return Seen(**common, kind="failure", stage=stage)
    return Seen(**common, kind="success", took=pick.choice(TIMES))


def _client_events() -> list[Seen]:
    pick = random.Random(25)
    found = []
    for calm, day in ((True, DAY - WEEK), (False, DAY)):
        for second in range(8 * 3600, 13 * 3600, 30):
            for place in SITES:
                if place == 3 and not calm and second >= 11.5 * 3600:
                    continue
                for _ in range(3 if place == 1 else 1):
                    if pick.random() < (0.9, 0.6, 0.3)[place - 1]:
                        found.append(_event(pick, FLEET, day + timedelta(seconds=second), place, calm=calm))
            if pick.random() < 0.2:
                place = pick.choice(list(SITES))
                found.append(_event(pick, OTHER, day + timedelta(seconds=second), place, calm=False))
    return sorted(found, key=lambda one: one.received)


CLIENT_EVENTS: Sequence[Seen] = _client_events()


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection log of the network form."""

    fleet: str
    received: datetime
    device: str
    network: str
    kind: str  # wi or mo
    security: str
    mccmnc: str | None
    operator: str
    inbytes: int
    outbytes: int
    metric: str | None
    value: int | None

    @property
    def unapproved(self) -> bool:
        """By the table of `lookups`: `staff` is the network of fleet demo."""
        return self.kind == "wi" and self.fleet == FLEET and self.network != "staff"

    def document(self) -> dict[str, Any]:
        return builders.network_log(
            network_name=self.network,
            network_type=self.kind,
            network_security=self.security,
            network_mccmnc=self.mccmnc,
            authentication="psk" if self.kind == "wi" else "3gp",
            frequency=5.0 if self.kind == "wi" else 1.8,
            bssid="00:1a:2b:3c:4d:5e" if self.kind == "wi" else None,
            inbytes=self.inbytes,
            outbytes=self.outbytes,
            quality_metric=self.metric,
            quality_value=self.value,
        )


def _connections() -> list[Connection]:
    pick = random.Random(24)
    wifi = [("staff", "wp2"), ("Free WiFi", "opn"), ("Old printer", "wep"), ("Home", "wp2")]
    mobile = [("310010", "Verizon"), ("310410", "AT&T")]
    found = []
    for number in range(160):
        kind = pick.choice(["wi", "mo"])
        network, security = pick.choice(wifi) if kind == "wi" else ("", "3gp")
        mccmnc, operator = pick.choice(mobile) if kind == "mo" else (None, "")
        found.append(
            Connection(
                fleet=OTHER if number % 8 == 0 else FLEET,
                received=DAY + timedelta(hours=9, seconds=number * 90),
                device=f"phone-{pick.randrange(20)}",
                network=network,
                kind=kind,
                security=security,
                mccmnc=mccmnc,
                operator=operator,
                inbytes=pick.randrange(10_000_000),
                outbytes=pick.randrange(1_000_000),
                metric="rssi" if kind == "wi" or number % 3 else "sinr",
                value=pick.randint(-90, -50) if kind == "wi" or number % 3 else pick.randint(0, 20),
            )
        )
    return found


CONNECTIONS: Sequence[Connection] = _connections()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A device log."""

    fleet: str
    at: datetime
    location: str
    device: str
    action: str
    variable: str | None
    old: str | None
    new: str | None
    user: str
    pending: bool = False

    def document(self) -> dict[str, Any]:
        return builders.device_log(
            datetime=self.at.isoformat().replace("+00:00", "Z"),
            parent={"id": self.device, "name": self.device, "model": "AP-9", "location": self.location},
            action=self.action,
            variable_name=self.variable,
            old_value=self.old,
            new_value=self.new,
            user=self.user,
            is_pending=self.pending,
            is_applied=not self.pending,
            applied_at=None,
        )


def _changes() -> list[Change]:
    def change(minute: int, location: str, action: str, **fields: Any) -> Change:
        said: dict[str, Any] = {
            "fleet": FLEET,
            "at": DAY + timedelta(minutes=minute),
            "location": location,
            "device": f"{location}-controller",
            "action": action,
            "variable": None,
            "old": None,
            "new": None,
            "user": "kim",
        }
        return Change(**said | fields)

    return [
        change(540, "Toronto", "firmware_update", variable="version", old="9.1", new="9.2"),
        change(575, "Toronto", "restart"),
        change(635, "Toronto", "config_change", variable="radius_server", old="10.0.0.5", new="10.0.0.6"),
        change(636, "Toronto 2nd floor", "restart", device="Toronto-2"),
        change(640, "Oslo", "config_change", variable="dhcp_relay", old="10.1.0.1", new="10.1.0.2"),
        change(650, "Toronto", "restart", fleet=OTHER),
        change(700, "Toronto", "config_change", variable="channel", old="1", new="6", pending=True),
        change(725, "Toronto", "restart"),
    ]


CHANGES: Sequence[Change] = _changes()


def _alert(minute: int, sequence: int, state: str, site: str, **changed: Any) -> Alert:
    began = DAY + timedelta(minutes=641 if site == "Toronto" else 661)
    fields: dict[str, Any] = {
        "id": f"alert-{site}",
        "site": site,
        "sequence": sequence,
        "state": state,
        "started_at": began.isoformat(),
        "updated_at": (DAY + timedelta(minutes=minute)).isoformat(),
        "summary": f"Clients fail at {site}",
    }
    return alert(**fields | changed)


ALERTS: Sequence[Alert] = [
    _alert(643, 1, "open", "Toronto", impact=Impact(clients=9, clients_seen=12)),
    _alert(650, 2, "acked", "Toronto", by="kim", impact=Impact(clients=11, clients_seen=12)),
    _alert(690, 3, "resolved", "Toronto", impact=Impact(clients=12, clients_seen=12)),
    _alert(664, 1, "open", "Oslo", stage="dhcp", severity="warning", impact=Impact(clients=5)),
    _alert(672, 2, "acked", "Oslo", stage="dhcp", severity="warning", by="lee", impact=Impact(clients=7)),
    _alert(665, 1, "open", "Lima", stage="dns", severity="critical", impact=Impact(clients=6)),
    _alert(665, 1, "open", "Oslo", fleet=OTHER),
]

REJECTS: Sequence[dict[str, Any]] = [
    {
        "fleet": OTHER if number == 6 else FLEET,
        "id": f"{table_rows.EPOCH}-c0-{90 + number}-0",
        "received_at": DAY + timedelta(hours=10, minutes=number),
        "stream": "client_events",
        "epoch": table_rows.EPOCH,
        "partition": 0,
        "offset": 90 + number,
        "index": 0,
        "stage": "decode",
        "kind": kind,
        "code": code,
        "path": path,
        "found": found,
        "detail": "",
        "device": device,
    }
    for number, (kind, code, path, found, device) in enumerate(
        [
            ("value", "bad_mac", "macAddress", "68:05:71", "controller-1"),
            ("value", "bad_mac", "macAddress", "68:05:72", "controller-1"),
            ("value", "bad_mac", "macAddress", "none", "controller-2"),
            ("required", "missing", "eventType", "", "controller-2"),
            ("required", "missing", "eventType", "", "controller-2"),
            ("syntax", "not_json", "", "{", "controller-3"),
            ("syntax", "not_json", "", "{", "controller-3"),
        ]
    )
]


def lookups() -> Lookups:
    """The shipped tables, the names of the sites, and the network that fleet demo approves."""
    named = with_sites(**{f"site{number}": site for number, site in SITES.items()})
    sites = {(fleet, number): site for fleet in (FLEET, OTHER) for number, site in SITES.items()}
    return replace(
        named,
        sites=replace(named.sites, by_location=sites),
        approved=ApprovedNetworks(frozenset({FLEET}), frozenset({(FLEET, "staff", "")})),
    )


def seed(client: Client) -> None:
    """Everything into the database of `client`, with its ledger, and the tables of hours refreshed."""
    known = lookups()
    lines: dict[Stream, list[bytes]] = {
        "client_events": [
            builders.envelope(one.document(), fleet=one.fleet, received_at=micros(one.received))
            for one in CLIENT_EVENTS
        ],
        "connection_logs": [
            builders.envelope(
                one.document(), fleet=one.fleet, received_at=micros(one.received), device=one.device
            )
            for one in CONNECTIONS
        ],
        "device_logs": [
            builders.envelope(one.document(), fleet=one.fleet, received_at=micros(one.at) + 1_000_000)
            for one in CHANGES
        ],
    }
    for stream, written in lines.items():
        rows = table_rows.table_of_lines(stream, written, lookups=known)
        table_rows.insert(client, stream, rows, token=f"seed:{stream}")
        refused = len(REJECTS) if stream == "client_events" else 0
        _plan(client, stream, accepted=len(written), rejected=refused)
    names = list(REJECTS[0])
    client.insert("rejects", [list(row.values()) for row in REJECTS], column_names=names)
    for month in months(ALERTS):
        insert(client, str(client.database), block(month, table_rows.EPOCH), token="")
    hours = ("stage_hours", "radio_hours", "contrast_hours", "site_hours", "site_states")
    for view in (*hours, "site_events", "site_levels"):
        client.command(f"SYSTEM REFRESH VIEW {view}_mv")
        client.command(f"SYSTEM WAIT VIEW {view}_mv")


def _plan(client: Client, stream: Stream, *, accepted: int, rejected: int) -> None:
    """The ledger's row of the one frame with these lines."""
    row = [table_rows.EPOCH, stream, 0, 0, 0, -1, 1, accepted + rejected, accepted, rejected, [DAY.date()]]
    names = ["epoch", "stream", "partition", "first", "last", "previous", "frames", "lines"]
    client.insert("sink_batches", [row], column_names=[*names, "accepted", "rejected", "days"])


def within(moment: datetime) -> bool:
    """In the two hours that the queries ask for."""
    return SINCE <= moment < UNTIL


def received(fleet: str = FLEET, since: datetime = SINCE, until: datetime = UNTIL) -> list[Seen]:
    """The client events that were received in a window."""
    return [one for one in CLIENT_EVENTS if one.fleet == fleet and since <= one.received < until]


def attempts(events: Iterable[Seen]) -> list[Seen]:
    return [one for one in events if one.attempt]


def failures(events: Iterable[Seen]) -> list[Seen]:
    return [one for one in events if one.kind == "failure"]


def newest_alerts() -> list[Alert]:
    """The last change of each alert of fleet demo."""
    last: dict[str, Alert] = {}
    for one in ALERTS:
        if one.fleet == FLEET:
            last[one.id] = max(last.get(one.id, one), one, key=lambda change: change.sequence)
    return list(last.values())


class Seeded(NamedTuple):
    """The ClickHouse of `tidegate up` with all of this in its database `tidegate`."""

    server: ClickHouseServer
    client: Client  # an analyst's, who only reads

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    @property
    def password(self) -> str:
        """Of the user analyst."""
        return self.server.credentials[User.ANALYST]


@contextmanager
def running(folder: Path) -> Iterator[Seeded]:
    """The store, its files in `folder`, until the block ends."""
    server = ClickHouseServer(f"127.0.0.1:{free_port()}", folder / "store", folder / "clickhouse.log")
    server.start()
    try:
        with migrated(settings_of(server, clickhouse_database="tidegate")) as client:
            seed(client)
            analyst = clickhouse_connect.get_client(dsn=server.url_of(User.ANALYST), database="tidegate")
            yield Seeded(server, analyst)
    finally:
        server.stop()
