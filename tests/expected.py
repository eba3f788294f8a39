"""What must come of a line by itself: the model's word on its event, and whose, where and when it is.

Made of the models and the text formats, one event at a time, without the columns of `steps.decode`. Only the
enrichment is the product's own; `row_of` does it on a frame of the one row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from enriched_events import shipped

from tidegate.contracts import formats
from tidegate.contracts.forms import Event, precise
from tidegate.contracts.limits import largest_event
from tidegate.contracts.models import whole
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import Stream
from tidegate.steps.decode import TYPES
from tidegate.steps.enrich import enrich
from tidegate.steps.received import bounded_one

AS_TEXT = ("metadata", "old_value", "new_value", "source_id")
MACS = ("mac", "bssid", "bst_nbr_mac")
ISO_TIMES = {"session": ("timestamp",), "legacy": ("timestamp",), "device_log": ("datetime", "applied_at")}
DEGREES = ("latitude", "longitude")


@dataclass(frozen=True)
class Line:
    """An event and what its envelope or its record's headers say. `received` is text as it is written there,
    without quotes; None is not said."""

    event: bytes
    fleet: str | None = "demo"
    device: str | None = None
    received: str | None = None

    def envelope(self) -> bytes:
        """As a line of a raw frame that says everything itself."""
        fields: dict[str, Any] = {}
        if self.fleet is not None:
            fields["fleet"] = self.fleet
        if self.received is not None:
            number = self.received.isdigit()
            fields["received_at"] = int(self.received) if number else self.received
        if self.device is not None:
            fields["device"] = self.device
        head = msgspec.json.encode(fields)[:-1]
        return head + (b"," if fields else b"") + b'"event":' + self.event + b"}"

    def headers(self) -> list[tuple[str, bytes]]:
        """As the headers of a record of bare events."""
        said = {"fleet": self.fleet, "device": self.device, "received_at": self.received}
        return [(name, text.encode("utf-8")) for name, text in said.items() if text is not None]


@dataclass(frozen=True)
class Refusal:
    """What a reject must say of a line."""

    code: Code
    path: str
    found: str
    allowed: str
    detail: str
    fleet: str
    received_at: int


Outcome = dict[str, Any] | Refusal


def expected(
    stream: Stream, line: Line, *, written: int, record_bytes: int, fleets: set[str], bare: bool = False
) -> Outcome:
    """The row, its index left out, or the refusal. `written` is the record's time, µs; `bare`: the record's
    headers say what an envelope would."""
    received = written
    fault: Fault | None = None
    if line.received is not None:
        try:
            received = formats.parse_moment(line.received)
        except ValueError:
            found = line.received if bare else f'"{line.received}"'
            allowed = "ISO 8601 or epoch seconds, milliseconds or microseconds"
            fault = Fault(Code.BAD_ENVELOPE, "received_at", found, allowed, "not a time")
    received = bounded_one(received, written, keep_days=0)
    verdict = precise(stream, line.event)
    most = largest_event(record_bytes)
    if fault is None and len(line.event) > most:
        fault = Fault(
            Code.TOO_LARGE, "", f"{len(line.event)} bytes", f"at most {most} bytes", "the event is too long"
        )
    if fault is None and line.fleet not in fleets:
        fault = Fault(
            Code.UNKNOWN_FLEET,
            "fleet",
            (line.fleet or "")[:80],
            "a fleet of the tokens file",
            "unknown fleet",
        )
    if fault is None and isinstance(verdict, Fault):
        fault = verdict
    if fault is not None:
        said = (fault.path, fault.found, fault.allowed, fault.detail)
        return Refusal(fault.code, *said, line.fleet or "", received)
    assert isinstance(verdict, Event)
    return row_of(stream, line, verdict, received)


def row_of(stream: Stream, line: Line, event: Event, received: int) -> dict[str, Any]:
    [row] = rows_of(stream, [(line, event, received)])
    return row


def rows_of(stream: Stream, taken: Sequence[tuple[Line, Event, int]]) -> list[dict[str, Any]]:
    """The rows of accepted lines with their received times (µs), in their order."""
    columns: dict[str, Any] = {}
    found = [_values_of(stream, line, event) for line, event, _ in taken]
    for name, kind in TYPES[stream].items():
        columns[name] = pa.array([values[name] for values in found], kind)
    columns["fleet"] = pa.array([line.fleet for line, _, _ in taken], pa.string())
    columns["received_at"] = pa.array([received for _, _, received in taken], pa.int64())
    columns["index"] = pa.array(range(len(taken)), pa.uint32())
    columns["origin"] = pa.array([""] * len(taken), pa.string())
    columns["extra"] = pa.array([values["extra"] for values in found], pa.string())
    batch = enrich(stream, columns, shipped(), geohash_precision=6, clock_skew_seconds=86_400)
    rows: list[dict[str, Any]] = batch.to_pylist()
    assert [row.pop("index") for row in rows] == list(range(len(taken)))
    return rows


def _values_of(stream: Stream, line: Line, event: Event) -> dict[str, Any]:
    """The sender's columns of one line, before enrichment, and `extra`."""
    form = event.form
    text = line.event
    plain = json.loads(text)
    if stream == "connection_logs" and plain.keys() == {"data"}:
        text = plain["data"].encode("utf-8")
        plain = json.loads(text)
    known = {name: value for name, value in plain.items() if name in form.wire_set}
    for nested in form.derived.nested.values():
        if isinstance(known.get(nested.wire), dict):
            known[nested.wire] = {k: v for k, v in known[nested.wire].items() if k in nested.wires}
    values = form.model.model_validate(whole(form.model, known)).model_dump()
    columns: dict[str, Any] = dict.fromkeys(TYPES[stream])
    for name, value in values.items():
        if value is None:
            continue
        if name in form.derived.nested:
            prefix = form.derived.nested[name].prefix
            columns |= {prefix + inner: of_inner for inner, of_inner in value.items()}
        elif name in AS_TEXT:
            columns[name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        elif value == "" and (name in MACS or name in DEGREES or name in ISO_TIMES.get(form.name, ())):
            continue
        elif name in MACS:
            columns[name] = formats.parse_mac.__wrapped__(value)
        elif name in DEGREES:
            columns[name] = float(value)
        elif name in ISO_TIMES.get(form.name, ()):
            columns[name] = formats.parse_time(value)
        elif name == "network_mccmnc":
            columns[name] = value or None
        elif name == "event_type" or name not in columns:
            continue
        elif isinstance(value, float) and columns_are_times(name):
            columns[name] = formats.micros_by_magnitude(value)
        else:
            columns[name] = value
    if stream == "connection_logs":
        columns["form"] = form.name
        if form.name == "network":
            columns["device_id"] = line.device or None
    if stream == "client_events":
        columns["event_type"] = values["event_type"]
    columns["extra"] = extra_of(event, plain)
    return columns


def columns_are_times(name: str) -> bool:
    return name == "timestamp" or name.endswith("_timestamp")


def extra_of(event: Event, plain: dict[str, Any]) -> str:
    """The unknown fields; that their names are all there and no other is held here, their text elsewhere."""
    names = {name for name in plain if name not in event.form.wire_set}
    for nested in event.form.derived.nested.values():
        inner = plain.get(nested.wire)
        if isinstance(inner, dict) and not inner.keys() <= nested.wires:
            names.add(nested.wire)
    text = event.extra.decode("utf-8")
    assert (set(json.loads(text)) if text else set()) == names
    return text
