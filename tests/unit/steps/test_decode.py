"""decode: every line of a raw frame becomes a row or a refusal that says why."""

from __future__ import annotations

import json
from typing import Any

import native_decoder
import pytest

from builders import (
    RECEIVED_AT,
    body,
    device_log,
    envelope,
    failure,
    frame,
    intermediate,
    legacy_log,
    network_log,
    session_log,
    success,
    wrapped,
)
from tidegate.contracts.position import STREAM_LETTERS
from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.steps import decode as module
from tidegate.steps.decode import Decoded, RefusedLine, decode_frame

RECORD_TIME = 1_700_000_000_000_000
GOOD: dict[Stream, dict[str, Any]] = {
    "connection_logs": network_log(),
    "client_events": success(),
    "device_logs": device_log(),
}


def decode(stream: Stream, value: bytes, **options: Any) -> Decoded:
    given = {"fleet": None, "device": None, "received_at": RECORD_TIME, "fleets": {"demo", "other"}}
    decoded = decode_frame(stream, value, **(given | options))
    accepted = {len(column) for column in decoded.columns.values()}
    assert len(accepted) == 1, "columns of unequal length"
    assert decoded.lines == accepted.pop() + len(decoded.refused)
    return decoded


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    """The accepted rows in the order of their lines."""
    names = list(decoded.columns)
    values = zip(*(column.to_pylist() for column in decoded.columns.values()), strict=True)
    return sorted((dict(zip(names, row, strict=True)) for row in values), key=lambda row: row["index"])


def only(decoded: Decoded) -> RefusedLine:
    (refused,) = decoded.refused
    return refused


# --- one bad line


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("bad", [b'{"fleet":"demo","event":{"macAddr', b"\xff\xfe", b"[]"])
def test_one_bad_line_among_999_good_ones_costs_only_itself(stream: Stream, bad: bytes) -> None:
    lines = [envelope(GOOD[stream]) for _ in range(999)]
    lines.insert(617, bad)
    decoded = decode(stream, b"\n".join(lines), fleet="demo")
    assert decoded.lines == 1000
    assert [row["index"] for row in rows(decoded)] == [n for n in range(1000) if n != 617]
    refused = only(decoded)
    assert (refused.index, refused.line) == (617, bad)


def test_each_bad_line_has_its_own_reason() -> None:
    decoded = decode(
        "client_events",
        b"\n".join(
            [
                envelope(success(channel=1000)),
                envelope(success()),
                envelope({"eventType": "Failure"}),
                b'{"fleet":"demo","event":',
                envelope(failure(), fleet="unheard"),
                envelope([]),
            ]
        ),
    )
    assert [(line.index, line.fault.code, line.fault.path) for line in decoded.refused] == [
        (0, Code.OUT_OF_RANGE, "channel"),
        (2, Code.MISSING_FIELD, "macAddress"),
        (3, Code.NOT_JSON, ""),
        (4, Code.UNKNOWN_FLEET, "fleet"),
        (5, Code.NOT_OBJECT, ""),
    ]
    assert [row["index"] for row in rows(decoded)] == [1]


def test_a_refused_line_says_whose_and_when_as_far_as_it_is_known() -> None:
    refused = only(decode("client_events", envelope({"eventType": "Failure"}, received_at=RECEIVED_AT)))
    assert (refused.fleet, refused.received_at) == ("demo", RECEIVED_AT)
    refused = only(decode("client_events", b"{"))
    assert (refused.fleet, refused.received_at) == ("", RECORD_TIME)


# --- lines and records


def test_blank_lines_and_carriage_returns_do_not_count() -> None:
    value = b"\r\n\n" + envelope(success()) + b"\r\n   \n\n" + envelope(failure()) + b"\n\n"
    decoded = decode("client_events", value)
    assert decoded.lines == 2
    assert [(row["index"], row["event_type"]) for row in rows(decoded)] == [(0, "Success"), (1, "Failure")]


@pytest.mark.parametrize("value", [b"", b"\n", b" \r\n \n"])
def test_a_record_without_a_line_is_one_refusal(value: bytes) -> None:
    decoded = decode("device_logs", value, fleet="demo")
    assert decoded.lines == 1
    assert only(decoded).fault.code is Code.EMPTY_RECORD


def test_blank_lines_between_good_and_bad_ones() -> None:
    value = b"\n".join([b"", envelope(success()), b"", b"{", b"", envelope(success())])
    decoded = decode("client_events", value)
    assert decoded.lines == 3
    assert (only(decoded).index, [row["index"] for row in rows(decoded)]) == (1, [0, 2])


MOST = 100_000  # bytes of an event


def test_an_event_that_is_too_large_is_refused_whole() -> None:
    large = envelope(device_log(notes="x" * MOST))
    value = b"\n".join([envelope(device_log()), large, envelope(device_log())])
    decoded = decode("device_logs", value, max_event_bytes=MOST)
    refused = only(decoded)
    assert (refused.index, refused.fault.code, refused.fault.status) == (1, Code.TOO_LARGE, 413)
    assert (refused.line, refused.fleet, refused.received_at) == (large, "demo", RECEIVED_AT)
    assert [row["index"] for row in rows(decoded)] == [0, 2]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("broken", [b"", b'"', b"}"])
def test_the_limit_is_the_events_and_the_envelope_stands_beside_it(stream: Stream, broken: bytes) -> None:
    """An event that the gateway's limit just lets through was refused here: its line is longer than it."""
    event = body(GOOD[stream])
    for line in (event, envelope(event, device="d" * 256, fleet="demo")):
        value = line + (b"\n" + broken + line if broken else b"")
        taken = decode(stream, value, fleet="demo", max_event_bytes=len(event))
        assert [row["index"] for row in rows(taken)] == [0]
        fault = decode(stream, value, fleet="demo", max_event_bytes=len(event) - 1).refused[0].fault
        assert (fault.code, fault.found) == (Code.TOO_LARGE, f"{len(event)} bytes")


def test_a_frame_is_as_large_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is held against each event: a frame that is longer went line by line."""
    singly: list[int] = []
    by_line = module._line

    def counted(record: Any, number: int, *rest: Any) -> Any:
        singly.append(number)
        return by_line(record, number, *rest)

    monkeypatch.setattr(module, "_line", counted)
    value = frame(*[device_log(notes="x" * 40_000) for _ in range(6)])
    assert len(value) > 2 * MOST
    assert decode("device_logs", value, max_event_bytes=MOST).refused == []
    assert singly == []


# --- where kinds of structs meet


@pytest.mark.parametrize("unknown", [(), (0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("stream", STREAMS)
def test_every_row_keeps_what_is_its_own(stream: Stream, unknown: tuple[int, ...]) -> None:
    """Devices were those of other rows where one line was refused and some had unknown fields."""
    lines = []
    for number in range(3):
        extra = {"shoe_size": number} if number in unknown else {}
        lines.append(
            envelope(
                GOOD[stream] | extra,
                fleet=("demo", "other")[number % 2],
                device=f"device-{number}",
                received_at=RECEIVED_AT + number,
                origin=f"01K9ZQ4T3M8W5X0R2B7C6D1E9F-{letter(stream)}0-7-{number}" if number else "",
            )
        )
    lines.insert(1, envelope(GOOD[stream] | {"bssid": "zz", "datetime": "soon", "macAddress": "zz"}))
    found = rows(decode(stream, b"\n".join(lines)))
    for number, row in enumerate(found):
        assert row["fleet"] == ("demo", "other")[number % 2]
        assert row["received_at"] == RECEIVED_AT + number
        assert row["extra"] == (f'{{"shoe_size":{number}}}' if number in unknown else "")
        assert row["origin"][-4:] == (f"-7-{number}" if number else "")
        if stream == "connection_logs":
            assert row["device_id"] == f"device-{number}"


def letter(stream: Stream) -> str:
    return STREAM_LETTERS[stream]


# --- whose


@pytest.mark.parametrize("stream", STREAMS)
def test_bare_events_are_of_the_records_fleet(stream: Stream) -> None:
    value = b"\n".join([body(GOOD[stream])] * 3)
    found = rows(decode(stream, value, fleet="other"))
    assert [(row["fleet"], row["received_at"], row["index"]) for row in found] == [
        ("other", RECORD_TIME, n) for n in range(3)
    ]


def test_a_bare_event_without_a_header_is_nobodys() -> None:
    fault = only(decode("client_events", body(success()))).fault
    assert (fault.code, fault.path) == (Code.MISSING_FLEET, "fleet")


def test_the_envelope_wins_over_the_record() -> None:
    value = envelope(network_log(), fleet="demo", device="mine", received_at=RECEIVED_AT)
    (row,) = rows(decode("connection_logs", value, fleet="other", device="theirs"))
    assert (row["fleet"], row["device_id"], row["received_at"]) == ("demo", "mine", RECEIVED_AT)


def test_envelopes_and_bare_events_may_share_a_record() -> None:
    value = b"\n".join([envelope(success(), fleet="demo"), body(success())])
    assert [row["fleet"] for row in rows(decode("client_events", value, fleet="other"))] == ["demo", "other"]


def test_an_unknown_fleet_is_refused_wherever_it_stands() -> None:
    for value, header in ((envelope(success(), fleet="unheard"), None), (body(success()), "unheard")):
        fault = only(decode("client_events", value, fleet=header)).fault
        assert (fault.code, fault.found) == (Code.UNKNOWN_FLEET, "unheard")
    assert decode("client_events", body(success()), fleet="unheard", fleets=None).refused == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ('"fleet":5', "fleet"),
        ('"fleet":""', "fleet"),
        ('"fleet":"demo","device":7', "device"),
        ('"fleet":"demo","received_at":"soon"', "received_at"),
        ('"fleet":"demo","received_at":-1', "received_at"),
        ('"fleet":"demo","received_at":true', "received_at"),
        ('"fleet":"demo","received_at":[]', "received_at"),
    ],
)
def test_a_broken_envelope_is_named(change: str, path: str) -> None:
    line = b"{" + change.encode() + b',"event":' + body(success()) + b"}"
    fault = only(decode("client_events", line)).fault
    assert (fault.code, fault.path, fault.status) == (Code.BAD_ENVELOPE, path, 400)


def test_an_envelope_without_a_fleet_takes_the_records() -> None:
    line = b'{"event":' + body(success()) + b"}"
    assert rows(decode("client_events", line, fleet="demo"))[0]["fleet"] == "demo"
    assert only(decode("client_events", line)).fault.code is Code.MISSING_FLEET


def test_fields_that_an_envelope_does_not_know_are_let_through() -> None:
    line = envelope(success())[:-1] + b',"trace":"abc"}'
    assert rows(decode("client_events", line))[0]["extra"] == ""


# --- when


@pytest.mark.parametrize(
    "received_at",
    [
        "1763712000",
        "1763712000.0",
        "1763712000000",
        "1763712000000000",
        '"2025-11-21T08:00:00Z"',
        '"2025-11-21T08:00:00"',
        '"2025-11-21T13:30:00+05:30"',
    ],
)
@pytest.mark.parametrize("stream", STREAMS)
def test_received_at_in_each_of_its_spellings(stream: Stream, received_at: str) -> None:
    line = b'{"fleet":"demo","received_at":%s,"event":%s}' % (received_at.encode(), body(GOOD[stream]))
    assert rows(decode(stream, line))[0]["received_at"] == 1_763_712_000_000_000


@pytest.mark.parametrize("received_at", ["", '"received_at":null,'])
@pytest.mark.parametrize("time", [RECORD_TIME, 1_000_000, -2_208_988_800_000_000])
@pytest.mark.parametrize("decoder", native_decoder.NAMES)
def test_without_received_at_the_records_time_holds(decoder: str, time: int, received_at: str) -> None:
    """One of 1970 was taken for seconds by Python alone, and one before it was a crash there."""
    native = native_decoder.named(decoder, "client_events")
    line = b'{"fleet":"demo",%s"event":%s}' % (received_at.encode(), body(success()))
    found = rows(decode("client_events", line, received_at=time, native=native))
    assert found[0]["received_at"] == time


def test_each_line_has_its_own_time() -> None:
    value = b"\n".join(
        b'{"fleet":"demo","received_at":%d,"event":%s}' % (time, body(success()))
        for time in (1763712000, 1763712001000, 1763712002000000)
    )
    found = [row["received_at"] for row in rows(decode("client_events", value))]
    assert found == [1_763_712_000_000_000, 1_763_712_001_000_000, 1_763_712_002_000_000]


# --- values


def test_the_device_of_a_network_log_comes_from_the_envelope_or_header() -> None:
    assert rows(decode("connection_logs", frame(network_log())))[0]["device_id"] is None
    line = envelope(network_log(), device="phone-7")
    assert rows(decode("connection_logs", line))[0]["device_id"] == "phone-7"
    (row,) = rows(decode("connection_logs", body(network_log()), fleet="demo", device="phone-8"))
    assert row["device_id"] == "phone-8"


def test_a_session_log_names_its_device_itself() -> None:
    (row,) = rows(decode("connection_logs", envelope(session_log(device_id="d"), device="header")))
    assert row["device_id"] == "d"


def test_forms_of_connection_logs_share_the_columns() -> None:
    found = rows(
        decode(
            "connection_logs",
            frame(session_log(), network_log(), wrapped(legacy_log()), wrapped(network_log())),
        )
    )
    assert [row["form"] for row in found] == ["session", "network", "legacy", "network"]
    assert [row["timestamp"] for row in found] == [1705329025000000, None, 1705314600000000, None]
    assert [row["application_id"] for row in found] == ["APP-MOBILE-001", None, "app_67890", None]
    assert [row["latitude"] for row in found] == [None, 40.7128, None, 40.7128]
    assert json.loads(found[0]["metadata"])["session_id"] == "sess_abc123xyz"


def test_kinds_of_client_events_share_the_columns() -> None:
    found = rows(decode("client_events", frame(intermediate(), success(), failure(), success())))
    assert [row["event_type"] for row in found] == ["Intermediate", "Success", "Failure", "Success"]
    assert [row["dns_latency"] for row in found] == [None, 74, None, 74]
    assert [row["failure_code"] for row in found] == [None, None, 7, None]
    assert {row["location_id"] for row in found} == {-1}
    assert {row["mac"] for row in found} == {"68:05:71:a4:ef:0e"}


def test_times_of_client_events_stay_in_the_senders_unit() -> None:
    (row,) = rows(decode("client_events", frame(success(timestamp=1495010943))))
    assert (row["timestamp"], row["association_timestamp"]) == (1495010943, 1505109957000)


def test_a_device_log_in_columns() -> None:
    (row,) = rows(decode("device_logs", frame(device_log(old_value=1.5, new_value=True))))
    assert (row["source_id"], row["device_id"], row["device_name"]) == (
        "1001",
        "device-001",
        "Router-Main-01",
    )
    assert (row["old_value"], row["new_value"]) == ("1.5", "true")
    assert (row["datetime"], row["applied_at"]) == (1705314600000000, 1705314675000000)


def test_unknown_fields_are_kept_and_the_other_lines_know_nothing_of_them() -> None:
    found = rows(decode("client_events", frame(success(), success(newField={"a": None}), success())))
    assert [row["extra"] for row in found] == ["", '{"newField":{"a": null}}', ""]


@pytest.mark.parametrize("stream", STREAMS)
def test_both_ways_through_give_the_same_columns(stream: Stream) -> None:
    """A frame taken whole and the same events line by line, beside a bad one."""
    events = [GOOD[stream]] * 3
    whole = decode(stream, frame(*events))
    by_line = decode(stream, frame(*events) + b"\n{")
    assert rows(by_line) == rows(whole)
    assert {name: column.type for name, column in by_line.columns.items()} == {
        name: column.type for name, column in whole.columns.items()
    }


@pytest.mark.parametrize("stream", STREAMS)
def test_a_frame_of_bad_lines_alone_has_columns_of_no_rows(stream: Stream) -> None:
    decoded = decode(stream, b"{\n{\n{")
    assert rows(decoded) == []
    assert {name: column.type for name, column in decoded.columns.items()} == {
        name: column.type for name, column in decode(stream, frame(GOOD[stream])).columns.items()
    }


# Lines that come again


ORIGIN = "01K9ZQ4T3M8W5X0R2B7C6D1E9F-w2-7-1"


def test_a_replayed_line_keeps_its_origin_and_the_lines_beside_it_have_none() -> None:
    value = b"\n".join([envelope(success()), envelope(success(), origin=ORIGIN)])
    found = decode("client_events", value)
    assert {row["index"]: row["origin"] for row in rows(found)} == {0: "", 1: ORIGIN}


def test_a_replayed_line_that_is_refused_again_keeps_its_origin() -> None:
    refused = only(decode("client_events", envelope(success(channel="x"), origin=ORIGIN)))
    assert (refused.origin, refused.received_at) == (ORIGIN, RECEIVED_AT)


@pytest.mark.parametrize("origin", ["", "x", ORIGIN.replace("-w", "-d")])
def test_an_origin_is_the_id_of_a_line_of_the_stream(origin: str) -> None:
    line = envelope(success())[:-1] + b',"origin":"%s"}' % origin.encode()
    refused = only(decode("client_events", line))
    assert (refused.fault.code, refused.fault.path) == (Code.BAD_ENVELOPE, "origin")
