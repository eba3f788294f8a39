"""transform: everything that comes of a record, and nothing that a record does to it."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import native_decoder
import pyarrow as pa
import pytest
from reject_documents import original_bytes

from builders import (
    RECEIVED_AT,
    body,
    envelope,
    failure,
    frame,
    intermediate,
    network_log,
    session_log,
    success,
)
from tidegate import lookups
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.frames import BOM, read_arrow, read_headers, read_rejects, write_arrow
from tidegate.contracts.limits import largest_event
from tidegate.contracts.native import Decoder
from tidegate.contracts.rejects import Code, Kind, Reject
from tidegate.contracts.topics import Stream
from tidegate.steps import frame as module
from tidegate.steps.decode import Decoded, decode_frame
from tidegate.steps.enrich import enrich as enrich_rightly
from tidegate.steps.frame import CUT_BYTES, FrameSteps, Outputs, Record
from tidegate.steps.received import bounded_one
from tidegate.worker.transform import Transform

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
LIMIT = 1_000_000
TABLES = lookups.load()


def transform_of(stream: Stream, limit: int = LIMIT, decoder: Decoder | None = None) -> Transform:
    return Transform(
        FrameSteps(
            stream,
            TABLES,
            epoch=EPOCH,
            transform_version="7",
            geohash_precision=6,
            clock_skew_seconds=86_400,
            max_record_bytes=limit,
            decoder=decoder,
        )
    )


def run(value: bytes, *, stream: Stream = "client_events", limit: int = LIMIT, **headers: bytes) -> Outputs:
    transform = transform_of(stream, limit)
    return transform(Record(2, 41, 39, value, list(headers.items()), RECEIVED_AT), {"demo"})


def rejects(outputs: Outputs) -> list[Reject]:
    """Those that travel with the frame, after a check that each has a record of its own, too."""
    inside = read_rejects(outputs.headers)
    assert [msgspec.json.decode(value, type=Reject) for _, value in outputs.rejects] == inside
    return inside


def test_headers_say_where_the_frame_stands_and_what_became_of_its_lines() -> None:
    head = read_headers(run(frame(success(), failure(), {"macAddress": "x"})).headers)
    assert (head.epoch, head.stream, head.transform_version) == (EPOCH, "client_events", "7")
    assert (head.source_partition, head.source_offset, head.previous_offset) == (2, 41, 39)
    assert (head.lines, head.accepted, head.rejected, head.duplicates) == (3, 2, 1, 0)


def test_the_value_is_an_arrow_stream_of_the_streams_columns() -> None:
    batch = read_arrow(run(frame(success(), failure())).enriched)
    assert batch.schema.equals(SCHEMAS["client_events"])
    assert set(batch.column("index").to_pylist()) == {0, 1}


def test_failures_are_keyed_by_fleet_and_site() -> None:
    [(key, value)] = run(frame(success(), failure(locationId={"type": "x", "id": 17}))).failures
    document = msgspec.json.decode(value)
    assert key.startswith(b"demo/")
    assert document["id"] == f"{EPOCH}-w2-41-1"


def test_one_bad_line_among_999_good_ones_costs_itself_only() -> None:
    lines = [envelope(success()) for _ in range(1000)]
    lines[321] = lines[321][:-7]
    outputs = run(b"\n".join(lines))
    [reject] = rejects(outputs)
    assert outputs.batch.num_rows == 999
    assert (reject.index, reject.code, original_bytes(reject)) == (321, Code.NOT_JSON, lines[321])
    assert reject.id == f"{EPOCH}-w2-41-321"
    assert dict(outputs.rejects[0][0]) == {
        "epoch": EPOCH.encode(),
        "stream": b"client_events",
        "source_partition": b"2",
        "source_offset": b"41",
        "index": b"321",
    }


def test_a_frame_without_a_good_line_is_written_all_the_same() -> None:
    outputs = run(b"no JSON")
    assert read_arrow(outputs.enriched).num_rows == 0
    assert read_headers(outputs.headers).rejected == 1


@pytest.mark.parametrize("value", [b"", b"\n\n"])
def test_an_empty_record_has_an_outcome(value: bytes) -> None:
    outputs = run(value)
    assert [reject.code for reject in rejects(outputs)] == [Code.EMPTY_RECORD]
    assert read_headers(outputs.headers).lines == 1


def test_a_bare_event_takes_what_the_records_headers_say() -> None:
    outputs = run(
        msgspec.json.encode(network_log()),
        stream="connection_logs",
        fleet=b"demo",
        device=b"phone-7",
        received_at=b"2025-11-21T09:00:00Z",
    )
    [row] = read_arrow(outputs.enriched).to_pylist()
    assert (row["fleet"], row["device_id"]) == ("demo", "phone-7")
    assert row["received_at"].isoformat() == "2025-11-21T09:00:00+00:00"


def test_without_another_word_an_event_was_received_when_its_record_was() -> None:
    [row] = read_arrow(run(msgspec.json.encode(success()), fleet=b"demo").enriched).to_pylist()
    assert row["received_at"].timestamp() * 1_000_000 == RECEIVED_AT


class Bug(Exception):
    """What a step should never raise."""


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps that fail on frames with a client of vendor 'cafe'; the list counts the calls."""
    calls: list[int] = []

    def enrich(stream: Stream, columns: Any, *args: Any, **options: Any) -> Any:
        calls.append(len(columns["fleet"]))
        if any(mac.startswith("ca:fe") for mac in columns["mac"].to_pylist()):
            raise Bug("not a café")
        return enrich_rightly(stream, columns, *args, **options)

    monkeypatch.setattr(module, "enrich", enrich)
    return calls


def test_a_line_that_crashes_a_step_is_set_aside_and_the_others_go_on(buggy: list[int]) -> None:
    bad = envelope(success(macAddress="CA:FE:00:00:00:01"))
    outputs = run(b"\n".join([envelope(success()), bad, b"no JSON", envelope(failure())]))
    crash, syntax = rejects(outputs)
    assert (crash.index, crash.kind, crash.stage) == (1, Kind.CRASH, "enrich")
    assert (crash.detail, original_bytes(crash)) == ("Bug: not a café", bad)
    assert (crash.fleet, crash.received_at) == ("demo", RECEIVED_AT)
    assert (syntax.index, syntax.code) == (2, Code.NOT_JSON)
    assert set(read_arrow(outputs.enriched).column("index").to_pylist()) == {0, 3}
    assert outputs.crashed == 1
    assert read_headers(outputs.headers).lines == 4


def test_the_whole_frame_is_tried_again_before_it_is_taken_apart(buggy: list[int]) -> None:
    run(frame(success(), success(macAddress="CA:FE:00:00:00:01")))
    assert buggy == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("way", ["alone", "many", "apart"])
def test_a_line_of_which_nothing_can_be_made_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It ended the worker, and every one behind it: only the steps before were watched."""

    def write_rightly(batch: Any) -> bytes:
        if any(mac.startswith("ca:fe") for mac in batch.column("mac").to_pylist()):
            raise Bug("not a café")
        return write_arrow(batch)

    def bounded_rightly(received_at: int, *args: Any, **options: Any) -> int:
        if received_at == 1000007 * 1_000_000:
            raise Bug("not at seven")
        return bounded_one(received_at, *args, **options)

    monkeypatch.setattr(module, "write_arrow", write_rightly)
    monkeypatch.setattr(module, "bounded_one", bounded_rightly)
    bad = envelope(success(macAddress="CA:FE:00:00:00:01"))
    worse = b'{"fleet":"demo","received_at":1000007,"event":1}'
    lines = [envelope(success()), bad, worse, b"no JSON", envelope(failure())]
    transform = transform_of("client_events")
    record = Record(2, 41, 39, b"\n".join(lines), [], RECEIVED_AT)
    if way == "many":
        thin = record._replace(offset=42, value=b"\n".join([lines[0], bad, lines[-1]]))
        outputs, other = transform.many([record, thin], {"demo"})
        assert [(one.index, one.code) for one in rejects(other)] == [(1, Code.CRASH)]
    elif way == "apart":
        outputs = transform.apart(record, {"demo"}, guilty=(), at_line=lambda _: None)
    else:
        outputs = transform(record, {"demo"})
    crash, other_crash, syntax = rejects(outputs)
    assert (crash.index, crash.code, original_bytes(crash)) == (1, Code.CRASH, bad)
    assert (other_crash.index, other_crash.code, original_bytes(other_crash)) == (2, Code.CRASH, worse)
    assert (crash.fleet, crash.detail) == ("demo", "Bug: not a café")
    assert (syntax.index, syntax.code) == (3, Code.NOT_JSON)
    assert set(read_arrow(outputs.enriched).column("index").to_pylist()) == {0, 4}
    assert (outputs.crashed, read_headers(outputs.headers).lines) == (2, 5)


def test_a_record_that_only_fails_as_a_whole_is_one_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(batch: Any) -> bytes:
        if batch.num_rows > 1:
            raise Bug("one at a time")
        return write_arrow(batch)

    monkeypatch.setattr(module, "write_arrow", write)
    value = frame(success(), success())
    [reject] = rejects(run(value))
    assert (reject.index, reject.code, original_bytes(reject)) == (0, Code.CRASH, value)


@pytest.mark.parametrize("place", ["enrich", "write_arrow"])
@pytest.mark.parametrize("way", ["alone", "many", "apart"])
def test_where_memory_is_short_no_good_line_is_refused(
    monkeypatch: pytest.MonkeyPatch, way: str, place: str
) -> None:
    """They were rejects of kind `crash`, as was all that came until there was memory again."""

    def fail(*_: Any, **__: Any) -> Any:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    transform, record = transform_of("client_events"), Record(2, 41, 39, frame(success()), [], RECEIVED_AT)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(module, place, fail)
        if way == "apart":
            transform.apart(record, {"demo"}, guilty=(), at_line=lambda line: None)
        elif way == "many":
            transform.many([record, record._replace(offset=42, previous_offset=41)], {"demo"})
        else:
            transform(record, {"demo"})
    assert transform(record, {"demo"}).batch.num_rows == 1


def test_a_record_for_which_memory_is_short_goes_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def enrich(stream: Stream, columns: Any, *args: Any, **options: Any) -> Any:
        if len(columns["mac"]) > 1:
            raise MemoryError
        return enrich_rightly(stream, columns, *args, **options)

    monkeypatch.setattr(module, "enrich", enrich)
    assert run(frame(success(), failure())).batch.num_rows == 2


def test_a_bug_in_a_side_output_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise Bug

    monkeypatch.setattr(module, "failure_records", fail)
    outputs = run(frame(failure()))
    assert (outputs.batch.num_rows, outputs.failures) == (1, [])


def test_originals_that_would_not_fit_a_record_are_cut() -> None:
    line = b"x" * (LIMIT // 2)
    [reject] = rejects(run(line))
    assert original_bytes(reject) == line[:CUT_BYTES]
    assert reject.detail.endswith(f"only the first {CUT_BYTES} of {len(line)} bytes are kept")


def test_a_record_whose_outcome_would_not_fit_becomes_one_reject() -> None:
    random = Random(1)
    names = [random.randbytes(200).hex() for _ in range(150)]
    value = frame(*(network_log(network_name=name) for name in names))
    outputs = run(value, stream="connection_logs", limit=20_000)
    [reject] = rejects(outputs)
    assert (reject.code, reject.index, read_headers(outputs.headers).lines) == (Code.TOO_LARGE, 0, 1)
    assert outputs.failures == []


def test_a_record_that_decompresses_without_end_is_not_looked_into() -> None:
    [reject] = rejects(run(b" " * (8 * LIMIT + 1)))
    assert (reject.code, reject.index) == (Code.TOO_LARGE, 0)
    assert len(original_bytes(reject)) == CUT_BYTES


@pytest.mark.parametrize("way", ["alone", "many", "apart"])
@pytest.mark.parametrize("text", ["noise", "escapes", "two bytes", "metadata"])
def test_an_event_as_long_as_a_gateway_may_take_is_taken(way: str, text: str) -> None:
    """It was refused: its envelope made its line longer than the limit."""
    random = Random(1)
    limit = 4_194_304
    most = largest_event(limit)
    filling = {"noise": random.randbytes(most).hex(), "escapes": '\\"\x01' * most, "two bytes": "é" * most}
    event = sized(filling[text], most) if text in filling else of_floats(random, most)
    line = envelope(event, device="é\x01" * 128, origin=f"{EPOCH}-c2-1-1")
    small = envelope(session_log())
    transform = transform_of("connection_logs", limit)
    record = Record(2, 41, 39, line, [], RECEIVED_AT)
    if way == "many":
        outputs = transform.many([record, record._replace(value=small)], {"demo"})[0]
    elif way == "apart":
        outputs = transform.apart(record, {"demo"}, guilty=(), at_line=lambda _: None)
    else:
        outputs = transform(record, {"demo"})
    assert rejects(outputs) == []
    assert len(event) == most


def sized(text: str, most: int) -> bytes:
    """A session log of exactly `most` bytes with as much of a text as that takes, 'x' where nothing fits."""
    event = msgspec.json.encode(session_log(user_agent="@", metadata=None))
    head, _, tail = event.partition(b"@")
    room = most - len(head) - len(tail)
    unit = msgspec.json.encode(text[:room])[1:-1]
    while len(unit) > room:
        text = text[: len(text) * room // len(unit)]
        unit = msgspec.json.encode(text)[1:-1]
    return head + unit + b"x" * (room - len(unit)) + tail


def of_floats(random: Random, most: int) -> bytes:
    """A session log of `most` bytes whose numbers take more room as they are stored than as they came."""
    numbers = b",".join(b"%de12" % random.randrange(100, 999) for _ in range(most // 7))
    head, tail = msgspec.json.encode(session_log(metadata={"numbers": "@"})).split(b'"@"')
    numbers = numbers[: most - len(head) - len(tail) - 2].rpartition(b",")[0]
    return (head + b"[" + numbers + b"]" + tail[:-1]).ljust(most - 1) + b"}"


def test_a_record_that_kills_goes_line_by_line_without_the_guilty_ones() -> None:
    transform = transform_of("client_events")
    lines = [envelope(success()), envelope(failure()), envelope(success())]
    seen: list[int] = []
    record = Record(2, 41, 39, b"\n".join(lines), [], RECEIVED_AT)
    outputs = transform.apart(record, {"demo"}, guilty={1}, at_line=seen.append)
    [reject] = rejects(outputs)
    assert seen == [0, 2]
    assert (reject.index, reject.code, original_bytes(reject)) == (1, Code.CRASH, lines[1])
    assert outputs.batch.num_rows == 2


@pytest.mark.parametrize("mark", [b"", BOM, BOM + BOM])
def test_line_by_line_the_lines_are_those_of_the_whole(mark: bytes) -> None:
    """A line that began with a mark of its own was refused within its record and taken by itself."""
    transform = transform_of("client_events")
    value = BOM + b"\n" + envelope(success()) + b"\n\n" + envelope(failure(), fleet="other")
    value += b"\n" + mark + b"\n" + mark + envelope(success(ssid="b"))
    record = Record(2, 41, 39, value, [], RECEIVED_AT)
    whole = transform(record, {"demo"})
    apart = transform.apart(record, {"demo"}, guilty=(), at_line=lambda index: None)
    assert [reject.index for reject in rejects(apart)] == ([1, 2, 3] if mark else [1])
    assert (apart.headers, apart.rejects) == (whole.headers, whole.rejects)
    assert read_arrow(apart.enriched).equals(read_arrow(whole.enriched))


def together(
    values: list[bytes], decoder: str = "python", **headers: bytes
) -> tuple[list[Outputs], list[Outputs]]:
    """What records yield at once, and each by itself."""
    transform = transform_of("client_events", decoder=native_decoder.named(decoder, "client_events"))
    records = [
        Record(2, number, number - 1, value, list(headers.items()), RECEIVED_AT + number)
        for number, value in enumerate(values)
    ]
    return transform.many(records, {"demo"}), [transform(record, {"demo"}) for record in records]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param([], id="all good"),
        pytest.param([b""], id="an empty record"),
        pytest.param([frame(success(), {"macAddress": "x"})], id="a bad line"),
        pytest.param([b'{"fleet":"demo","event":' + body(success()) + b"}"], id="a line without received_at"),
        pytest.param([frame(success()) + b"\n\n\r\n" + frame(failure()) + b"\n"], id="blank lines"),
        pytest.param([frame(success(), fleet="other")], id="an unknown fleet"),
        pytest.param([BOM + frame(success(), failure())], id="a byte order mark"),
        pytest.param([BOM + b"\n" + frame(success(), failure())], id="a byte order mark as a line"),
        pytest.param([BOM], id="a byte order mark alone"),
        pytest.param([BOM + BOM + b"\n" + frame(success())], id="two byte order marks"),
        pytest.param([b"\x0b\n" + frame(success())], id="a line of a vertical tab"),
    ],
)
@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("decoder", native_decoder.NAMES)
def test_many_records_at_once_yield_what_each_yields(decoder: str, at: int, odd: list[bytes]) -> None:
    kinds = (success(), failure(), intermediate())
    values = [frame(*(kinds[(number + i) % 3] for i in range(1 + number % 4))) for number in range(9)]
    records = [*values[:at], *odd, *values[at:]]
    for at_once, alone in zip(*together(records, decoder), strict=True):
        assert at_once.headers == alone.headers
        assert at_once.rejects == alone.rejects
        assert sorted(at_once.failures) == sorted(alone.failures)
        rows, wanted = (read_arrow(outputs.enriched).sort_by("index") for outputs in (at_once, alone))
        assert rows.equals(wanted)


def test_only_records_with_a_refused_line_go_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def decode(stream: Stream, value: bytes, **options: Any) -> Decoded:
        decoded.append(len(value.splitlines()))
        return decode_frame(stream, value, **options)

    monkeypatch.setattr(module, "decode_frame", decode)
    values = [frame(success(), failure()), frame(success(), {"macAddress": "x"}), frame(failure())]
    transform = transform_of("client_events")
    records = [Record(2, number, number - 1, value, [], RECEIVED_AT) for number, value in enumerate(values)]
    outputs = transform.many(records, {"demo"})
    assert decoded == [5, 2]
    assert [(one.lines, one.batch.num_rows, len(one.rejects)) for one in outputs] == [
        (2, 2, 0),
        (2, 1, 1),
        (1, 1, 0),
    ]


def test_headers_hold_for_the_lines_of_their_record() -> None:
    for at_once, alone in zip(*together([body(success())] * 3, fleet=b"demo"), strict=True):
        assert (at_once.headers, at_once.enriched) == (alone.headers, alone.enriched)
