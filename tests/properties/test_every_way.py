"""The same lines give the same rows, however they are cut into records and whichever way these take.

Each row, each of its columns, and each refusal is held to what the models say of the event by itself
(`expected.py`). The examples are faults that were there once; the generator finds their kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from enriched_events import shipped
from expected import Line, Outcome, Refusal, expected, row_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reject_documents import original_bytes
from test_contracts import event_bytes

import builders
from builders import RECEIVED_AT
from tidegate.contracts.forms import Event, precise
from tidegate.contracts.frames import read_arrow, read_headers, read_rejects
from tidegate.contracts.limits import largest_event
from tidegate.contracts.position import Position
from tidegate.contracts.rejects import Fault, Reject
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.gateway import examine
from tidegate.keyfile import Keys
from tidegate.pseudonyms import Stored, stored
from tidegate.replay.choice import Refused
from tidegate.replay.line import line_of
from tidegate.steps.frame import FrameSteps, Outputs, Record
from tidegate.steps.pseudonymise import OWN, TEXTS, faceless, in_text
from tidegate.worker.transform import Transform

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
RECORD_BYTES = 1_048_576
MOST = largest_event(RECORD_BYTES)  # bytes of an event
FLEETS = {"demo", "other"}
LIMITED: Any = {"record_bytes": RECORD_BYTES, "fleets": FLEETS}


class Fragile(FrameSteps):
    """Steps that fail on every frame of more than one line: it is taken apart."""

    def _enrich(self, columns: Any, *rest: Any) -> Any:
        if len(columns["index"]) > 1:
            raise RuntimeError("more than one line")
        return super()._enrich(columns, *rest)


def transform_of(
    stream: Stream, kind: type[FrameSteps] = FrameSteps, pseudonyms: Stored | None = None
) -> Transform:
    steps = kind(
        stream,
        shipped(),
        epoch=EPOCH,
        transform_version="1",
        geohash_precision=6,
        clock_skew_seconds=86_400,
        max_record_bytes=RECORD_BYTES,
        pseudonyms=pseudonyms,
    )
    return Transform(steps)


@dataclass(frozen=True)
class Cut:
    """Lines of one record; `bare`: as bare events under the headers of the first line."""

    lines: tuple[Line, ...]
    bare: bool = False

    def told(self) -> tuple[Line, ...]:
        """The lines as the record tells them."""
        if not self.bare:
            return self.lines
        first = self.lines[0]
        return tuple(Line(one.event, first.fleet, first.device, first.received) for one in self.lines)

    def record(self, offset: int) -> Record:
        value = b"\n".join(line.event if self.bare else line.envelope() for line in self.lines)
        headers = self.lines[0].headers() if self.bare else []
        return Record(2, offset, offset - 1, value, headers, RECEIVED_AT + offset)


def apart(stream: Stream, records: Sequence[Record], pseudonyms: Stored | None = None) -> list[Outputs]:
    transform = transform_of(stream, pseudonyms=pseudonyms)
    return [transform.apart(record, FLEETS, guilty=(), at_line=lambda _: None) for record in records]


def each(
    stream: Stream,
    records: Sequence[Record],
    pseudonyms: Stored | None = None,
    kind: type[FrameSteps] = FrameSteps,
) -> list[Outputs]:
    transform = transform_of(stream, kind, pseudonyms)
    return [transform(record, FLEETS) for record in records]


def together(stream: Stream, records: Sequence[Record], pseudonyms: Stored | None = None) -> list[Outputs]:
    return transform_of(stream, pseudonyms=pseudonyms).many(records, FLEETS)


def line_by_line(
    stream: Stream, records: Sequence[Record], pseudonyms: Stored | None = None
) -> list[Outputs]:
    return each(stream, records, pseudonyms, Fragile)


WAYS: dict[str, Callable[..., list[Outputs]]] = {
    "each record by itself": each,
    "records together": together,
    "line by line": line_by_line,
    "apart": apart,
}


def envelope_has(text: bytes) -> bool:
    """Whether a text can stand as the event of an envelope, and as a line: it has no line break."""
    if b"\n" in text or b"\r" in text:
        return False
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


LIMITS = [
    '"00-1A-2B-3c-4D-5e:Corp"', '"6805-71a4-ef0e"', '""', "0.0", "-0.0", "-0", '"-0.0"', '"0"', "90", "90.1",
    "-180", "180.0000001", "4095", "4096", "300", "300.5", "10413791999", "10413792000", "1505109958.25",
    "10413791999999999", "10413792000000000", '"2016-12-31T23:59:60Z"', '"2016-12-31T23:58:60Z"', "1e400",
    '"2026-11-25T14:08:19.153960Z"',
    '"caf\\ud83d"', '"\\ud83d\\ude00"', "1" * 30,
    '{"\\ud83d":1e400}', '{"id":{"\\ud83d":[1e400]}}',
]  # fmt: skip
FIELDS = {
    "connection_logs": ["latitude", "longitude", "bssid", "frequency", "inbytes", "network_mccmnc",
                        "more", "app_id"],
    "client_events": ["timestamp", "associationTimestamp", "macAddress", "bssid", "channel", "vlan", "more"],
    "device_logs": ["datetime", "applied_at", "old_value", "id", "more", "notes", "event_id"],
}  # fmt: skip


@st.composite
def events(draw: st.DrawFn, stream: Stream) -> bytes:
    """An event that fits a line: as test_contracts makes them, with a value at a limit."""
    text = draw(event_bytes(stream))
    kind = draw(st.integers(0, 9))
    if kind < 6 and text[-1:] == b"}" and text != b"{}":
        name, value = draw(st.sampled_from(FIELDS[stream])), draw(st.sampled_from(LIMITS))
        text = text[:-1] + f',"{name}":{value}}}'.encode()
    if not envelope_has(text):
        text = json.dumps(draw(st.sampled_from([builders.device_log(), builders.success(), {}]))).encode()
    return text


TIMES = [None, str(RECEIVED_AT), "1763712000", "1763712000123", "2025-11-21T08:00:01Z", "soon"]


@st.composite
def lines(draw: st.DrawFn, stream: Stream) -> Line:
    return Line(
        draw(events(stream)),
        draw(st.sampled_from(["demo", "demo", "demo", "other", "ghost"])),
        draw(st.sampled_from([None, "", "a", "b", "é", "\u00e9\u0301"])),
        draw(st.sampled_from(TIMES)),
    )


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Stream, tuple[Cut, ...]]:
    stream = draw(st.sampled_from(STREAMS))
    left = draw(st.lists(lines(stream), min_size=1, max_size=7))
    found = []
    while left:
        size = draw(st.integers(1, len(left)))
        found.append(Cut(tuple(left[:size]), draw(st.integers(0, 3)) == 0))
        left = left[size:]
    return stream, tuple(found)


def sized(stream: Stream, size: int) -> bytes:
    """A good event of exactly `size` bytes."""
    good: dict[Stream, Any] = {
        "connection_logs": builders.session_log(user_agent="@"),
        "client_events": builders.success(ssid="@"),
        "device_logs": builders.device_log(notes="@"),
    }
    head, tail = json.dumps(good[stream]).encode().split(b'"@"')
    head, tail = head + b'"', b'"' + tail
    return head + b"x" * (size - len(head) - len(tail)) + tail


def network(device: str, **fields: Any) -> Line:
    return Line(json.dumps(builders.network_log(**fields)).encode(), device=device)


SWAPPED = Cut((network("A"), network("B", shoe_size=7), network("C"), network("D", bssid="zz")))
"""Devices B and C changed places."""
ZEROS = Cut(tuple(network("A", latitude=zero, longitude=zero) for zero in (0.0, -0.0)))
"""The first zero's sign was all zeros'."""
LONGEST = {
    stream: Cut((Line(sized(stream, MOST), device="d" * 256), Line(sized(stream, MOST + 1))))
    for stream in STREAMS
}
"""The first was refused for the length of its line."""
DEVICES = Cut((network("caf\u00e9"), network("caf\ufffd")))


@settings(max_examples=80, deadline=None)
@given(cuts())
@example(("connection_logs", (SWAPPED,)))
@example(("connection_logs", (ZEROS,)))
@example(("connection_logs", (Cut(ZEROS.lines[::-1]),)))
@example(("connection_logs", (LONGEST["connection_logs"],)))
@example(("client_events", (LONGEST["client_events"],)))
@example(("device_logs", (LONGEST["device_logs"],)))
@example(("connection_logs", (DEVICES, SWAPPED)))
def test_the_same_lines_give_the_same_rows(case: tuple[Stream, tuple[Cut, ...]]) -> None:
    stream, found = case
    records = [cut.record(offset) for offset, cut in enumerate(found)]
    wanted = [
        [expected(stream, line, written=record.timestamp, bare=cut.bare, **LIMITED) for line in cut.told()]
        for cut, record in zip(found, records, strict=True)
    ]
    for way, transform in WAYS.items():
        for cut, record, outcomes, outputs in zip(
            found, records, wanted, transform(stream, records), strict=True
        ):
            compare(stream, way, cut, record, outcomes, outputs)


KEYS = Keys("k1", {"k1": b"a" * 32})
FACES = Cut(
    (
        network("A", more="by 02-AA-BB-CC-DD-01 and 02aa.bbcc.dd01"),
        network("02AABBCCDD01", bssid="02:aa:bb:cc:dd:02"),
        replace(network("A", more="by 02-AA-BB-CC-DD-01"), fleet="other"),
        network("caf\u00e9", bssid="zz"),
    )
)


@settings(max_examples=60, deadline=None)
@given(cuts())
@example(("connection_logs", (SWAPPED, FACES)))
@example(("connection_logs", (DEVICES,)))
def test_pseudonyms_change_whose_it_is_and_nothing_else(case: tuple[Stream, tuple[Cut, ...]]) -> None:
    """Whichever way the lines take, and however they are cut."""
    stream, found = case
    records = [cut.record(offset) for offset, cut in enumerate(found)]
    for way, transform in WAYS.items():
        for plain, outputs in zip(
            transform(stream, records), transform(stream, records, Stored(KEYS)), strict=True
        ):
            wanted = [faceless_row(stream, row) for row in read_arrow(plain.enriched).to_pylist()]
            rows = read_arrow(outputs.enriched).to_pylist()
            assert list(map(repr, rows)) == list(map(repr, wanted)), way
            assert [*map(faceless_reject, read_rejects(plain.headers))] == read_rejects(outputs.headers), way
            assert len(outputs.failures) == len(plain.failures)


def faceless_row(stream: Stream, row: dict[str, Any]) -> dict[str, Any]:
    fleet, own = row["fleet"], row[OWN[stream]]
    texts = {name: row[name] and in_text(row[name], fleet, Stored(KEYS)) for name in TEXTS[stream]}
    return row | texts | {OWN[stream]: own and stored(KEYS, fleet, own)}


def faceless_reject(reject: Reject) -> Reject:
    fault = Fault(reject.code, reject.path, reject.found, reject.allowed, reject.detail)
    kept = faceless(fault, reject.fleet, Stored(KEYS))
    return msgspec.structs.replace(
        reject, found=kept.found, detail=kept.detail, original="", original_encoding="raw", device=""
    )


def compare(
    stream: Stream, way: str, cut: Cut, record: Record, outcomes: Sequence[Outcome], outputs: Outputs
) -> None:
    """Every column of every row, and everything that a reject says."""
    head = read_headers(outputs.headers)
    rows = {row.pop("index"): row for row in read_arrow(outputs.enriched).to_pylist()}
    rejects = {reject.index: reject for reject in read_rejects(outputs.headers)}
    assert (head.lines, head.accepted, head.rejected) == (len(outcomes), len(rows), len(rejects)), way
    assert (head.source_partition, head.source_offset) == (2, record.offset), way
    for index, (line, outcome) in enumerate(zip(cut.told(), outcomes, strict=True)):
        if isinstance(outcome, Refusal):
            assert index not in rows, (way, line, outcome)
            text = line.event if cut.bare else line.envelope()
            header = (line.device or "") if cut.bare else ""
            check_reject(stream, rejects[index], record, index, outcome, text, header)
        else:
            # as text: 0.0 and -0.0, True and 1, are equal and not the same
            assert index in rows, (way, line, rejects[index])
            assert {name: repr(value) for name, value in rows[index].items()} == {
                name: repr(value) for name, value in outcome.items()
            }, (way, line)


def check_reject(
    stream: Stream, reject: Reject, record: Record, index: int, outcome: Refusal, text: bytes, device: str
) -> None:
    told = Refusal(
        reject.code,
        reject.path,
        reject.found,
        reject.allowed,
        reject.detail,
        reject.fleet,
        reject.received_at,
    )
    assert told == outcome
    assert original_bytes(reject) == text
    assert reject.device == device
    assert reject.id == Position(EPOCH, stream, 2, record.offset, index).id()


@settings(max_examples=50, deadline=None)
@given(cuts())
@example(("connection_logs", (SWAPPED,)))
def test_what_is_replayed_is_what_it_would_have_been(case: tuple[Stream, tuple[Cut, ...]]) -> None:
    """Lines refused for a fleet that nobody knew: put back when it is known, each is as if it came then."""
    stream, found = case
    records = [cut.record(offset) for offset, cut in enumerate(found)]
    for cut, record, outputs in zip(found, records, refusing(stream, records), strict=True):
        for reject in read_rejects(outputs.headers):
            again = line_of(refused(reject))
            if again is None:
                continue
            line = cut.told()[reject.index]
            later = Record(2, 900, 899, again, [], RECEIVED_AT + 10**9)
            [of_line] = each(stream, [later])
            outcome = expected(stream, line, written=record.timestamp, **LIMITED)
            rows = read_arrow(of_line.enriched).to_pylist()
            if isinstance(outcome, Refusal):
                assert rows == [] or reject.path == "received_at"
                continue
            [row] = rows
            assert row.pop("index") == 0
            assert row.pop("origin") == reject.id
            assert row == {name: value for name, value in outcome.items() if name != "origin"}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_line_refused_for_its_headers_time_comes_back_with_its_records(stream: Stream) -> None:
    line = Line(sized(stream, 1000), device="caf\u00e9", received="soon")
    record = Cut((line,), bare=True).record(7)
    [outputs] = each(stream, [record])
    [reject] = read_rejects(outputs.headers)
    outcome = expected(stream, line, written=record.timestamp, bare=True, **LIMITED)
    assert isinstance(outcome, Refusal) and outcome.path == "received_at"
    check_reject(stream, reject, record, 0, outcome, line.event, "caf\u00e9")

    again = line_of(refused(reject))
    assert again is not None
    [outputs] = each(stream, [Record(2, 900, 899, again, [], RECEIVED_AT + 10**9)])
    [row] = read_arrow(outputs.enriched).to_pylist()
    event = precise(stream, line.event)
    assert isinstance(event, Event)
    assert row == row_of(stream, line, event, record.timestamp) | {"index": 0, "origin": reject.id}


def refusing(stream: Stream, records: Sequence[Record]) -> list[Outputs]:
    return [transform_of(stream)(record, set()) for record in records]


def refused(reject: Reject) -> Refused:
    values = msgspec.to_builtins(reject)
    return Refused(**{name: values[name] for name in Refused._fields if name in values})


bodies = st.sampled_from(STREAMS).flatmap(
    lambda stream: st.tuples(st.just(stream), st.lists(events(stream), min_size=1, max_size=6))
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(STREAMS).flatmap(
        lambda s: st.tuples(st.just(s), st.lists(events(s), min_size=1, max_size=6))
    )
)
def test_the_gateway_judges_each_event_of_a_body_by_itself(case: tuple[Stream, list[bytes]]) -> None:
    stream, found = case
    wanted = [precise(stream, event) for event in found]
    sent: list[tuple[bytes, examine.Media]] = [
        (b"\n".join(found), "ndjson"),
        (b"\r\n".join(found) + b"\n\n", "ndjson"),
        (b"\xef\xbb\xbf[" + b" ,\n".join(found) + b"]", "json"),
    ]
    for body, media in sent:
        batch = examine.split(stream, body, media, 100)
        assert isinstance(batch, examine.Batch)
        assert [bytes(line) for line in batch.lines] == [event.strip() for event in found]
        told = examine.examine_all(stream, batch.lines, MOST)
        assert list(map(same, told)) == list(map(same, wanted))
        quick = examine.all_good(stream, batch.lines, MOST)
        if quick is not None:
            assert [msgspec.to_builtins(value) for value in quick] == [
                msgspec.to_builtins(one.value) for one in wanted if isinstance(one, Event)
            ]
    for event, verdict in zip(found, wanted, strict=True):
        if not event.lstrip().startswith(b"["):
            assert same(examine.examine_body(stream, event, MOST)) == same(verdict)


def same(verdict: Event | Fault) -> object:
    if isinstance(verdict, Fault):
        return verdict
    return verdict.form.name, repr(msgspec.to_builtins(verdict.value)), verdict.extra
