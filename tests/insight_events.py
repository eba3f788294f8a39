"""Events of two sites for the tests of the insight calls: a week as usual, then two hours with an incident;
and what is to be answered of them, counted in Python."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import table_rows
from clickhouse_connect.driver.client import Client

import builders

Call = Callable[..., httpx.Response]
BASE = "/api/v1/insight"
NOW = 1_763_712_000  # 2025-11-21 08:00:00 UTC: the end of the window, s
SINCE = NOW - 7200
STAGES = ("association", "authentication", "aaa", "dhcp", "dns", "network")
NAMES = {1: "1", 2: "2"}  # a location without a name is its site
HOSTILE = "=cmd()|'; DROP TABLE client_events; --<script>"
SECRET = "theirs-51c8"


class Seen(NamedTuple):
    """An event as the model knows it; times in s."""

    at: int
    site: str
    mac: str
    ssid: str
    ap: str
    kind: str  # success, failure, disassociation or report
    stage: str
    connect: int | None  # ms
    rssi: int | None
    channel: int


def event(seen: Seen) -> dict[str, Any]:
    place = {
        "locationId": {"type": "locallocationid", "id": int(seen.site)},
        "macAddress": seen.mac,
        "timestamp": seen.at * 1_000_000,
        "ssid": seen.ssid,
        "associatedAPName": seen.ap,
        "channel": seen.channel,
    }
    end = seen.at * 1000
    if seen.kind == "success":
        assert seen.connect is not None
        parts = dict.fromkeys(("aaaLatency", "dhcpLatency", "dnsLatency"), seen.connect // 4)
        return builders.connected(end, seen.connect, **place, **parts)
    if seen.kind == "failure":
        return builders.failed_at(seen.stage, end, 9000, **place)
    described = "Disassociation" if seen.kind == "disassociation" else "Bandwidth"
    return builders.intermediate(
        **place, rssi=seen.rssi, eventDescription=described, subEventDescription=None
    )


def made() -> list[Seen]:
    """A week of hours with few failures, then two hours in which RADIUS fails at site 1, on one SSID."""
    pick = random.Random(12)
    macs = {site: [f"02:00:00:0{site}:00:{n:02x}" for n in range(30)] for site in NAMES}
    found: list[Seen] = []

    def add(at: int, site: int, bad: dict[str, float]) -> None:
        ssid = pick.choice(["staff", HOSTILE])
        ap = f"AP-{site}-{pick.randrange(3)}"
        kind, stage = "success", ""
        for name, chance in bad.items():
            if pick.random() < (chance if name != "aaa" or ssid == "staff" else 0.01):
                kind, stage = "failure", name
                break
        else:
            if pick.random() < 0.45:
                kind = pick.choice(["disassociation", "report", "report"])
        connect = pick.choice([90, 400, 1900, 2000, 2001, 5000]) if kind == "success" else None
        rssi = pick.randrange(-85, -55) if kind in ("report", "disassociation") else None
        found.append(
            Seen(
                at,
                NAMES[site],
                pick.choice(macs[site]),
                ssid,
                ap,
                kind,
                stage,
                connect,
                rssi,
                pick.choice([1, 36]),
            )
        )

    calm = {"association": 0.01, "authentication": 0.02, "aaa": 0.01, "dhcp": 0.01}
    for hour in range(12):
        for _ in range(60):
            for site in NAMES:
                # one hour of an incident, which must not become usual
                bad = {**calm, "dhcp": 0.9} if hour == 5 and site == 1 else calm
                add(SINCE - (hour * 7 + 3) * 3600 + pick.randrange(3000), site, bad)
    for _ in range(500):
        add(SINCE + pick.randrange(7200), 1, {**calm, "aaa": 0.8})
        add(SINCE + pick.randrange(7200), 2, calm)
    return sorted(found)


EVENTS = made()


def store_events(store: Client) -> None:
    """Them, those of another fleet, and some device logs."""
    by_minute: dict[int, list[Seen]] = defaultdict(list)
    for seen in EVENTS:
        by_minute[seen.at // 60 * 60].append(seen)
    # Received in the minute in which they happened; one insert for each day of them.
    rows = []
    for offset, (minute, own) in enumerate(sorted(by_minute.items())):
        at = minute * 1_000_000 + 59_000_000
        rows.append(
            table_rows.table("client_events", [event(one) for one in own], offset=offset, received_at=at)
        )
    whole = pa.concat_tables(rows)
    days = pc.cast(whole["received_at"].combine_chunks().view(pa.timestamp("us")), pa.date32())
    for day in pc.unique(days).to_pylist():
        mask = pc.equal(days, pa.scalar(day, pa.date32()))
        table_rows.insert(store, "client_events", whole.filter(mask), token=str(day))
    place = {"locationId": {"type": "locallocationid", "id": 1}, "timestamp": (NOW - 600) * 1_000_000}
    theirs = [
        builders.failure(**place, macAddress=f"02:00:00:0f:00:{n:02x}", ssid=SECRET, associatedAPName=SECRET)
        for n in range(40)
    ]
    table_rows.store(
        store, "client_events", *theirs, fleet="other", offset=9000, received_at=(NOW - 600) * 1_000_000
    )
    for number, (minutes, location) in enumerate([(10, "1"), (140, "1"), (200, "1"), (20, "2"), (30, "12")]):
        when = datetime.fromtimestamp(NOW - minutes * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        log = builders.device_log(
            datetime=when, action=f"change-{minutes}", parent={"id": "d", "location": location}
        )
        table_rows.store(store, "device_logs", log, offset=number)


def ask(api: Call, path: str, model: Any = None, **params: Any) -> Any:
    answer = api(f"{BASE}/{path}", params={"from": SINCE, "to": NOW} | params)
    assert answer.status_code == 200, answer.text
    if model is not None:
        model.model_validate(answer.json())
    return answer.json()


def of(site: str | None, since: int = SINCE, until: int = NOW) -> list[Seen]:
    return [one for one in EVENTS if since <= one.at < until and site in (None, one.site)]


def tries(events: Iterable[Seen]) -> list[Seen]:
    return [one for one in events if one.kind in ("success", "failure")]


def reached(events: Iterable[Seen], stage: str) -> list[Seen]:
    later = STAGES[STAGES.index(stage) :]
    return [one for one in tries(events) if one.kind == "success" or one.stage in later]


def failed(events: Iterable[Seen], stage: str | None = None) -> list[Seen]:
    return [one for one in events if one.kind == "failure" and stage in (None, one.stage)]


def usual(site: str, stage: str = "", since: int = SINCE) -> float:
    """The share that usually fails: by the words of docs/api.md."""

    def counted(name: str) -> tuple[int, int]:
        hours: dict[int, list[Seen]] = defaultdict(list)
        for one in of(name, max(0, since - 7 * 86_400), since):
            hours[one.at // 3600].append(one)
        pairs = []
        for own in hours.values():
            came = reached(own, stage) if stage else tries(own)
            if came:
                pairs.append((len(came), len(failed(own, stage or None))))
        shares = sorted(bad / all_ for all_, bad in pairs if all_ >= 20)
        bound = max(3 * shares[len(shares) // 2], shares[len(shares) // 2] + 0.05) if shares else math.inf
        calm = [(all_, bad) for all_, bad in pairs if bad / all_ <= bound]
        return sum(all_ for all_, _ in calm), sum(bad for _, bad in calm)

    fleet = [sum(each) for each in zip(*map(counted, NAMES.values()), strict=True)]
    own_reached, own_failed = counted(site)
    prior = fleet[1] / fleet[0] if fleet[0] >= 200 else 0.03
    return (own_failed + 20 * prior) / (own_reached + 20)


def text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rounded(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
