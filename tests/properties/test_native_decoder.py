"""The native decoder and Python's: the same rows, refusals and words for the same bytes."""

from __future__ import annotations

import json
import threading
from random import Random

import msgspec
import native_decoder
import pyarrow as pa
import pytest
from hypothesis import given, settings
from native_decoder import assert_same, both
from test_contracts import AWKWARD, frame_bytes

import builders
from builders import (
    device_log,
    envelope,
    failure,
    intermediate,
    legacy_log,
    network_log,
    session_log,
    success,
    wrapped,
)
from tidegate import lookups
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.simulate.schedule import parse
from tidegate.simulate.simulation import Plan, Simulation
from tidegate.steps.frame import FrameSteps, Outputs, Record
from tidegate.worker.transform import Transform

SIMULATED = 100_000
MUTATED_FRAMES = 800  # of a stream, each of
MUTATED_LINES = 12
"""28,800 mutated lines in all."""

BODIES = {
    "connection_logs": [
        network_log(),
        network_log(
            network_mccmnc="310260",
            latitude="-0.0",
            longitude=-74.006,
            quality_value=-0.0,
            link_speed=866.7,
            roaming=True,
        ),
        session_log(metadata={"a": [1, 2.5, None, {"b": "u"}]}, duration=12),
        legacy_log(),
        wrapped(network_log(network_name="Café \U0001f600")),
        wrapped(session_log()),
        wrapped(legacy_log()),
    ],
    "client_events": [
        success(),
        failure(),
        intermediate(bssid="001A.2B3C.4D5E", bstNbrMac="00-1A-2B-3C-4D-5E"),
    ],
    "device_logs": [
        device_log(),
        device_log(id=17, old_value=1.5, new_value=True, applied_at="2024-02-29 01:02:03.5+05:30"),
    ],
}


def seeds(stream: Stream) -> list[bytes]:
    lines = [envelope(body) for body in BODIES[stream]]
    lines += [
        envelope(json.dumps(body, separators=(",", ":")).encode(), device="phone-7")
        for body in BODIES[stream]
    ]
    lines += [event_line(stream, body) for body in BODIES[stream]]
    return lines


def event_line(stream: Stream, body: object) -> bytes:
    """The fields of the envelope in another order, and every character outside ASCII as an escape."""
    return (
        b'{ "event" : %b, "received_at": 1763712000, "device": null, "fleet": "demo"}\r'
        % json.dumps(body).encode()
    )


PIECES = [piece.encode("utf-8", "surrogatepass") for piece in AWKWARD if len(piece) < 100] + [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\\u00e9",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\\ud83d",
    b"-0.0",
    b"-0",
    b"0.1",
    b"1e5",
    b"9007199254740993",
    b"999999999999999999",
    b"1.7976931348623157e308",
    b"123456.789012345678",
    b"2299-12-31T23:59:59.999999Z",
    b"1900-01-01",
    b"2023-02-29T00:00:00Z",
    b"null",
    b'"event_id":"k",',
]


def mutated(random: Random, line: bytes) -> bytes:
    """A line with some of its bytes changed, dropped, doubled, or replaced by what senders get wrong."""
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        at = random.randrange(len(line) + 1)
        what = random.randrange(7)
        if what == 0 and at < len(line):
            line = line[:at] + bytes([line[at] ^ 1 << random.randrange(8)]) + line[at + 1 :]
        elif what == 1:
            line = line[:at] + line[at + random.randrange(1, 4) :]
        elif what == 2:
            line = line[:at] + random.choice(PIECES) + line[at:]
        elif what == 3:  # a digit for a digit, so that numbers and times reach their bounds
            digits = [place for place, byte in enumerate(line) if 48 <= byte < 58]
            for place in random.sample(digits, min(len(digits), random.randrange(1, 4))):
                line = line[:place] + b"%d" % random.randrange(10) + line[place + 1 :]
        elif what == 4:  # another value
            colons = [place for place, byte in enumerate(line) if byte == 58]
            start = random.choice(colons) + 1 if colons else at
            end = min(
                (place for place in (line.find(b",", start), line.find(b"}", start)) if place > 0),
                default=start,
            )
            line = line[:start] + random.choice(PIECES) + line[end:]
        elif what == 5:
            line = line[:at]
        else:  # a part twice
            end = at + random.randrange(40)
            line = line[:end] + line[at:end] + line[end:]
    return line


@pytest.mark.parametrize("stream", STREAMS)
def test_mutated_lines(stream: Stream) -> None:
    taken = 0
    lines = seeds(stream)
    for seed in range(MUTATED_FRAMES):
        random = Random(f"{stream} {seed}")
        value = b"\n".join(mutated(random, random.choice(lines)) for _ in range(MUTATED_LINES))
        python, native = both(stream, value)
        assert_same(python, native)
        taken += len(python.columns["index"])
    assert (
        taken > MUTATED_FRAMES * MUTATED_LINES // 10
    )  # mutations that leave nothing to take would test little


@settings(max_examples=150, deadline=None)
@given(frame_bytes())
def test_frames_whose_lines_break_anywhere(case: tuple[Stream, bytes]) -> None:
    assert_same(*both(*case))


@pytest.mark.parametrize("stream", STREAMS)
def test_good_events_are_not_left_to_python(stream: Stream) -> None:
    lines = seeds(stream)
    frame = native_decoder.decoders()[stream].decode(b"\n".join(lines), 1, 1 << 20)
    assert (frame.lines, frame.left) == (len(lines), [])
    assert_same(*both(stream, b"\n".join(lines)))


def test_unknown_fleets_and_headers_are_pythons() -> None:
    lines = [envelope(success()), envelope(success(), fleet="other"), builders.body(success())]
    value = b"\n".join(lines)
    assert_same(*both("client_events", value))
    assert_same(*both("client_events", value, fleet="demo", fleets=None))
    assert_same(*both("connection_logs", envelope(network_log()), device="phone-1"))


def test_no_frame_is_too_long_for_a_line() -> None:
    value = b"\n".join([envelope(success())] * 3)
    assert_same(*both("client_events", value, received_at=0))


def transform(stream: Stream, name: str) -> Transform:
    return Transform(
        FrameSteps(
            stream,
            lookups.load(),
            epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9F",
            transform_version="1",
            geohash_precision=6,
            clock_skew_seconds=86_400,
            max_record_bytes=16_777_216,
            decoder=native_decoder.named(name, stream),
        )
    )


def test_whole_transforms_of_simulated_events() -> None:
    """Every column, every failure's document, every reject of 100,000 events."""
    native_decoder.decoders()
    source = Simulation(Plan(seed=11, start=builders.RECEIVED_AT, incidents=parse("all"), streams=STREAMS))
    lines: dict[Stream, list[bytes]] = {stream: [] for stream in STREAMS}
    transforms = {
        (stream, name): transform(stream, name) for stream in STREAMS for name in native_decoder.NAMES
    }
    rows = failures = 0
    for number, event in enumerate(source.take(SIMULATED)):
        device = event.device.decode() if event.stream == "connection_logs" else None
        body = event.body[:-1] if number % 1000 == 999 else event.body  # one in a thousand is torn
        own = lines[event.stream]
        own.append(envelope(body, device=device, received_at=builders.RECEIVED_AT + number))
        if len(own) == 500:
            record = Record(0, number, number - 1, b"\n".join(own), [], builders.RECEIVED_AT)
            python, native = (
                transforms[event.stream, name](record, {"demo"}) for name in native_decoder.NAMES
            )
            assert_same_outputs(python, native)
            rows, failures = rows + python.batch.num_rows, failures + len(python.failures)
            own.clear()
    assert rows > SIMULATED * 0.97
    assert failures > 100


def assert_same_outputs(python: Outputs, native: Outputs) -> None:
    one, other = (outputs.batch.sort_by("index") for outputs in (python, native))
    assert one.schema.equals(other.schema)
    for name in one.schema.names:
        assert native_decoder.bitwise(one.column(name)).equals(native_decoder.bitwise(other.column(name))), (
            name
        )
    assert sorted(python.failures, key=_by_id) == sorted(native.failures, key=_by_id)
    assert python.rejects == native.rejects
    assert python.headers == native.headers
    assert (python.lines, python.crashed, python.duplicates) == (
        native.lines,
        native.crashed,
        native.duplicates,
    )
    assert pa.ipc.open_stream(native.enriched).read_all().to_batches()[0].equals(native.batch)


def _by_id(failure: tuple[bytes, bytes]) -> str:
    return str(msgspec.json.decode(failure[1])["id"])


def test_threads_decode_at_once() -> None:
    """The decoder keeps no state from call to call."""
    value = b"\n".join(seeds("client_events") * 50)
    decoder = native_decoder.decoders()["client_events"]
    expected = pa.record_batch(decoder.decode(value, 1, 1 << 20))
    found: list[bool] = []

    def work() -> None:
        for _ in range(50):
            found.append(pa.record_batch(decoder.decode(value, 1, 1 << 20)).equals(expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200
