"""The tables of spellings in docs/gateway.md: each row, by every way that takes such a value."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from enriched_events import shipped
from pydantic import TypeAdapter, ValidationError

import builders
from tidegate.api import parameters
from tidegate.contracts.formats import EPOCH
from tidegate.contracts.forms import Event
from tidegate.contracts.topics import Stream
from tidegate.gateway import examine
from tidegate.steps.decode import decode_frame
from tidegate.steps.distinct_values import whole_numbers
from tidegate.steps.frame import FrameSteps, Record
from tidegate.worker.transform import Transform

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
MOST = 100_000
REFUSED = "refused"


def rows(head: str) -> list[tuple[str, str]]:
    """The rows of the table with this first column."""
    _, found, rest = PAGE.partition(f"| {head} | ")
    assert found, head
    table = rest.partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [(re.sub(r"^`([^`]*)`.*", r"\1", one), other.strip("`")) for one, other in cells]


def taken(stream: Stream, event: dict[str, Any], column: str) -> Any:
    """A column of the row, by HTTP's judgement and by Kafka; None where both refuse it."""
    line = msgspec.json.encode(event)
    verdicts = [examine.examine_one(stream, line, MOST), *examine.examine_all(stream, [line], MOST)]
    quick = examine.all_good(stream, [line], MOST)
    values = []
    for lines in ([line], [line, line + b"x"]):
        value = b"\n".join(lines)
        decoded = decode_frame(stream, value, fleet="demo", device=None, received_at=0, fleets=None)
        values += decoded.columns[column].to_pylist()
        envelopes = b"\n".join(map(builders.envelope, lines))
        decoded = decode_frame(stream, envelopes, fleet=None, device=None, received_at=0, fleets=None)
        values += decoded.columns[column].to_pylist()
    good = isinstance(verdicts[0], Event)
    assert [isinstance(verdict, Event) for verdict in verdicts] == [good, good]
    assert (quick is not None) is good
    assert len(values) == (4 if good else 0)
    assert len(set(values)) <= 1
    return values[0] if values else None


def micros(text: str) -> int:
    delta = datetime.fromisoformat(text).astimezone(UTC) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def parameter(kind: Any, text: str) -> Any:
    """What a parameter of the API makes of a text, None where it refuses it."""
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return None


@pytest.mark.parametrize(("written", "read"), rows("MAC address"))
def test_a_mac_address(written: str, read: str) -> None:
    wanted = None if read == REFUSED else read
    assert taken("client_events", builders.success(macAddress=written), "mac") == wanted
    assert taken("connection_logs", builders.network_log(bssid=written), "bssid") == wanted
    assert parameter(parameters.Mac, written) == wanted


@pytest.mark.parametrize(("written", "read"), rows("time as text"))
def test_a_time_as_text(written: str, read: str) -> None:
    wanted = None if read == REFUSED else micros(read)
    assert taken("device_logs", builders.device_log(datetime=written), "datetime") == wanted
    assert taken("connection_logs", builders.session_log(timestamp=written), "timestamp") == wanted
    assert parameter(parameters.Moment, written) == wanted
    assert received(written.encode(), f'"{written}"'.encode()) == wanted


@pytest.mark.parametrize(("written", "read"), rows("time as number"))
def test_a_time_as_a_number(written: str, read: str) -> None:
    wanted = None if read == REFUSED else micros(read)
    number = msgspec.json.decode(written)
    stored = taken("client_events", builders.success(timestamp=number), "timestamp")
    assert (stored is None) == (wanted is None)
    assert received(written.encode(), written.encode()) == wanted
    assert parameter(parameters.Instant, written) == wanted


def received(header: bytes, envelope: bytes) -> int | None:
    """A received time from an envelope and from a record's header, None where both refuse it."""
    line = b'{"fleet":"demo","received_at":' + envelope + b',"event":' + EVENT + b"}"
    ways = [
        times(line, []),
        times(line + b"\n" + line + b"x", []),
        times(EVENT, [("fleet", b"demo"), ("received_at", header)]),
        times(EVENT + b"\n" + EVENT + b"x", [("fleet", b"demo"), ("received_at", header)]),
    ]
    assert all(way == ways[0] for way in ways)
    return ways[0][0] if ways[0] else None


EVENT = builders.body(builders.success())


def times(value: bytes, headers: list[tuple[str, bytes]]) -> list[int]:
    """The received times of a record's rows, µs."""
    steps = FrameSteps(
        "client_events",
        shipped(),
        epoch="",
        transform_version="1",
        geohash_precision=6,
        clock_skew_seconds=86_400,
        max_record_bytes=1_000_000,
    )
    batch = Transform(steps)(Record(0, 0, -1, value, headers, RECORD_TIME), None).batch
    return list(whole_numbers(batch.column("received_at")).tolist())


RECORD_TIME = 1_763_712_000_000_000


@pytest.mark.parametrize(("written", "read"), rows("Content-Type"))
def test_a_content_type(written: str, read: str) -> None:
    media = examine.media_type(b"" if written == "none" else written.encode())
    assert (media or REFUSED) == {"JSON": "json", "NDJSON": "ndjson"}.get(read, REFUSED)
