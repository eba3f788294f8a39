"""The overview: the incidents, one sentence each and worst first, and the sites."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.dashboard import charts, insights, text
from tidegate.api.dashboard.incidents import Incident, incidents, micros
from tidegate.api.dashboard.web import Page, Viewer, render
from tidegate.api.problems import Problem
from tidegate.api.sessions import Person

router = APIRouter(route_class=Page, include_in_schema=False)

EXPLAINED = 5  # incidents that are explained on the page; the others link to their site
SITES = 15
SHORT = {"association": "assoc", "authentication": "auth"}
STALE_SECONDS = 120.0
MARKS = {True: ("✖", "fails"), False: ("✓", "as usual"), None: ("·", "no attempts")}


@dataclass(frozen=True, slots=True)
class Told:
    """An incident with what its contrast says."""

    incident: Incident
    shared: str = ""  # what the failing have in common, or what they have not
    changed: tuple[str, ...] | None = None
    sql: Any = None


async def told(request: Request, person: Person, incident: Incident, until: int) -> Told:
    """An incident with why. What cannot be asked now is left out: the rest still helps."""
    if not incident.site or incident.signal not in ("stage_failures", "slow_stage"):
        return Told(incident)
    onset = incident.since
    minutes = (
        insights.NOW_MINUTES if onset is None else max(5, min(240, (until - onset // 1_000_000) // 60 + 1))
    )
    try:
        within = insights.last_minutes(request, person.fleet, until, minutes)
        stage = incident.stage or None
        begun = onset if onset is not None else within.since * 1_000_000
        contrast, changes = await asyncio.gather(
            insights.contrast(request, person, incident.site, stage, within),
            insights.changes(request, person, incident.site, begun, within),
        )
    except Problem:
        return Told(incident)
    said = contrast.value
    top = said["reasons"][0] if said["reasons"] else None
    if top is not None and not incident.reason:
        codes = "/".join(str(each) for each in (top["code"], top["sub_code"]) if each is not None)
        words = (top["sub_failure"] or top["failure"] or "no reason given").rstrip(".")
        share = text.percent(top["failures"] / said["failures"]) if said["failures"] else "–"
        incident = replace(
            incident, reason=f"{words}{f' ({codes})' if codes else ''}: {share} of the failures."
        )
    if top is not None and not incident.action:
        incident = replace(incident, action=top["action"])
    changed = tuple(
        f"{text.clock(micros(one['time']))} {one['action']} {one['variable'] or ''}".strip()
        + f" at {one['device'] or one['device_id']}"
        for one in changes.value["changes"]
        if one["minutes_before"] >= 0
    )[:3]
    return Told(incident, said["sentence"], changed, said["sql"])


def row_of(site: Mapping[str, Any]) -> dict[str, Any]:
    """A site as a row of the table."""
    marks = []
    for one in site["stages"]:
        failing = None if not one["reached"] else one["failing"]
        mark, words = MARKS[failing]
        rate = text.percent(one["rate"])
        title = f"{one['stage']}: {words}, {rate} fail"
        name = SHORT.get(one["stage"], one["stage"])
        marks.append({"name": name, "mark": mark, "failing": failing, "title": title})
    losses = [None if value is None else 1 - value for value in site["sparkline"]]
    now = text.percent(losses[-1]) if losses else "–"
    return {
        **site,
        "marks": marks,
        "spark": charts.spark(losses, top=0.5, label=f"Share that fails by hour of the last day, now {now}"),
        "p50": site["time_to_connect"]["p50_ms"],
    }


@router.get("/")
async def overview(request: Request, person: Viewer) -> Response:
    """Which site fails, at which stage, why, whom it hits, and what to do."""
    answer = await insights.overview(request, person)
    found = answer.value
    until = (micros(found["to"]) or 0) // 1_000_000
    listed = incidents(found)
    first = await asyncio.gather(*(told(request, person, each, until) for each in listed[:EXPLAINED]))
    return render(
        request,
        person,
        "overview.html",
        answer=answer,
        found=found,
        told=[*first, *(Told(each) for each in listed[EXPLAINED:])],
        rows=[row_of(site) for site in found["sites"][:SITES]],
        more=max(0, len(found["sites"]) - SITES),
        now=until * 1_000_000,
        data_up_to=micros(found["data_up_to"]),
        stale=found["age_seconds"] is not None and found["age_seconds"] > STALE_SECONDS,
    )


@router.get("/sites")
async def sites(request: Request, person: Viewer) -> Response:
    """All sites, worst first."""
    answer = await insights.overview(request, person)
    found = answer.value
    return render(
        request,
        person,
        "sites.html",
        answer=answer,
        found=found,
        rows=[row_of(site) for site in found["sites"]],
        data_up_to=micros(found["data_up_to"]),
        stale=found["age_seconds"] is not None and found["age_seconds"] > STALE_SECONDS,
    )
