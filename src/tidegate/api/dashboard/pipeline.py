"""The pipeline's health: what each role says of itself, the ledger, and what was refused."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import APIRouter
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.answer_cache import Answer, AnswerCache
from tidegate.api.dashboard import charts
from tidegate.api.dashboard.web import Page, Viewer, render
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.contracts.topics import STREAMS
from tidegate.settings import Settings, address
from tidegate.store import dashboard

router = APIRouter(route_class=Page, include_in_schema=False)

PATIENCE = 1.0  # s that a role may take to tell its metrics
MOST_BYTES = 4 << 20
MINUTES = 60
LATE_SECONDS = 15.0  # beyond which events are not queryable "within seconds"
FIRST_LOOK = 0.6  # s between two looks, where there was none before

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]


@dataclass(frozen=True, slots=True)
class RoleState:
    """What a role's /metrics say; `away` where nothing answers at the address of the settings."""

    name: str
    address: str
    away: bool
    samples: Samples = field(default_factory=dict)
    at: float = 0.0

    def total(self, metric: str, **labels: str) -> float | None:
        found = [value for own, value in self.samples.get(metric, ()) if labels.items() <= own.items()]
        return sum(found) if found else None

    def most(self, metric: str) -> float | None:
        return max((value for _, value in self.samples.get(metric, ())), default=None)


def _scrape(name: str, listen: str) -> RoleState:
    try:
        host, port = address(listen, name)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read(MOST_BYTES).decode("utf-8", "replace")
            if answer.status != 200:
                return RoleState(name, listen, True)
        finally:
            connection.close()
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return RoleState(name, listen, False, samples, time.monotonic())
    except Exception:  # whatever stands at that address is none of the roles
        return RoleState(name, listen, True)


async def roles(settings: Settings) -> dict[str, RoleState]:
    listens = {
        "gateway": settings.gateway_listen,
        "worker": settings.worker_listen,
        "sink": settings.sink_listen,
    }
    found = await asyncio.gather(*(asyncio.to_thread(_scrape, *each) for each in listens.items()))
    return {state.name: state for state in found}


@dataclass(frozen=True, slots=True)
class Stop:
    """A station of the flow, with its figures in words."""

    name: str
    good: bool | None
    figures: tuple[tuple[str, str], ...]


def rate(now: RoleState, before: RoleState | None, metric: str, **labels: str) -> float | None:
    """By second since the look before; None at the first."""
    value, old = now.total(metric, **labels), before.total(metric, **labels) if before else None
    if value is None or old is None or before is None or now.at - before.at < 0.5 or value < old:
        return None
    return (value - old) / (now.at - before.at)


def flow(now: Mapping[str, RoleState], before: Mapping[str, RoleState], stored: float | None) -> list[Stop]:
    """The stations in the order of an event's way."""
    gateway, worker, sink = now["gateway"], now["worker"], now["sink"]
    undone = sink.most("tidegate_sink_oldest_unstored_seconds")
    unread = worker.most("tidegate_worker_oldest_unread_seconds")
    gaps = sink.total("tidegate_sink_gaps")
    kept = [
        share
        for share in (
            worker.most("tidegate_worker_retention_share"),
            sink.most("tidegate_sink_retention_share"),
        )
        if share is not None
    ]
    return [
        _stop(
            gateway,
            None if gateway.away else gateway.total("tidegate_gateway_broker_ready") != 0,
            ("takes", _rate(rate(gateway, before.get("gateway"), "tidegate_gateway_events_total"))),
        ),
        Stop(
            "raw topics",
            None if worker.away else (unread or 0) < LATE_SECONDS,
            (
                ("lag", _whole(worker.total("tidegate_worker_lag_records"), "records")),
                ("oldest", _seconds(unread)),
            ),
        ),
        _stop(
            worker,
            None if worker.away else True,
            ("decides", _rate(rate(worker, before.get("worker"), "tidegate_worker_lines_total"))),
        ),
        Stop(
            "enriched topics",
            None if sink.away else (undone or 0) < LATE_SECONDS,
            (
                ("lag", _whole(sink.total("tidegate_sink_lag_records"), "records")),
                ("oldest", _seconds(undone)),
            ),
        ),
        _stop(
            sink,
            None if sink.away else not gaps,
            ("stores", _rate(rate(sink, before.get("sink"), "tidegate_sink_rows_total"))),
            *((("at a gap", _whole(gaps, "partitions")),) if gaps else ()),
        ),
        Stop(
            "ClickHouse",
            stored is not None,
            (
                ("last minutes", _rate(stored)),
                *((("retention used", f"{max(kept):.1%}"),) if kept else ()),
            ),
        ),
    ]


def _stop(state: RoleState, good: bool | None, *figures: tuple[str, str]) -> Stop:
    if state.away:
        return Stop(state.name, None, (("not seen", f"nothing answers at {state.address}"),))
    return Stop(state.name, good, figures)


def _rate(value: float | None) -> str:
    return "…" if value is None else f"{value:,.0f}/s"


def _whole(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:,.0f} {unit}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} s"


@router.get("/pipeline")
async def pipeline(request: Request, person: Viewer) -> Response:
    state = request.app.state
    reading: Reading = state.reading
    cache: AnswerCache = state.answer_cache
    now = await roles(state.settings)
    before: Mapping[str, RoleState] = getattr(state, "roles_before", {})
    if not before:
        before = now
        await asyncio.sleep(FIRST_LOOK)
        now = await roles(state.settings)
    if any(now[name].at - seen.at > 2 for name, seen in before.items() if not seen.away):
        state.roles_before = now
    minute = int(time.time()) // 60
    day = (minute - 24 * 60) * 60_000_000
    asked = {
        "minutes": dashboard.stored_by_minute(person.fleet, (minute - MINUTES) * 60_000_000),
        "rejects": dashboard.rejects_by_code(person.fleet, day),
        "ledger": dashboard.ledger(),
        "gaps": dashboard.gaps(),
    }
    answers: dict[str, Answer[list[Sequence[Any]]] | None] = {}
    problem: Problem | None = None
    for name, query in asked.items():
        try:
            found = await cache.ask(("pipeline", person.fleet, name), partial(reading.rows, query), fresh=2.0)
            answers[name] = found
            problem = problem or found.problem
        except Problem as away:
            answers[name], problem = None, away
    rows = answers["minutes"].value if answers["minutes"] else []
    series = {stream: _minutes(rows, stream, minute) for stream in STREAMS}
    last = [values[-4:-1] for values in series.values()]  # the minute that runs is not whole yet
    stored = sum(sum(each) for each in last) / 180 if answers["minutes"] else None
    worker = now["worker"]
    return render(
        request,
        person,
        "pipeline.html",
        flow=flow(now, before, stored),
        problem=problem,
        age=max((each.age for each in answers.values() if each), default=0.0),
        known=any(each for each in answers.values()),
        series=[
            (stream, values[-2], charts.spark(values[:-1], label=f"{stream}: events by minute, last hour"))
            for stream, values in series.items()
        ],
        ledger=answers["ledger"].value if answers["ledger"] else [],
        gaps=[row for row in (answers["gaps"].value if answers["gaps"] else []) if not row[4]],
        rejects=answers["rejects"].value if answers["rejects"] else [],
        paused=[
            (labels.get("stream", ""), value)
            for labels, value in worker.samples.get("tidegate_worker_paused_streams", ())
            if value
        ],
        worker_seen=not worker.away,
        queries=asked.values(),
    )


def _minutes(rows: Iterable[Sequence[Any]], stream: str, last: int) -> list[float]:
    values = [0.0] * (MINUTES + 1)
    for each, at, events in rows:
        place = MINUTES - (last - at // 60)
        if each == stream and 0 <= place <= MINUTES:
            values[place] = events
    return values
