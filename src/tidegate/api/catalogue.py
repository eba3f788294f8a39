"""What failure codes and intermediate events mean: the catalogues that enrichment reads, as lists."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from tidegate.api.access import AnyReader
from tidegate.api.lookup_files import LookupFiles

router = APIRouter(tags=["catalogue"])


class FailureCode(BaseModel):
    """A vendor code. Without `subFailureCode`: the whole class."""

    failureCode: int
    failure: str | None
    subFailureCode: int | None
    subFailure: str | None
    stage: str
    action: str


class Ieee80211Code(BaseModel):
    """An 802.11 reason or status code, as a failure's text may quote it."""

    kind: str
    code: int
    name: str | None
    stage: str
    action: str


class FailureCodes(BaseModel):
    failures: list[FailureCode]
    ieee80211: list[Ieee80211Code]


class IntermediateEvent(BaseModel):
    """A type of intermediate event. Texts may hold places such as `[$rssi]`, filled from each event."""

    categoryCode: int | None
    category: str | None
    typeCode: int | None
    eventDescription: str | None
    subTypeCode: int | None
    subEventDescription: str | None


class IntermediateEvents(BaseModel):
    intermediateEvents: list[IntermediateEvent]


@router.get("/api/v1/catalogue/failures", summary="Failure codes")
async def failures(request: Request, reader: AnyReader) -> FailureCodes:
    """Vendor codes and 802.11 codes, each with its stage and what to do about it."""
    files: LookupFiles = request.app.state.lookups
    catalogue = (await files.read()).failures
    return FailureCodes(
        failures=[
            FailureCode(
                failureCode=code,
                failure=meaning.failure,
                subFailureCode=sub_code,
                subFailure=meaning.sub_failure,
                stage=meaning.stage,
                action=meaning.action,
            )
            for (code, sub_code), meaning in sorted(catalogue.by_code.items(), key=lambda row: _order(row[0]))
        ],
        ieee80211=[
            Ieee80211Code(
                kind=kind, code=code, name=meaning.failure, stage=meaning.stage, action=meaning.action
            )
            for (kind, code), meaning in sorted(catalogue.ieee80211.items(), key=lambda row: row[0])
        ],
    )


@router.get("/api/v1/catalogue/intermediate_events", summary="Intermediate events")
async def intermediate_events(request: Request, reader: AnyReader) -> IntermediateEvents:
    """The texts of category, type and sub-type codes."""
    files: LookupFiles = request.app.state.lookups
    catalogue = (await files.read()).intermediate
    return IntermediateEvents(
        intermediateEvents=[
            IntermediateEvent(
                categoryCode=category,
                category=texts.category,
                typeCode=type_,
                eventDescription=texts.event,
                subTypeCode=sub_type,
                subEventDescription=texts.sub_event,
            )
            for (category, type_, sub_type), texts in sorted(
                catalogue.by_codes.items(), key=lambda row: _order(row[0])
            )
        ]
    )


def _order(codes: tuple[int | None, ...]) -> list[tuple[bool, int]]:
    """By code, a row for all of a class in front of those of its members."""
    return [(code is not None, code or 0) for code in codes]
