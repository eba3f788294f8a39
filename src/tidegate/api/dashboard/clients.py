"""Clients: the timeline and grid of one, and finding one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.answer_cache import AnswerCache
from tidegate.api.client_events import KEYS
from tidegate.api.dashboard import charts, text
from tidegate.api.dashboard.web import Page, Viewer, go, render
from tidegate.api.dashboard.windows import window
from tidegate.api.reading import Reading
from tidegate.api.stored_names import names
from tidegate.contracts.formats import parse_mac
from tidegate.store import dashboard

router = APIRouter(route_class=Page, include_in_schema=False)

EVENTS = 4000  # of a window that are drawn
LISTED = 200  # events in words under the timeline
LANES = 16
ATTEMPTS = ("success", "failure")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of an attempt: how it went and how long it took."""

    name: str
    mark: str
    words: str
    milliseconds: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event in words."""

    row: Mapping[str, Any]
    outcome: str
    mark: str
    what: str
    where: str
    steps: tuple[Step, ...] = field(default=())


STAGES = (
    ("association", "assoc"),
    ("authentication", "auth"),
    ("aaa", "aaa"),
    ("dhcp", "dhcp"),
    ("dns", "dns"),
)


def event(values: Sequence[Any]) -> Event:
    row = dict(zip(dashboard.CLIENT_NAMES, values, strict=True))
    outcome = row["outcome"] if row["outcome"] in charts.SHAPES else "intermediate"
    return Event(row, outcome, charts.SHAPES[outcome], _what(row), _where(row), tuple(_steps(row)))


def _what(row: Mapping[str, Any]) -> str:
    if row["outcome"] == "success":
        took = _between(row["association_at"], row["network_at"])
        return "connected" + (f" in {text.milliseconds(took)}" if took is not None else "")
    if row["outcome"] == "failure":
        codes = "/".join(
            str(each) for each in (row["failure_code"], row["sub_failure_code"]) if each is not None
        )
        words = row["sub_failure"] or row["failure"] or "failed"
        return " ".join(part for part in (row["stage"], codes, words) if part)
    words = [row["category"], row["event_description"], row["sub_event_description"]]
    words = [_filled(word, row) for word in words]
    known = [word for word in dict.fromkeys(words) if word and word.strip("#")]
    codes = "/".join(str(row[name]) for name in ("category_code", "type_code") if row[name] is not None)
    return ": ".join(known) or f"event {codes}".strip()


_PLACE = re.compile(r"\[\$([A-Za-z0-9]{1,30})\]")
_COLUMNS = {key.lower(): column for key, column in KEYS["Intermediate"].items()}


def _filled(words: str, row: Mapping[str, Any]) -> str:
    """A text of the catalogue with the event's values in its places: `[$rssi]`."""

    def value(place: re.Match[str]) -> str:
        found = row.get(_COLUMNS.get(place[1].lower(), ""))
        return place[0] if found in (None, "") else str(found)

    return _PLACE.sub(value, words)


def _where(row: Mapping[str, Any]) -> str:
    parts = [row["ssid"], row["ap_name"] or row["bssid"]]
    if row["channel"] is not None:
        parts.append(f"ch {row['channel']}")
    if row["rssi"] is not None:
        parts.append(f"{row['rssi']} dBm")
    return " · ".join(part for part in parts if part)


def _between(since: int | None, until: int | None) -> int | None:
    return None if since is None or until is None or until < since else (until - since) // 1000


def _steps(row: Mapping[str, Any]) -> Iterator[Step]:
    """The stages of an attempt up to the one that failed."""
    if row["outcome"] not in ATTEMPTS:
        return
    took = {
        "association": None,
        "authentication": _between(row["association_at"], row["authentication_at"]),
        "aaa": row["aaa_latency"],
        "dhcp": row["dhcp_latency"],
        "dns": row["dns_latency"],
    }
    failed = row["stage"] if row["outcome"] == "failure" else ""
    reached = True
    for stage, name in STAGES:
        if stage == failed:
            yield Step(name, "✖", "failed", took[stage])
            reached = False
        elif reached and not (failed and failed not in took):
            yield Step(name, "✓", "good", took[stage])
        else:
            yield Step(name, "–", "not reached" if not reached else "not known")


def _lanes(events: Sequence[Event]) -> list[charts.Lane]:
    """A lane for each access point, the latest first; those beyond the bound share the last."""
    by_ap: dict[str, list[charts.Mark]] = {}
    for each in events:
        name = each.row["ap_name"] or each.row["bssid"] or "no access point"
        if name not in by_ap and len(by_ap) >= LANES - 1:
            name = "further access points"
        title = f"{text.day_and_clock(each.row['at'])} {each.mark} {each.what}"
        by_ap.setdefault(name, []).append(charts.Mark(each.row["at"], each.outcome, title))
    return [charts.Lane(name, marks) for name, marks in by_ap.items()]


@router.get("/clients/{mac}")
async def client(
    request: Request,
    person: Viewer,
    mac: str,
    length: Annotated[str, Query(alias="window")] = "2h",
    end: str = "",
    view: str = "timeline",
) -> Response:
    """One client of the fleet, its events of a window."""
    try:
        canonical = parse_mac(mac.strip())
    except ValueError:
        return _unknown(request, person, mac)
    if canonical != mac:
        query = request.scope["query_string"].decode("latin-1")
        return go(f"/clients/{canonical}" + (f"?{query}" if query else ""))
    view = "grid" if view == "grid" else "timeline"
    chosen = window(length, end, view="grid" if view == "grid" else "")
    reading: Reading = request.app.state.reading
    cache: AnswerCache = request.app.state.answer_cache
    key = ("client", person.fleet, mac)
    macs = await names(request, person.fleet, mac)
    life = await cache.ask((*key, "life"), lambda: reading.rows(dashboard.client_life(person.fleet, macs)))
    total, first, last, vendor, randomised, site = life.value[0]
    if not total:
        return _unknown(request, person, mac)
    asked = dashboard.client_timeline(person.fleet, macs, chosen.since_us, chosen.until_us, limit=EVENTS)
    span = (chosen.name, chosen.end)
    answer = await cache.ask((*key, *span), lambda: reading.rows(asked))
    events = [event(row) for row in answer.value]
    attempts = [each for each in events if each.outcome in ATTEMPTS]
    failures = [each for each in attempts if each.outcome == "failure"]
    return render(
        request,
        person,
        "client.html",
        mac=mac,
        vendor=vendor,
        randomised=randomised,
        site=site,
        total=total,
        first=first,
        last=last,
        window=chosen,
        view=view,
        answer=answer,
        events=events[:LISTED],
        attempts=attempts[:LISTED],
        shown_attempts=len(attempts),
        failures=len(failures),
        intermediate=len(events) - len(attempts),
        cut=len(events) >= EVENTS,
        latest_action=next((each.row["action"] for each in failures if each.row["action"]), ""),
        chart=charts.timeline(_lanes(events), chosen.since, chosen.until) if events else "",
        sql=asked,
        export=f"/V5/devices/clientevents/{quote(mac)}/0/100000"
        f"?fromtime={chosen.since}&totime={chosen.until}",
    )


def _unknown(request: Request, person: Any, mac: str) -> Response:
    return render(
        request,
        person,
        "unknown.html",
        status=404,
        what="client",
        name=mac,
        found=[],
        sites=[],
        q=mac,
    )


# Finding one

_HEX = re.compile(r"[0-9a-f]{2,12}")


def prefix(sought: str) -> str:
    """The beginning of a canonical MAC that a text stands for; '' for one that is none."""
    digits = re.sub(r"[:.\-\s]", "", sought.lower())
    if not _HEX.fullmatch(digits):
        return ""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


@router.get("/clients")
async def clients(request: Request, person: Viewer) -> Response:
    """Those with the most failures of the last two hours."""
    reading: Reading = request.app.state.reading
    cache: AnswerCache = request.app.state.answer_cache
    since = (int(time.time()) // 60 - 120) * 60_000_000
    asked = dashboard.clients_failing(person.fleet, since, limit=50)
    answer = await cache.ask(("clients", person.fleet), lambda: reading.rows(asked), fresh=5.0)
    return render(request, person, "clients.html", rows=answer.value, answer=answer, sql=asked)


@router.get("/search")
async def search(request: Request, person: Viewer, q: str = "") -> Response:
    """A whole MAC or the name of a site leads there; anything else to what it may mean."""
    sought = q.strip()[:200]
    if not sought:
        return go("/clients")
    try:
        return go(f"/clients/{parse_mac(sought)}")
    except ValueError:
        pass
    reading: Reading = request.app.state.reading
    since = (int(time.time()) - 30 * 86_400) * 1_000_000
    found = await reading.rows(dashboard.sites_like(person.fleet, sought, since, limit=50))
    sites = [str(row[0]) for row in found]
    exact = [site for site in sites if site.lower() == sought.lower()]
    if len(exact) == 1:
        return go("/sites/" + quote(exact[0], safe=""))
    begins = prefix(sought)
    rows = await reading.rows(dashboard.clients_beginning(person.fleet, begins, limit=50)) if begins else []
    return render(request, person, "search.html", q=sought, sites=sites, rows=rows)
