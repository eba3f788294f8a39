import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from tidegate.contracts.forms import Event, examine
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.gateway.examine import (
    Batch,
    Single,
    all_good,
    examine_all,
    examine_body,
    examine_one,
    media_type,
    split,
)

MAX = 1 << 20

MOST = 10_000

GOOD: dict[Stream, Any] = {
    "connection_logs": builders.network_log(),
    "client_events": builders.success(),
    "device_logs": builders.device_log(),
}


@pytest.mark.parametrize(
    ("header", "media"),
    [
        (b"", "json"),
        (b"application/json", "json"),
        (b"Application/JSON; charset=utf-8", "json"),
        (b"application/x-ndjson", "ndjson"),
        (b"application/jsonl ;x", "ndjson"),
        (b"text/plain", None),
        (b"application/json+x", None),
    ],
)
def test_media_types(header: bytes, media: str | None) -> None:
    assert media_type(header) == media


def lines(content: Any) -> list[bytes]:
    assert isinstance(content, Batch)
    return [bytes(line) for line in content.lines]


def test_a_json_object_is_a_single_event() -> None:
    assert split("client_events", b' {"a": 1} \n', "json", MOST) == Single(b'{"a": 1}')
    assert split("client_events", b"", "json", MOST) == Single(b"")


def test_an_array_is_cut_into_its_elements_byte_for_byte() -> None:
    assert lines(split("client_events", b'[ {"a" : 1.0} ,2,"x" ]', "json", MOST)) == [
        b'{"a" : 1.0}',
        b"2",
        b'"x"',
    ]


@pytest.mark.parametrize("body", [b"[{}", b"[{}]]", b"[{},]", b"[{}] {}", b"[" * 100_000])
def test_a_broken_array_is_one_fault(body: bytes) -> None:
    fault = split("client_events", body, "json", MOST)
    assert isinstance(fault, Fault) and fault.code is Code.NOT_JSON


def test_ndjson_is_cut_at_newlines_and_blank_lines_are_let_through() -> None:
    assert lines(split("client_events", b'\r\n{"a":1}\r\n \n\n [2] \n{', "ndjson", MOST)) == [
        b'{"a":1}',
        b"[2]",
        b"{",
    ]


@pytest.mark.parametrize("stream", STREAMS)
def test_ndjson_that_was_sent_as_json_is_told_so(stream: Stream) -> None:
    event = builders.body(GOOD[stream])
    fault = examine_body(stream, event + b"\n" + event, MAX)
    assert isinstance(fault, Fault) and fault.code is Code.NOT_JSON
    assert fault.detail == "several lines of JSON: NDJSON needs Content-Type application/x-ndjson"
    for alone in (event + b"\n", b"\n" + event):
        assert isinstance(examine_body(stream, alone, MAX), Event)
    broken = examine_body(stream, event[:-1] + b"\n" + event, MAX)  # no line of it is an event
    assert isinstance(broken, Fault) and "several lines" not in broken.detail


def test_envelopes_of_the_documents() -> None:
    body = b'{"failureLogs":[1,2],"totalCount":9,"successLogs":[0]}'
    content = split("client_events", body, "json", MOST)
    assert lines(content) == [b"0", b"1", b"2"]
    assert isinstance(content, Batch)
    assert content.places == ["successLogs[0]", "failureLogs[0]", "failureLogs[1]"]
    assert split("connection_logs", body, "json", MOST) == Single(body)
    assert split("device_logs", b'{"results": 1}', "json", MOST) == Fault(
        Code.BAD_ENVELOPE, "results", "", "an array of events", "Expected `array`, got `int`"
    )


def test_the_name_of_an_envelope_inside_an_event_makes_it_none() -> None:
    body = builders.body(builders.success(ssid='"clientEvents"'))
    assert split("client_events", body, "json", MOST) == Single(body)


def test_line_breaks_inside_events_are_told() -> None:
    for body, media, breaks in (
        (b'[{"a":1}]', "json", False),
        (b'[{"a":\n1}]', "json", True),
        (b'{"a":1}\n{"a":1}', "ndjson", False),
        (b'{"a":\r1}\n', "ndjson", True),
    ):
        content = split("client_events", body, media, MOST)  # type: ignore[arg-type]
        assert isinstance(content, Batch) and content.breaks is breaks


def test_an_event_that_is_too_long_is_a_fault_of_its_own() -> None:
    long = builders.body(builders.success(ssid="x" * 1000))
    fault = examine_one("client_events", long, 900)
    assert isinstance(fault, Fault) and fault.code is Code.TOO_LARGE
    assert all_good("client_events", [long], 900) is None
    assert all_good("client_events", [long], 9000) is not None


@pytest.mark.parametrize("line", [b"{}{}", b"{", b"", b"[]", b"[" * 5000, b"\xff", b'{"a":NaN}'])
def test_what_is_not_one_good_event_is_left_to_the_judge(line: bytes) -> None:
    good = builders.body(builders.success())
    assert all_good("client_events", [good, line], MAX) is None
    verdicts = examine_all("client_events", [good, line, good], MAX)
    assert [isinstance(verdict, Event) for verdict in verdicts] == [True, False, True]


EVENTS: dict[Stream, list[dict[str, Any]]] = {
    "connection_logs": [
        builders.network_log(),
        builders.session_log(),
        builders.legacy_log(),
        builders.wrapped(builders.network_log()),
    ],
    "client_events": [builders.success(), builders.failure(), builders.intermediate()],
    "device_logs": [builders.device_log()],
}
FIELDS = sorted({name for events in EVENTS.values() for event in events for name in event} | {"colour"})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "Success", "wi", "1", "91", "00:11:22:33:44:55", "2024-01-15", "\ud800", "é"]),
    st.just({"id": 1}),
    st.just([]),
)


@st.composite
def mutated(draw: st.DrawFn, stream: Stream) -> bytes:
    event = dict(draw(st.sampled_from(EVENTS[stream])))
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        if draw(st.booleans()):
            event[name] = draw(VALUES)
        else:
            event.pop(name, None)
    text = json.dumps(event).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from([b"", b"\xff", b"}", b'"', b"\x00", b"1e999", b"\\q", b"\\ud800", b"\n"]))
            + text[at + 1 :]
        )
    return text


@pytest.mark.parametrize("stream", STREAMS)
def test_the_fast_way_never_takes_what_the_precise_one_refuses(stream: Stream) -> None:
    @given(mutated(stream))
    def check(line: bytes) -> None:
        values = all_good(stream, [line], MAX)
        if values is not None:
            verdict = examine(stream, line)
            assert isinstance(verdict, Event)
            ours = {name: getattr(values[0], name) for name in values[0].__struct_fields__}
            theirs = {name: getattr(verdict.value, name) for name in verdict.value.__struct_fields__}
            assert repr(ours.keys()) == repr(theirs.keys())

    check()
