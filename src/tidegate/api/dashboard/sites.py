"""One site: its funnel, service levels, the window beside what is usual, what the failing have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.dashboard import charts, insights, text
from tidegate.api.dashboard.incidents import STAGES, incidents, micros
from tidegate.api.dashboard.overview import STALE_SECONDS, told
from tidegate.api.dashboard.web import Page, Viewer, render
from tidegate.api.dashboard.windows import window
from tidegate.api.insight.request import bounds
from tidegate.api.problems import Problem
from tidegate.settings import Settings

router = APIRouter(route_class=Page, include_in_schema=False)

APS, VALUES = 16, 8  # rows of the heat and of the contrast
LEVELS = {
    "connects": "connects",
    "time_to_connect": "time to connect",
    "coverage": "coverage",
    "roaming": "roaming",
    "capacity": "capacity",
    "stability": "stability",
}
DIMENSIONS = {"ssid": "SSID", "ap": "AP", "band": "band", "vendor": "vendor", "protocol": "protocol"}


@router.get("/sites/{site:path}")
async def site(
    request: Request,
    person: Viewer,
    site: str,
    length: Annotated[str, Query(alias="window")] = "2h",
    end: str = "",
) -> Response:
    chosen = window(length, end)
    settings: Settings = request.app.state.settings
    within = bounds(settings, person.fleet, None, chosen.since_us, chosen.until_us, time.time())
    try:
        answer, contrast, overview = await asyncio.gather(
            insights.site(request, person, site, within),
            insights.contrast(request, person, site, None, within),
            insights.overview(request, person),
        )
    except Problem as problem:
        if problem.code != "not_found":
            raise
        return render(
            request, person, "unknown.html", status=404, what="site", name=site, found=[], sites=[], q=site
        )
    found = answer.value
    until = (micros(overview.value["to"]) or 0) // 1_000_000
    now = [each for each in incidents(overview.value) if each.site == site]
    address = f"/api/v1/insight/sites/{quote(site, safe='')}?from={within.since}&to={within.until}"
    return render(
        request,
        person,
        "site.html",
        site=site,
        window=chosen,
        answer=answer,
        found=found,
        contrast=contrast.value,
        told=[await told(request, person, each, until) for each in now[:2]],
        funnel=_funnel(found["funnel"]),
        levels=[{**each, "words": LEVELS[each["name"]]} for each in found["levels"]],
        chart=_chart(found, within.since, within.until),
        verdicts=_verdicts(contrast.value),
        stages=STAGES,
        heat=_heat(found["heat"]),
        aps=len(found["heat"]["aps"]),
        micros=micros,
        data_up_to=micros(found["data_up_to"]),
        stale=chosen.end is None
        and found["age_seconds"] is not None
        and found["age_seconds"] > STALE_SECONDS,
        address=address,
        contrast_address=f"/api/v1/insight/contrast?site={quote(site, safe='')}"
        f"&from={within.since}&to={within.until}",
    )


def _funnel(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The steps with bars of how many are still there."""
    whole = steps[0]["reached"] or 1
    return [
        {
            **step,
            "bar": charts.share(
                step["reached"] / whole, name="share failing" if step["failing"] else "share"
            ),
            "words": STAGES.get(step["step"], step["step"]),
        }
        for step in steps
    ]


def _chart(found: Mapping[str, Any], since: int, until: int) -> Markup | str:
    series = found["series"]
    if not any(point["attempts"] for point in series["points"]):
        return ""
    points = []
    for point in series["points"]:
        at = (micros(point["time"]) or 0) // 1_000_000
        stages = ", ".join(f"{count} {stage}" for stage, count in point["by_stage"].items())
        title = (
            f"{text.day_and_clock(at * 1_000_000)}: {text.percent(point['rate'])} of {point['attempts']}"
            " connect"
            f" (usual {text.percent(point['low'])} to {text.percent(point['high'])})"
            + (f"; failed: {stages}" if stages else "")
        )
        if point["attempts"]:
            points.append(charts.Point(at, point["rate"], point["low"], point["high"], title))
        else:
            points.append(charts.Point(at, None))
    spans = []
    for alert in found["alerts"]:
        ended = micros(alert["updated_at"]) if alert["state"] == "resolved" else until * 1_000_000
        begun = micros(alert["started_at"]) or 0
        spans.append(
            charts.Span(
                begun // 1_000_000,
                (ended or 0) // 1_000_000,
                f"{alert['severity']} {alert['stage']} alert since {text.clock(begun)}: {alert['summary']}",
            )
        )
    marks = [
        (
            (micros(change["time"]) or 0) // 1_000_000,
            f"{text.clock(micros(change['time']))} {change['action']} {change['variable'] or ''}"
            f" at {change['device'] or change['device_id']}",
        )
        for change in found["changes"][:40]
    ]
    label = f"Share of attempts that connect, each {text.seconds(series['step'])}, within what is usual"
    return charts.line(points, since, until, label=label, spans=spans, changes=marks)


def _verdicts(contrast: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each dimension what it has to do with the failures, and its leading values."""
    rows = []
    for verdict in contrast["verdicts"]:
        if verdict["dimension"] == "site":
            continue
        values = [one for one in contrast["values"] if one["dimensions"] == [verdict["dimension"]]]
        rows.append(
            {
                **verdict,
                "words": DIMENSIONS.get(verdict["dimension"], verdict["dimension"]),
                "values": [one for one in values if one["failures"]][:VALUES],
            }
        )
    return rows


def _heat(heat: Mapping[str, Any]) -> Markup | str:
    """Access points by time; a darker cell fails more, and says how many."""
    rows = heat["aps"][:APS]
    if not rows:
        return ""
    drawn = []
    for row in rows:
        cells = [
            charts.Cell(
                None if not tries else bad / tries,
                f"{row['ap']} {text.clock(micros(at))}: {bad} of {tries} fail, {clients} clients",
            )
            for at, tries, bad, clients in zip(
                heat["times"], row["attempts"], row["failures"], row["clients"], strict=True
            )
        ]
        drawn.append(charts.HeatRow(row["ap"], cells))
    times = [(micros(at) or 0) // 1_000_000 for at in heat["times"]]
    return charts.heat(drawn, times, heat["step"], label="Share of failures by access point and quarter hour")
