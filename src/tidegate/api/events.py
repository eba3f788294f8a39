"""Where a single event is now, by the id that its 201 gave: stored, rejected with why, a duplicate, or on
its way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.requests import Request

from tidegate.api.access import Anybody, Reader
from tidegate.api.event_ids import position_of
from tidegate.api.problems import Problem
from tidegate.api.raw_log import RawLog
from tidegate.api.reading import Reading
from tidegate.contracts.position import Position
from tidegate.store import queries

router = APIRouter(tags=["events"])


class Refusal(BaseModel):
    """Why a line was refused, in the words of the rejects."""

    kind: str
    code: str
    path: str
    found: str
    allowed: str
    detail: str


class EventState(BaseModel):
    """`pending`: the sink has not come to this place of the log yet. `duplicate`: the line repeats an earlier
    one under its Idempotency-Key or event_id, and was dropped."""

    id: str
    stream: str
    status: Literal["stored", "rejected", "duplicate", "pending"]
    received_at: str | None = None
    event_time: str | None = None
    outcome: str | None = None
    stage: str | None = None
    reject: Refusal | None = None


@router.get("/api/v1/events/{id}", summary="Where an event is now")
@router.get("/api/v1/events/{id}/", include_in_schema=False)
async def event(
    request: Request, reader: Anybody, id: Annotated[str, InPath(description="Id of the event")]
) -> EventState:
    """The state of one event. An id of another fleet's event, or of none, is not found."""
    reading: Reading = request.app.state.reading
    log: RawLog = request.app.state.raw_log
    position = position_of(id)
    ledger = await reading.rows(queries.ledger_at(position))
    [[planned, last, days]] = ledger or [[False, -1, []]]
    if not planned:
        if position.offset <= last:
            raise Problem("not_found")  # it expired before the sink began
        if not ledger and not (await reading.rows(queries.epoch_known(position.epoch)))[0][0]:
            raise Problem("not_found")
        await _in_the_log(log, position, reader)
        return EventState(id=position.id(), stream=position.stream, status="pending")
    rows = await reading.rows(queries.event_at(reader.fleet, position, days))
    if rows:
        return _stored(position, rows[0])
    rejected = await reading.rows(queries.reject_at(reader.fleet, position))
    if not rejected:
        [[gone]] = await reading.rows(queries.is_gone(reader.fleet, position))
        if gone:
            raise Problem("not_found")
        # The ledger counts duplicates and does not say whose they were: the log does, as long as it has them.
        await _in_the_log(log, position, reader)
        [[dropped]] = await reading.rows(queries.is_duplicate(position, days))
        # A batch is planned before it is inserted.
        status: Literal["duplicate", "pending"] = "duplicate" if dropped else "pending"
        return EventState(id=position.id(), stream=position.stream, status=status)
    [(received_at, *why)] = rejected
    replayed = await reading.rows(queries.replayed(reader.fleet, position, received_at))
    return _stored(position, replayed[0]) if replayed else _rejected(position, received_at, why)


async def _in_the_log(log: RawLog, position: Position, reader: Reader) -> None:
    """Raises Problem `not_found` unless the raw topic has the line, of a fleet that the reader sees."""
    fleet = await log.fleet_at(position, reader.fleet)
    if fleet is None or (reader.fleet is not None and fleet != reader.fleet):
        raise Problem("not_found")


def _stored(position: Position, row: Sequence[Any]) -> EventState:
    received_at, event_time, outcome, stage = row
    return EventState(
        id=position.id(),
        stream=position.stream,
        status="stored",
        received_at=_moment(received_at),
        event_time=_moment(event_time),
        outcome=outcome,
        stage=stage or None,
    )


def _rejected(position: Position, received_at: int, why: Sequence[Any]) -> EventState:
    return EventState(
        id=position.id(),
        stream=position.stream,
        status="rejected",
        received_at=_moment(received_at),
        reject=Refusal(**dict(zip(Refusal.model_fields, why, strict=True))),
    )


def _moment(micros: int) -> str:
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
