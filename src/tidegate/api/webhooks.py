"""Webhooks for administrators: `/api/v1/webhooks`, and `webhook_deliveries`, what was sent and is sent again.

A secret is in one answer, that of the call which made it. Writing calls take a bearer token alone: no cookie
opens them (`access`), so no page of another site can send one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from tidegate.api.access import Editor, Reader
from tidegate.api.parameters import Flag
from tidegate.api.problems import Problem
from tidegate.api.webhook_admin import WebhookAdmin
from tidegate.contracts.alerts import Severity
from tidegate.store.deliveries import Entry, Outcome
from tidegate.tokens import TokenFile
from tidegate.webhooks.addresses import MOST_URL
from tidegate.webhooks.endpoints import MOST_NAME, Endpoint, Format
from tidegate.webhooks.trial import Tried

router = APIRouter(prefix="/api/v1", tags=["webhooks"])

OneFleet = Annotated[
    str, Query(description="Superusers: one fleet instead of all", max_length=MOST_NAME, alias="fleet")
]


class NewWebhook(BaseModel):
    """A webhook to create. `url` may be left out for PagerDuty; `routing_key` is PagerDuty's alone."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=MOST_NAME)
    format: Format = "standard"
    url: str = Field(default="", max_length=MOST_URL, description="https, at a public address")
    routing_key: str = Field(default="", max_length=64)
    severity: Severity = Field(default="info", description="The least that it is told of")
    sites: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[], max_length=100, description="Empty: all of the fleet"
    )
    fleet: str = Field(default="", max_length=MOST_NAME, description="Needed of superusers alone")


class Webhook(BaseModel):
    """A webhook without what is secret: of a chat's address the host alone, of others no query."""

    id: str
    name: str
    fleet: str
    format: Format
    url: str
    severity: Severity
    sites: list[str]
    secrets: int = Field(description="Secrets that sign its notices now: two while one is rotated")
    created_at: str
    disabled: str = Field(description="Why nothing is sent to it, empty otherwise")


class CreatedWebhook(Webhook):
    secret: str = Field(description="Shown this once; empty where the format has none of ours")


class WebhookList(BaseModel):
    webhooks: list[Webhook]


class TriedNotice(BaseModel):
    state: Literal["open", "resolved"]
    delivered: bool
    status: int = Field(description="What was answered, 0 for nothing")
    error: str
    milliseconds: int


class TriedWebhook(BaseModel):
    delivered: bool = Field(description="Both notices")
    notices: list[TriedNotice]


class Delivery(BaseModel):
    """An entry of the delivery log."""

    webhook_id: str = Field(description="The id of the notice, the same in every attempt")
    at: str
    fleet: str
    endpoint: str
    endpoint_id: str
    alert_id: str
    sequence: int
    state: str
    outcome: Outcome
    attempt: int
    status: int
    error: str
    duration_ms: int
    next_attempt_at: str | None


class DeliveryList(BaseModel):
    deliveries: list[Delivery]


class Replayed(BaseModel):
    webhook_id: str
    outcome: Outcome = Field(description="`owed`: `tidegate notify` sends it within seconds")


@router.get("/webhooks", summary="Webhooks")
async def webhooks(request: Request, reader: Editor, fleet: OneFleet = "") -> WebhookList:
    """The webhooks of the token's fleet; a superuser's: of every fleet, or of one."""
    found = await _admin(request).listed(reader.fleet or fleet)
    return WebhookList(webhooks=[Webhook(**_fields(request, each)) for each in found])


@router.post("/webhooks", status_code=201, summary="Create a webhook")
async def create(
    request: Request, response: Response, reader: Editor, new: Annotated[NewWebhook, Body()]
) -> CreatedWebhook:
    """Its address is resolved and must be public, over https, or listed in the setting `webhook_allow`."""
    made = await _admin(request).create(
        new.name,
        fleet=_fleet_of(request, reader, new.fleet),
        format=new.format,
        url=new.url,
        routing_key=new.routing_key,
        severity=new.severity,
        sites=tuple(new.sites),
    )
    response.headers["cache-control"] = "no-store"
    return CreatedWebhook(**_fields(request, made.endpoint), secret=made.secret)


@router.get("/webhook_deliveries", summary="Delivery log")
async def deliveries(
    request: Request,
    reader: Editor,
    fleet: OneFleet = "",
    alert: Annotated[str, Query(max_length=256, description="Only of this alert, by its id")] = "",
    webhook: Annotated[str, Query(max_length=MOST_NAME, description="Only to this one, by its name")] = "",
    failed: Annotated[Flag, Query(description="Only what went wrong")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> DeliveryList:
    """What was sent and what came of it, the newest entry first."""
    found = await _admin(request).deliveries(
        reader.fleet or fleet, alert_id=alert, endpoint=webhook, failed=failed, limit=limit
    )
    return DeliveryList(deliveries=[_delivery(each) for each in found])


@router.post("/webhook_deliveries/{webhook_id}/replay", status_code=202, summary="Send a notice once more")
async def replay(request: Request, reader: Editor, webhook_id: str) -> Replayed:
    """Under the same webhook-id: a receiver that remembers ids takes it once."""
    found = await _admin(request).replay(reader.fleet or "", webhook_id)
    return Replayed(webhook_id=found.webhook_id, outcome=found.outcome)


@router.post("/webhooks/{id}/test", summary="Try a webhook")
async def try_out(request: Request, reader: Editor, id: str) -> TriedWebhook:
    """Send notices of an alert that there is not, opened and resolved. Nothing of it is kept."""
    found = await _admin(request).try_out(reader.fleet or "", id)
    return TriedWebhook(delivered=all_delivered(found), notices=[_tried(each) for each in found])


@router.delete("/webhooks/{id}", status_code=204, response_class=Response, summary="Delete a webhook")
async def delete(request: Request, reader: Editor, id: str) -> Response:
    """What is still owed to it is not sent."""
    await _admin(request).delete(reader.fleet or "", id)
    return Response(status_code=204)


def all_delivered(found: list[Tried]) -> bool:
    return all(each.answer.delivered for each in found)


def _admin(request: Request) -> WebhookAdmin:
    admin: WebhookAdmin = request.app.state.webhooks
    return admin


def _fleet_of(request: Request, reader: Reader, named: str) -> str:
    """The fleet that a new webhook belongs to. Raises Problem."""
    if reader.fleet is not None:
        if named not in ("", reader.fleet):
            raise Problem("forbidden", "the token is of another fleet")
        return reader.fleet
    if not named:
        raise Problem("missing_parameter", "a superuser names the fleet", path="fleet", allowed="a fleet")
    tokens: TokenFile = request.app.state.tokens
    if named not in tokens.fleets():
        raise Problem("not_in_enum", "there is no such fleet", path="fleet", found=named, allowed="a fleet")
    return named


def _fields(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    return {
        **{name: getattr(endpoint, name) for name in ("id", "name", "fleet", "format", "severity", "sites")},
        "url": endpoint.masked_url,
        "secrets": len(endpoint.secrets_at(_admin(request).now())),
        "created_at": endpoint.created_at,
        "disabled": endpoint.disabled,
    }


def _tried(each: Tried) -> TriedNotice:
    answer = each.answer
    return TriedNotice(
        state="open" if each.state == "open" else "resolved",
        delivered=answer.delivered,
        status=answer.status,
        error=answer.error,
        milliseconds=round(answer.seconds * 1000),
    )


def _delivery(entry: Entry) -> Delivery:
    fields = entry._asdict()
    fields |= {"at": _iso(entry.at), "next_attempt_at": entry.next_attempt_at and _iso(entry.next_attempt_at)}
    return Delivery(**{name: fields[name] for name in Delivery.model_fields})


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
