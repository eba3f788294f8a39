"""Tests a webhook: sends notices of an alert that does not exist, opened and resolved."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tidegate.contracts.alerts import Alert, Impact, Scope, State
from tidegate.webhooks.endpoints import Endpoint
from tidegate.webhooks.formats import request
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.transport import Answer, Transport

STATES: tuple[State, ...] = ("open", "resolved")


class Tried(NamedTuple):
    state: State
    answer: Answer


async def tried(endpoint: Endpoint, transport: Transport) -> AsyncIterator[Tried]:
    """Send a notice of each state and give what came of it; none after one that was not delivered."""
    now = datetime.now(UTC)
    for sequence, state in enumerate(STATES, 1):
        told = _example(endpoint.fleet, now, sequence, state)
        made = request(endpoint, told, webhook_id(told.id, sequence, endpoint.id), time.time())
        answer = await transport.send(endpoint.url, made, endpoint.hidden)
        yield Tried(state, answer)
        if not answer.delivered:
            return


def _example(fleet: str, now: datetime, sequence: int, state: State) -> Alert:
    started = now - timedelta(minutes=5)
    return Alert(
        fleet=fleet,
        id=f"test-{now.timestamp():.0f}",
        sequence=sequence,
        incident="test",
        rule="test",
        signal="stage_failures",
        state=state,
        severity="info",
        scope=Scope(site="Test site", stage="dhcp"),
        started_at=started.isoformat(timespec="seconds"),
        updated_at=now.isoformat(timespec="seconds"),
        impact=Impact(attempts=100, failures=10, usual=0.02, clients=7, clients_seen=60),
        summary="This is a test of the webhook; nothing has failed",
        action="Nothing",
    )
