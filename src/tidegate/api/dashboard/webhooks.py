"""Webhooks of the fleet: the list, a form for a new one, a try, an end; for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.dashboard.web import Page, Sent, Viewer, go, render
from tidegate.api.problems import Problem
from tidegate.api.sessions import Person
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.store.deliveries import ENDED, Entry
from tidegate.webhooks.endpoints import FORMATS

router = APIRouter(route_class=Page, include_in_schema=False)

SEVERITIES = ("info", "warning", "critical")
MOST_SHOWN = 50
NOTHING = {"name": "", "format": "standard", "url": "", "severity": "info", "sites": ""}


@router.get("/webhooks")
async def webhooks(request: Request, person: Viewer) -> Response:
    _require_editor(person)
    return await _page(request, person)


@router.post("/webhooks")
async def create(request: Request, sent: Sent) -> Response:
    """The page again, with the secret: it is not shown once more. A refusal stands above the form."""
    person = sent.person
    _require_editor(person)
    try:
        made = await _admin(request).create(
            sent["name"].strip(),
            fleet=person.fleet,
            format=sent["format"],
            url=sent["url"].strip(),
            routing_key=sent["routing_key"].strip(),
            severity=sent["severity"],
            sites=tuple(filter(None, (line.strip() for line in sent["sites"].splitlines()))),
        )
    except Problem as problem:
        if problem.code != "bad_format":
            raise
        kept = {name: sent[name] for name in NOTHING}
        return await _page(request, person, status=problem.status, refused=problem.detail, form=kept)
    return await _page(request, person, status=201, made=made)


@router.post("/webhooks/{id}/test")
async def try_out(request: Request, sent: Sent, id: str) -> Response:
    _require_editor(sent.person)
    found = await _admin(request).try_out(sent.person.fleet, id)
    return await _page(request, sent.person, tried=found, tried_id=id)


@router.post("/webhooks/{id}/delete")
async def delete(request: Request, sent: Sent, id: str) -> Response:
    _require_editor(sent.person)
    await _admin(request).delete(sent.person.fleet, id)
    return go("/webhooks")


async def _page(request: Request, person: Person, *, status: int = 200, **more: Any) -> Response:
    admin = _admin(request)
    found = await admin.listed(person.fleet)
    recent: list[Entry] | None
    try:
        recent = await admin.deliveries(person.fleet, failed=True, limit=MOST_SHOWN)
    except Problem as problem:
        if problem.code != "store_away":
            raise
        recent = None
    shown = {"made": None, "refused": "", "tried": None, "tried_id": "", "form": NOTHING} | more
    return render(
        request,
        person,
        "webhooks.html",
        status=status,
        endpoints=found,
        recent=recent,
        ended=ENDED,
        formats=FORMATS,
        severities=SEVERITIES,
        **shown,
    )


def _admin(request: Request) -> WebhookAdmin:
    admin: WebhookAdmin = request.app.state.webhooks
    return admin


def _require_editor(person: Person) -> None:
    if not person.may_edit:
        raise Problem("forbidden", "administrators see and make webhooks")
