"""The events: Tidegate's own pydantic models, and the row that is stored of one."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import h3
from pydantic import Field, TypeAdapter

from tidegate.contracts.models import FailureEvent, IntermediateEvent, NetworkLog, SuccessEvent

Table = Literal["client_events", "connection_logs"]
TABLES: tuple[Table, ...] = get_args(Table)
DATABASE = "peer"

_CLIENT_EVENT: TypeAdapter[SuccessEvent | FailureEvent | IntermediateEvent] = TypeAdapter(
    Annotated[SuccessEvent | FailureEvent | IntermediateEvent, Field(discriminator="event_type")]
)


def topic(table: Table) -> str:
    return f"peer.{table}"


def row(table: Table, value: bytes) -> bytes:
    """The JSONEachRow line of one event. Raises pydantic.ValidationError."""
    if table == "client_events":
        return _CLIENT_EVENT.validate_json(value).model_dump_json().encode()
    log = NetworkLog.model_validate_json(value)
    bucket = ""
    if log.latitude is not None and log.longitude is not None:
        bucket = h3.latlng_to_cell(float(log.latitude), float(log.longitude), 8)
    return b'{"geo":"%b",%b' % (bucket.encode(), log.model_dump_json().encode()[1:])


def fields_of(table: Table) -> dict[str, str]:
    """Column name → the field's name in the event's JSON."""
    models = [NetworkLog] if table == "connection_logs" else [SuccessEvent, FailureEvent, IntermediateEvent]
    return {name: field.alias or name for model in models for name, field in model.model_fields.items()}


def columns(table: Table) -> dict[str, str]:
    """Column name → ClickHouse type."""
    if table == "connection_logs":
        numbers = {"frequency", "link_speed", "quality_value", "latitude", "longitude"}
        fields: dict[str, str] = {"geo": "LowCardinality(String)"}
        for name in NetworkLog.model_fields:
            fields[name] = (
                "Nullable(Float64)"
                if name in numbers
                else "Nullable(Int64)"
                if name in ("inbytes", "outbytes")
                else "Nullable(Bool)"
                if name == "roaming"
                else "LowCardinality(Nullable(String))"
            )
        return fields
    fields = {}
    for model in (SuccessEvent, FailureEvent, IntermediateEvent):
        for name, field in model.model_fields.items():
            text = "str" in str(field.annotation) or "Literal" in str(field.annotation)
            fields[name] = "LowCardinality(Nullable(String))" if text else "Nullable(Int64)"
    fields["location"] = "Tuple(type Nullable(String), id Nullable(Int64))"
    fields["mac"], fields["timestamp"] = "String", "Int64"
    return fields
