"""A reject's line as it goes into the raw topic again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import RECEIVED_AT, body, network_log, success
from tidegate.contracts.rejects import Code, Kind, original_text
from tidegate.contracts.topics import Stream
from tidegate.replay.choice import Refused
from tidegate.replay.line import line_of
from tidegate.steps.decode import decode_frame

ID = "01K9ZQ4T3M8W5X0R2B7C6D1E9F-w2-7-1"


def refused(line: bytes, **changed: Any) -> Refused:
    original, encoding = original_text(line)
    values: dict[str, Any] = {
        "id": ID,
        "fleet": "demo",
        "received_at": RECEIVED_AT,
        "partition": 2,
        "kind": Kind.VALUE,
        "code": Code.WRONG_TYPE,
        "path": "channel",
        "original": original,
        "original_encoding": encoding,
        "device": "",
    }
    return Refused(**(values | changed))


def row(item: Refused, stream: Stream = "client_events") -> dict[str, Any]:
    """The replayed line as the worker takes it."""
    line = line_of(item)
    assert line is not None and b"\n" not in line
    found = decode_frame(stream, line, fleet=None, device=None, received_at=1, fleets={"demo"})
    assert not found.refused
    return {name: column.to_pylist()[0] for name, column in found.columns.items()}


def test_an_envelope_gets_its_first_id_and_keeps_what_it_said() -> None:
    line = b'{"event":%s,"device":"d","received_at":5,"fleet":"demo","more":[1.50]}' % body(success())
    again = line_of(refused(line, device="header"))
    assert again is not None and b'"more":[1.50]' in again
    found = json.loads(again)
    assert (found["device"], found["fleet"]) == ("d", "demo")
    taken = row(refused(line))
    assert (taken["origin"], taken["received_at"]) == (ID, RECEIVED_AT)


def test_a_bare_event_gets_an_envelope_with_what_its_record_said() -> None:
    taken = row(refused(body(network_log()), device="phone-7", id=ID.replace("-w", "-c")), "connection_logs")
    assert (taken["fleet"], taken["device_id"], taken["received_at"]) == ("demo", "phone-7", RECEIVED_AT)


def test_an_event_is_sent_byte_for_byte() -> None:
    event = b'{ "macAddress" :"\\u00e4", "big": 12345678901234567890.10 }'
    for line in (event, b'{"fleet":"demo","event":' + event + b"}"):
        again = line_of(refused(line))
        assert again is not None and b'"event":' + event in again


def test_whose_line_it_is_is_not_made_up() -> None:
    again = line_of(refused(body(success()), fleet="", code=Code.MISSING_FLEET))
    assert again is not None and "fleet" not in json.loads(again)


def test_an_envelope_that_was_refused_for_its_time_keeps_it() -> None:
    line = b'{"fleet":"demo","received_at":"never","event":{}}'
    again = line_of(refused(line, code=Code.BAD_ENVELOPE, path="received_at"))
    assert again is not None and json.loads(again)["received_at"] == "never"


@pytest.mark.parametrize("line", [b"", b"[1]", b'{"fleet": "demo", "event": {"a"', b"\xff\xfe", b"7"])
def test_nothing_can_stand_around_what_is_no_object(line: bytes) -> None:
    assert line_of(refused(line)) is None


@pytest.mark.parametrize("bare", [True, False])
def test_an_object_over_several_lines_is_one(bare: bool) -> None:
    """As a record that was refused whole may have one: its lines took each other's verdicts."""
    event = json.dumps(success(ssid="of lines"), indent=1).encode()
    line = event if bare else b'{"fleet":"demo",\r\n"event":' + event + b"\r\n}"
    assert row(refused(line, kind=Kind.CRASH, code=Code.CRASH, path=""))["ssid"] == "of lines"
