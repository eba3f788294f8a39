"""Insight: which site fails, at which stage, why, whom it hits, and what the failing ones have in common.

Each call answers for one fleet: the token's, or the one that a superuser names. Sites and stages go by
received time, a client's own events by the time of its device. Every answer carries the queries behind it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request

from tidegate.api import exports
from tidegate.api.access import AnyReader
from tidegate.api.insight import answers
from tidegate.api.insight.assemble import (
    NO_CELL,
    NO_FURTHER,
    SILENT_AFTER,
    Cell,
    Clients,
    Measured,
    alert_of,
    badness,
    change_of,
    client_event,
    connect_levels,
    funnel_of,
    heat_of,
    hit_of,
    is_slow,
    lanes_of,
    latencies_of,
    level,
    reach_of,
    reasons_of,
    sentence,
    series_of,
    state_of,
    together,
)
from tidegate.api.insight.request import (
    DAY,
    HOUR,
    SHARED_SECONDS,
    Asking,
    InsightRequest,
    Row,
    Spanned,
    kept_since,
    known_fleets,
    micros_text,
    seconds_text,
)
from tidegate.api.insight.service_levels import NO_COUNTS, Part, Usuals, common, counts, share, verdicts
from tidegate.api.insight.tables import (
    CLIENT,
    SHARED,
    SITE_TABLES,
    SITES,
    SLE,
    export,
    flat_point,
    flat_shared,
    flat_site,
)
from tidegate.api.lookup_files import LookupFiles
from tidegate.api.parameters import Instant, Mac, choice, integer, not_in_enum
from tidegate.api.problems import Problem
from tidegate.api.stored_names import names
from tidegate.lookups import Lookups
from tidegate.lookups.stages import STAGES
from tidegate.store import insight as questions
from tidegate.store.insight import Window
from tidegate.store.queries import Query as StoreQuery

router = APIRouter(prefix="/api/v1/insight", tags=["insight"])

_encode = msgspec.json.Encoder().encode

STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400)

POINTS = 300  # of a series, at most

PAST = 7 * DAY  # from which what is usual is learned

SPARK_HOURS = 24

REASONS, HARDEST_HIT, CHANGES, CLIENT_EVENTS = 50, 20, 200, 5000  # rows of an answer, at most

BEFORE_ONSET = 1800  # s: a change so long before may be what did it

Minutes = Annotated[int, Field(ge=5, le=240), BeforeValidator(integer)]


def _stage(value: Any) -> str:
    """A stage by its name as answers have it; names are no document's, so no other case is taken for them."""
    if value not in STAGES:
        raise not_in_enum(", ".join(STAGES))
    return str(value)


StageName = Annotated[str, BeforeValidator(_stage), WithJsonSchema({"type": "string", "enum": list(STAGES)})]


async def alerts_of(asking: InsightRequest, site: str | None, since: int, until: int) -> list[Row]:
    return [alert_of(row) for row in await asking.rows(questions.alerts(asking.fleet, site, since, until))]


async def measured(asking: InsightRequest, window: Window, *, moving: bool = False) -> Measured:
    """The figures of the sites in a window, held against a past that is read every few minutes: a week costs
    more than all else together, and changes little where the window is `moving` with the clock, not at all
    where it stands."""
    past = learned_from(asking, window)

    async def of_the_past(query: StoreQuery) -> list[Sequence[Any]]:
        moves = ("moving", window.site, window.until - window.since) if moving else ()
        return await asking.of_the_past(query, *moves)

    (attempts, clients, now), usual = await asyncio.gather(
        asking.within(
            window,
            questions.attempts(window),
            questions.clients(window),
            questions.latencies(window, "1m"),
            moving=moving,
        ),
        of_the_past(questions.usual(past)),
    )
    usuals = Usuals(usual)
    found, timed, signs = {}, {}, {}
    for site, *values in attempts:
        found[site] = counts(values)
        of_timed, quick, disassociations, skewed, _ = values[-5:]
        timed[site], signs[site] = (of_timed, quick), (disassociations, skewed)
    slow = [site for site, (known, quick) in timed.items() if is_slow(known, quick, usuals.quick(site))]
    before: list[Sequence[Any]] = []
    if slow:  # what it usually takes costs more than all else, and is asked to find what to blame
        of = replace(past, site=slow[0] if len(slow) == 1 else None)
        before = await asking.of_the_past(questions.latencies(of, "1h"))
    return Measured(found, timed, signs, usuals, Clients(clients), latencies_of(now), latencies_of(before))


def learned_from(asking: InsightRequest, window: Window) -> Window:
    """The week before the hour in which a window begins, of all sites: what is usual at a site may have to be
    learned from others. In whole hours, so that windows of the same hour share it."""
    until = window.since // HOUR * HOUR
    since = max(0, until - PAST, kept_since(asking.settings, asking.fleet, asking.now))
    return replace(window, site=None, since=min(since, until), until=until)


def further_levels(rows: Iterable[Sequence[Any]]) -> dict[str, list[Row]]:
    """Coverage, roaming, capacity and stability by site, from rows of `insight.levels`."""
    return {
        site: [
            level("coverage", covered, told, None),
            level("roaming", roamed, roams, None),
            level("capacity", roomy, tries, None),
            level("stability", max(0, successes - thrown), successes, None),
        ]
        for site, covered, told, roamed, roams, roomy, tries, successes, thrown in rows
    }


@router.get(
    "/overview", summary="Every site now, the worst first", responses=exports.responses(answers.Overview)
)
async def overview(
    request: Request,
    asking: Asking,
    reader: AnyReader,
    format: exports.Wanted,
    minutes: Annotated[Minutes, Query(description="How long *now* is")] = 15,
    until: Annotated[
        Instant | None, Query(alias="to", description="The moment to look at; now unless given")
    ] = None,
) -> Response:
    """The last minutes of each site beside what is usual there, with the stages that fail, the time to
    connect, clients, the last day by hour and the open alerts. Where data stopped, its last minutes are
    shown: `data_up_to` says when that was."""
    fleets, newest = await asyncio.gather(
        known_fleets(request) if reader.fleet is None else asyncio.sleep(0, [reader.fleet]),
        _newest(asking),
    )
    end = math.ceil(asking.now) if until is None else -(-until // 1_000_000)
    end = -(-min(end, math.ceil(asking.now)) // 60) * 60
    last = max(newest.values(), default=None)
    if last is not None:
        end = min(end, last // 60_000_000 * 60 + 60)
    window = await asking.window(max(0, end - minutes * 60), end)
    # What is open now may have begun behind the newest event: a paused stream, a fleet that is silent.
    told = math.ceil(asking.now) if until is None else end
    spark_since = max(0, -(-end // HOUR) * HOUR - SPARK_HOURS * HOUR)
    day = replace(window, since=spark_since)
    found, [sparks], alerts = await asyncio.gather(
        measured(asking, window, moving=until is None),
        asking.within(day, questions.sparklines(day, HOUR), moving=until is None),
        alerts_of(asking, None, told - 1, told),
    )
    lines: dict[str, list[float | None]] = {}
    for site, at, good, bad in sparks:
        line = lines.setdefault(site, [None] * SPARK_HOURS)
        line[(at - spark_since) // HOUR] = share(good, good + bad)
    open_alerts = [one for one in alerts if one["state"] != "resolved"]
    rows = []
    alerting = {one["site"] for one in open_alerts} - {""}  # some for longer than events are looked for
    for site in sorted({*newest, *lines, *found.counts, *alerting}):
        silent = site not in newest or end * 1_000_000 - newest[site] > SILENT_AFTER * 1_000_000
        state, parts = state_of(site, found, silent and site not in found.counts)
        disassociations, skewed = found.signs.get(site, (0, 0))
        rows.append(
            {
                "site": site,
                "state": state,
                **parts,
                "clients": found.clients.seen(site),
                "clients_failing": found.clients.failing(site),
                "disassociations": disassociations,
                "clock_skew": skewed,
                "sparkline": lines.get(site, [None] * SPARK_HOURS),
                "alerts": [one for one in open_alerts if one["site"] == site],
                "data_up_to": micros_text(newest[site]) if site in newest else None,
            }
        )
    rows.sort(key=lambda row: badness(row["state"], row))
    if format is not None:
        return await export(request, format, "overview", SITES, [flat_site(row) for row in rows])
    needy = [row for row in rows if row["state"] in ("failing", "slow") or row["alerts"]]
    silent_sites = [row for row in rows if row["state"] == "silent" and row not in needy]
    answer = {
        **asking.head(window.since, window.until, last),
        "fleets": fleets,
        "minutes": minutes,
        "sparkline_from": seconds_text(spark_since),
        "sparkline_step": HOUR,
        "summary": {
            "sites": len(rows),
            "need_you": len(needy),
            "silent": len(silent_sites),
            "as_usual": len(rows) - len(needy) - len(silent_sites),
        },
        "sites": rows,
        "alerts": [one for one in open_alerts if not one["site"]],
    }
    return Response(_encode(answer), media_type="application/json")


async def _newest(asking: InsightRequest) -> dict[str, int]:
    """The newest event's received time (µs) by site: of the last days, where there is one in them. Readers
    share it for a second."""
    until = int(asking.now) + DAY
    for days in (2, None):  # from a whole hour on, or its minutes would be read
        since = 0 if days is None else max(0, int(asking.now) // HOUR * HOUR - days * DAY)
        query = questions.newest(await asking.window(since, until))
        if rows := await asking.recent(query, days, seconds=SHARED_SECONDS):
            return {site: micros for site, micros in rows}
    return {}


@router.get("/sle", summary="Service levels", responses=exports.responses(answers.Levels))
async def sle(
    request: Request,
    asking: Asking,
    within: Spanned,
    format: exports.Wanted,
    site: Annotated[str | None, Query(description="This site alone")] = None,
) -> Response:
    """Successful connects by stage, time to connect, coverage, roaming, capacity and stability: of the fleet
    and of each site, the worst first."""
    if site is not None:
        await _known_site(asking, site)
    window = await asking.with_copy(await asking.window(within.since, within.until, site))
    found, [further_rows], newest = await asyncio.gather(
        measured(asking, window),
        asking.within(window, questions.levels(window)),
        _newest(asking),
    )
    further = further_levels(further_rows)
    levels: dict[str, list[Row]] = {}
    order: dict[str, tuple[Any, ...]] = {}
    for name in {*found.counts, *further}:
        state, parts = state_of(name, found, False)
        levels[name] = [*connect_levels(name, found, parts), *further.get(name, NO_FURTHER)]
        order[name] = badness(state, {"site": name, **parts})
    sites = sorted(levels, key=lambda name: order[name])
    if format is not None:
        flat = [{"site": name, **one} for name in sites for one in levels[name]]
        return await export(request, format, "sle", SLE, flat)
    answer = {
        **asking.head(within.since, within.until, _last(newest, site)),
        "site": site,
        "levels": together(list(levels.values())),
        "sites": [{"site": name, "levels": levels[name]} for name in sites],
    }
    return Response(_encode(answer), media_type="application/json")


def _last(newest: Mapping[str, int], site: str | None) -> int | None:
    return max(newest.values(), default=None) if site is None else newest.get(site)


async def _known_site(asking: InsightRequest, site: str) -> None:
    if site in await _newest(asking):
        return
    if not await asking.rows(questions.site_known(asking.fleet, site)):
        raise Problem("not_found", "no events of such a site", path="site", found=site)


SiteTable = Annotated[
    Literal["series", "funnel", "levels", "reasons", "aps", "clients", "changes"],
    BeforeValidator(choice("series", "funnel", "levels", "reasons", "aps", "clients", "changes")),
]


@router.get("/sites/{site:path}", summary="One site", responses=exports.responses(answers.Site))
async def one_site(
    request: Request,
    asking: Asking,
    within: Spanned,
    format: exports.Wanted,
    site: Annotated[str, InPath(description="Name of the site")],
    table: Annotated[SiteTable, Query(description="What an export holds")] = "series",
) -> Response:
    """Where its attempts get stuck, how the window went beside what is usual, why attempts fail, at which
    access points, which clients are hit hardest, and what was changed."""
    await _known_site(asking, site)
    window = await asking.with_copy(await asking.window(within.since, within.until, site))
    step = next(each for each in STEPS if (within.until - within.since) / each <= POINTS)
    lookups = await _lookups(request)
    found, rows, [changed], alerts, newest = await asyncio.gather(
        measured(asking, window),
        asking.within(
            window,
            questions.levels(window),
            questions.series(window, step),
            questions.reasons(window, REASONS),
            questions.heat(window),
            questions.hardest_hit(window, HARDEST_HIT),
        ),
        asking.within(
            window, questions.changes(asking.fleet, site, within.since - BEFORE_ONSET, within.until, CHANGES)
        ),
        alerts_of(asking, site, within.since, within.until),
        _newest(asking),
    )
    further_rows, points, reasons, heat, hit = rows
    cells = [cell for row in heat if not (cell := Cell(*row)).whole]
    reach = reach_of(cells, next((cell for row in heat if (cell := Cell(*row)).whole), NO_CELL))
    further = further_levels(further_rows)
    last = newest.get(site)
    silent = last is None or within.until * 1_000_000 - last > SILENT_AFTER * 1_000_000
    state, parts = state_of(site, found, silent)
    own = found.counts.get(site, NO_COUNTS)
    tables: dict[str, list[Row]] = {
        "series": series_of(points, found.usuals, site, within, step),
        "funnel": funnel_of(own, parts["stages"]),
        "levels": [*connect_levels(site, found, parts), *further.get(site, NO_FURTHER)],
        "reasons": reasons_of(reasons, own.bad, lookups),
        "aps": [
            {
                "ap": cell.ap,
                "time": seconds_text(cell.time),
                "attempts": cell.attempts,
                "failures": cell.failures,
                "clients": cell.clients,
            }
            for cell in cells
        ],
        "clients": hit_of(hit),
        "changes": [change_of(row, None) for row in changed],
    }
    if format is not None:
        flat = tables[table]
        if table == "series":
            flat = [flat_point(row) for row in flat]
        return await export(request, format, table, SITE_TABLES[table], flat)
    answer = {
        **asking.head(within.since, within.until, last),
        "site": site,
        "state": state,
        **parts,
        "funnel": tables["funnel"],
        "levels": tables["levels"],
        "reach": reach,
        "series": {"step": step, "points": tables["series"]},
        "reasons": tables["reasons"],
        "heat": heat_of(cells, within),
        "clients": tables["clients"],
        "changes": tables["changes"],
        "alerts": alerts,
    }
    return Response(_encode(answer), media_type="application/json")


async def _lookups(request: Request) -> Lookups:
    files: LookupFiles = request.app.state.lookups
    return await files.read()


@router.get("/clients/{mac}", summary="One client", responses=exports.responses(answers.Client))
async def one_client(
    request: Request,
    asking: Asking,
    within: Spanned,
    format: exports.Wanted,
    mac: Annotated[Mac, InPath(description="MAC address of the client")],
) -> Response:
    """Everything that a client did in the window, by the time of its device, for a timeline with a lane for
    each access point and for a grid."""
    macs = await names(request, asking.fleet, mac)
    known, rows = await asyncio.gather(
        asking.rows(questions.client_known(asking.fleet, macs), fresh=SHARED_SECONDS),
        asking.rows(
            questions.client(asking.fleet, macs, within.since, within.until, CLIENT_EVENTS + 1),
            fresh=SHARED_SECONDS,
        ),
    )
    if not known:
        raise Problem("not_found", "no events of such a client", path="mac", found=mac)
    [[vendor, randomised, oldest, newest]] = known
    events = [client_event(row) for row in rows[:CLIENT_EVENTS]]
    if format is not None:
        return await export(request, format, f"client-{mac.replace(':', '')}", CLIENT, events)
    attempts = sum(one["outcome"] in ("success", "failure") for one in events)
    failures = sum(one["outcome"] == "failure" for one in events)
    answer = {
        **asking.head(within.since, within.until, newest),
        "mac": mac,
        "vendor": vendor,
        "randomised": randomised,
        "sites": sorted({one["site"] for one in events}),
        "oldest": micros_text(oldest),
        "newest": micros_text(newest),
        "summary": {
            "events": len(events),
            "attempts": attempts,
            "failures": failures,
            "rate": share(attempts - failures, attempts),
            "disassociations": sum(
                "disassoc" in (one["description"] or one["detail"] or "").lower() for one in events
            ),
        },
        "lanes": lanes_of(events),
        "events": events,
        "truncated": len(rows) > CLIENT_EVENTS,
    }
    return Response(_encode(answer), media_type="application/json")


ContrastTable = Annotated[Literal["values", "pairs"], BeforeValidator(choice("values", "pairs"))]


@router.get(
    "/contrast", summary="What failures have in common", responses=exports.responses(answers.Contrast)
)
async def contrast(
    request: Request,
    asking: Asking,
    within: Spanned,
    format: exports.Wanted,
    site: Annotated[str | None, Query(description="This site alone; else the whole fleet")] = None,
    stage: Annotated[StageName | None, Query(description="Failures at this stage; else all")] = None,
    ssid: Annotated[str | None, Query(description="Attempts on this SSID alone")] = None,
    table: Annotated[ContrastTable, Query(description="What an export holds")] = "values",
) -> Response:
    """Failures beyond the usual (failures − attempts × usual share), by site, SSID, access point, band,
    vendor, protocol and kind of MAC, and by pairs of them: which value explains them, and which dimension has
    nothing to do with them."""
    if site is not None:
        await _known_site(asking, site)
    window = await asking.with_copy(await asking.window(within.since, within.until, site))
    past = learned_from(asking, window)
    lookups = await _lookups(request)
    (rows, reasons), usual_rows, newest = await asyncio.gather(
        asking.within(
            window,
            questions.contrast(window, stage, ssid),
            questions.reasons(window, REASONS),
        ),
        asking.of_the_past(questions.usual(past)),
        _newest(asking),
    )
    usual = Usuals(usual_rows).rate(site or "", stage or "")
    parts = [
        Part((first,) if not second else (first, second), (a,) if not second else (a, b), *numbers)
        for first, second, a, b, *numbers in rows
    ]
    singles = [part for part in parts if len(part.dimensions) == 1]
    whole = [part for part in singles if part.dimensions == ("ssid",)]
    attempts = sum(part.attempts for part in whole)
    failures = sum(part.failures for part in whole)
    values = common(singles, attempts, failures, usual.rate)
    pairs = [
        one
        for one in common(
            [part for part in parts if len(part.dimensions) == 2], attempts, failures, usual.rate
        )
        if one["failures"]
    ][:PAIRS]
    if format is not None:
        flat = [flat_shared(one) for one in (values if table == "values" else pairs)]
        return await export(request, format, f"contrast-{table}", SHARED, flat)
    said = []
    for name, verdict in verdicts(singles, attempts, failures, usual.rate).items():
        first = next(one for one in values if one["dimensions"] == [name])
        pointing = verdict in ("one value", "single")
        said.append(
            {
                "dimension": name,
                "verdict": verdict,
                "value": first["values"][0] if pointing else None,
                "explained": first["explained"] if pointing else None,
            }
        )
    answer = {
        **asking.head(within.since, within.until, _last(newest, site)),
        "site": site,
        "stage": stage,
        "ssid": ssid,
        "attempts": attempts,
        "failures": failures,
        "usual_rate": round(usual.rate, 4),
        "learned_from": usual.source,
        "excess": round(failures - attempts * usual.rate, 1),
        "verdicts": said,
        "even": [one["dimension"] for one in said if one["verdict"] == "even"],
        "sentence": sentence(said, failures - attempts * usual.rate),
        "values": values[:VALUES],
        "pairs": pairs,
        "reasons": [
            one for one in reasons_of(reasons, failures, lookups) if stage is None or one["stage"] == stage
        ],
    }
    return Response(_encode(answer), media_type="application/json")


VALUES, PAIRS = 200, 50


@router.get("/changes", summary="What was changed", responses=exports.responses(answers.Changes))
async def changes(
    request: Request,
    asking: Asking,
    within: Spanned,
    format: exports.Wanted,
    site: Annotated[str | None, Query(description="This site alone; else the whole fleet")] = None,
    onset: Annotated[
        Instant | None,
        Query(description="When it began: changes from half an hour before, in place of the window's start"),
    ] = None,
) -> Response:
    """Device logs: configuration, firmware, restarts. With an onset, those that may have done it: from half
    an hour before it until the window's end."""
    if site is not None:
        await _known_site(asking, site)
    begun = None if onset is None else onset // 1_000_000
    since = within.since if begun is None else begun - BEFORE_ONSET
    of = Window(fleet=asking.fleet, since=max(0, since), until=within.until, site=site)
    [rows], newest = await asyncio.gather(
        asking.within(of, questions.changes(asking.fleet, site, of.since, of.until, CHANGES)),
        _newest(asking),
    )
    found = [change_of(row, begun) for row in rows]
    if format is not None:
        return await export(request, format, "changes", SITE_TABLES["changes"], found)
    answer = {
        **asking.head(max(0, since), within.until, _last(newest, site)),
        "site": site,
        "onset": None if begun is None else seconds_text(begun),
        "changes": found,
    }
    return Response(_encode(answer), media_type="application/json")
