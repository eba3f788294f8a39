"""Alerts: the list, one with its history and deliveries, and what people say about them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tidegate.alerts import control
from tidegate.api.answer_cache import AnswerCache
from tidegate.api.dashboard.incidents import STAGES, micros, place
from tidegate.api.dashboard.web import Form, Page, Sent, Viewer, go, render
from tidegate.api.insight.assemble import alert_of
from tidegate.api.problems import Problem
from tidegate.api.reading import Reading
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.store import dashboard

router = APIRouter(route_class=Page, include_in_schema=False)

STATES = ("open", "acked", "flapping", "silenced", "resolved")
MOST, KEPT_DAYS = 500, 30
SILENCES = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1)}
OUTCOMES = {"delivered": "✓", "failed": "✖", "gone": "✖", "retry": "↻", "owed": "…"}
SAID = {
    "ack": "The acknowledgement was sent; the alert shows it in a moment.",
    "silence": "The silence was sent.",
    "replay": "The notice is owed once more; tidegate notify sends it within seconds.",
}


def shown(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert with its times in µs."""
    started = micros(alert["started_at"])
    ended = micros(alert["updated_at"]) if alert["state"] == "resolved" else None
    now = int(time.time() * 1e6)
    return {
        **alert,
        "started": started,
        "updated": micros(alert["updated_at"]),
        "until_us": micros(alert["until"]),
        "ended": ended,
        "lasts": ((ended or now) - (started or now)) / 1e6,
        "place": alert["site"] or place(alert, ()),
        "stage_words": STAGES.get(alert["stage"], alert["stage"]),
        "can_ack": alert["state"] in ("open", "flapping"),
        "active": alert["state"] != "resolved",
    }


@router.get("/alerts")
async def alerts(
    request: Request,
    person: Viewer,
    state: str = "",
    site: str = "",
    rule: str = "",
    severity: str = "",
    said: str = "",
) -> Response:
    reading: Reading = request.app.state.reading
    cache: AnswerCache = request.app.state.answer_cache
    since = (int(time.time()) // 60 - KEPT_DAYS * 1440) * 60_000_000
    asked = dashboard.alerts_listed(person.fleet, since, limit=MOST)
    answer = await cache.ask(("alerts", person.fleet), lambda: reading.rows(asked))
    found = [shown(alert_of(row)) for row in answer.value]
    counts = Counter(each["state"] for each in found)
    wanted = {"site": site, "rule": rule, "severity": severity}
    kept = [each for each in found if all(not value or each[name] == value for name, value in wanted.items())]
    if state in STATES:
        kept = [each for each in kept if each["state"] == state]
    elif state != "all":
        active = [each for each in kept if each["active"]]
        kept = active or kept[:20]
    ids = [each["id"] for each in kept]
    sent = await _deliveries(request, person.fleet, ids) if ids else {}
    return render(
        request,
        person,
        "alerts.html",
        answer=answer,
        alerts=kept,
        counts=counts,
        total=len(found),
        states=STATES,
        state=state,
        wanted=wanted,
        choices={name: sorted({each[name] for each in found if each[name]}) for name in wanted},
        deliveries={id: _summary(rows) for id, rows in sent.items()},
        said=SAID.get(said, ""),
        silences=SILENCES,
        sql=asked,
    )


async def _deliveries(request: Request, fleet: str, ids: Sequence[str]) -> dict[str, list[Sequence[Any]]]:
    reading: Reading = request.app.state.reading
    found: dict[str, list[Sequence[Any]]] = {}
    for row in await reading.rows(dashboard.deliveries(fleet, ids)):
        found.setdefault(row[0], []).append(row)
    return found


def _summary(rows: Sequence[Sequence[Any]]) -> str:
    """`2 ✓ 1 ↻`."""
    counts = Counter(OUTCOMES.get(row[4], "–") for row in rows)
    return " ".join(f"{count} {mark}" for mark, count in counts.most_common())


@router.get("/alerts/{id}")
async def alert(request: Request, person: Viewer, id: str, said: str = "") -> Response:
    reading: Reading = request.app.state.reading
    found, history, sent = await asyncio.gather(
        reading.rows(dashboard.alert(person.fleet, id)),
        reading.rows(dashboard.alert_history(person.fleet, id)),
        _deliveries(request, person.fleet, [id]),
    )
    if not found:
        return render(
            request, person, "unknown.html", status=404, what="alert", name=id, found=[], sites=[], q=""
        )
    one = shown(alert_of(found[0]))
    end = (one["ended"] or int(time.time() * 1e6)) // 1_000_000 + 600
    return render(
        request,
        person,
        "alert.html",
        alert=one,
        history=history,
        deliveries=sorted(sent.get(id, []), key=lambda row: (row[3], row[2])),
        marks=OUTCOMES,
        said=SAID.get(said, ""),
        silences=SILENCES,
        site_address=f"/sites/{quote(one['site'], safe='')}?window=2h&end={end}" if one["site"] else "",
        sql=dashboard.alert_history(person.fleet, id),
    )


@router.post("/alerts/{id}/deliveries/{webhook_id}/replay")
async def replay(request: Request, sent: Sent, id: str, webhook_id: str) -> Response:
    """Send a notice of the alert once more."""
    if not sent.person.may_edit:
        raise Problem("forbidden", "administrators send notices once more")
    admin: WebhookAdmin = request.app.state.webhooks
    await admin.replay(sent.person.fleet, webhook_id, alert_id=id)
    return go(f"/alerts/{quote(id, safe='')}?said=replay#deliveries")


async def _active(request: Request, sent: Form, id: str) -> Mapping[str, Any]:
    """The alert that a form is about. Raises Problem where the person may not act on it, or it is over."""
    if not sent.person.may_act:
        raise Problem("forbidden", "viewers read; operators acknowledge and silence")
    reading: Reading = request.app.state.reading
    rows = await reading.rows(dashboard.alert(sent.person.fleet, id))
    if not rows:
        raise Problem("not_found", "no such alert in the fleet")
    found = alert_of(rows[0])
    if found["state"] == "resolved":
        raise Problem("conflict", "the alert is resolved already")
    return found


async def _say(what: Callable[[], object]) -> None:
    """Write into the control topic. Raises Problem `log_away`."""
    try:
        await asyncio.to_thread(what)
    except RetryLater as error:
        raise Problem("log_away", str(error), headers={"retry-after": "5"}) from error


def _back(sent: Form, said: str) -> Response:
    back = sent["back"] or "/alerts"
    return go(f"{back}{'&' if '?' in back else '?'}said={said}")


@router.post("/alerts/{id}/ack")
async def acknowledge(request: Request, sent: Sent, id: str) -> Response:
    """Acknowledge an alert, and those that a page shows as one incident with it."""
    ids = [id, *(value for name, value in sent.fields.items() if name.startswith("also"))][:20]
    await _active(request, sent, id)
    person = sent.person
    for each in ids:
        if each != id:
            try:
                await _active(request, sent, each)
            except Problem as problem:
                if problem.code in ("conflict", "not_found"):
                    continue
                raise
        kafka = connection(request.app.state.settings)
        await _say(partial(control.acknowledge, kafka, person.fleet, each, person.name))
    return _back(sent, "ack")


@router.post("/alerts/{id}/silence")
async def silence(request: Request, sent: Sent, id: str) -> Response:
    """No more of the alert's rule at its site for a while."""
    length = SILENCES.get(sent["length"])
    if length is None:
        raise Problem("not_in_enum", "length", path="length", allowed=", ".join(SILENCES))
    found = await _active(request, sent, id)
    person = sent.person
    kafka = connection(request.app.state.settings)
    until = datetime.now(UTC) + length
    await _say(
        partial(control.silence, kafka, person.fleet, found["rule"], found["site"], until, person.name)
    )
    return _back(sent, "silence")
