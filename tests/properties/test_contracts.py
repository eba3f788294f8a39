"""The fast decoder and the model: the same verdict and the same values on the same bytes."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec
import native_decoder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import device_log, failure, intermediate, legacy_log, network_log, session_log, success, wrapped
from tidegate.contracts.forms import Event, Form, examine, precise, strict
from tidegate.contracts.frames import BOM, lines_of, record_of
from tidegate.contracts.models import Model
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.steps.decode import decode_frame

FRACTION = re.compile(rb":\s*-?\d+(\.\d+([eE][+-]?\d+)?|[eE][+-]?\d+)\s*[,}]")

BODIES: dict[Stream, list[dict[str, Any]]] = {
    "connection_logs": [
        network_log(),
        session_log(),
        legacy_log(),
        wrapped(network_log()),
        wrapped(legacy_log()),
    ],
    "client_events": [success(), failure(), intermediate()],
    "device_logs": [device_log()],
}

# What senders really get wrong, as JSON text so that Python's json does not tidy it up.
AWKWARD = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "1e2",
    "1e999",
    "-1e999",
    "0.1",
    "233",
    "234",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1" * 400,
    "1" * 5000,
    "NaN",
    "Infinity",
    "-Infinity",
    '""',
    '"1"',
    '"5GHz"',
    '"\\u0000"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"é"',
    '"wi"',
    '"WI"',
    '"wp2"',
    '"Success"',
    '"2024-01-15T14:30:25Z"',
    '"2024-01-15 14:30:25+05:30"',
    '"2024-13-01"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31"',
    '"00:1A:2B:3C:4D:5E"',
    '"001a.2b3c.4d5e"',
    '"00:1a-2b:3c:4d:5e"',
    '"40.7128"',
    '"-180"',
    '"181"',
    '"nan"',
    '"1_0"',
    '"١٢"',
    '"31026"',
    '"3102600"',
    "[]",
    "{}",
    '{"id":1}',
    '{"id":"a"}',
    '{"id":null}',
    '{"id":1,"more":[1e400]}',
    '{"id":1,"more":{"a":1}}',
    "[" * 2000 + "]" * 2000,
    "tru",
    "01",
    "+1",
    ".5",
    "1.",
    "'a'",
    '"a\nb"',
    "",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
json_values = st.sampled_from(AWKWARD) | st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
).map(json.dumps)


@st.composite
def event_bytes(draw: st.DrawFn, stream: Stream) -> bytes:
    """A good body of the stream with some fields dropped, replaced, added, doubled; or torn bytes."""
    fields = {key: json.dumps(value) for key, value in draw(st.sampled_from(BODIES[stream])).items()}
    names = st.sampled_from(
        sorted({*fields, "unknown", "macAddress", "latitude", "device_id", "eventType", "rssi"})
    )
    for name in draw(st.lists(names, max_size=3)):
        if draw(st.booleans()):
            fields[name] = draw(json_values)
        else:
            fields.pop(name, None)
    pairs = list(fields.items())
    if pairs and draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(pairs))[0]
        pairs.append((name, draw(json_values)))
    text = "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"
    data = text.encode("utf-8", "surrogatepass")
    tear = draw(st.integers(0, 9))
    if tear == 0:
        data = data[: draw(st.integers(0, len(data)))]
    elif tear == 1:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(min_size=1, max_size=3)) + data[at:]
    return data


streams_and_bytes = st.sampled_from(STREAMS).flatmap(
    lambda stream: st.tuples(st.just(stream), event_bytes(stream))
)


@settings(max_examples=1500, deadline=None)
@given(streams_and_bytes)
def test_the_fast_decoder_takes_nothing_that_the_model_refuses(case: tuple[Stream, bytes]) -> None:
    stream, line = case
    quick, exact = strict(stream, line), precise(stream, line)
    if quick is not None:
        assert isinstance(exact, Event), exact
        assert exact.form is quick.form
        assert msgspec.to_builtins(exact.value) == msgspec.to_builtins(quick.value)
        assert exact.extra == b""


@settings(max_examples=1500, deadline=None)
@given(streams_and_bytes)
def test_the_values_are_the_models_values(case: tuple[Stream, bytes]) -> None:
    stream, line = case
    verdict = examine(stream, line)
    if not isinstance(verdict, Event):
        return
    plain = parsed(line)
    if stream == "connection_logs" and plain.keys() == {"data"}:
        plain = parsed(plain["data"])
    model = verdict.form.model.model_validate(known_fields(verdict.form, plain))
    for name in verdict.form.fields:
        mine, theirs = getattr(verdict.value, name), getattr(model, name)
        if isinstance(theirs, Model):
            mine, theirs = msgspec.to_builtins(mine), theirs.model_dump(by_alias=True)
        assert type(mine) is type(theirs) or isinstance(mine, dict), name
        assert mine == theirs, name


def parsed(text: bytes | str) -> dict[str, Any]:
    """The JSON text as Python has it; a number of more digits than `int` reads is not known to any model."""
    digits = sys.get_int_max_str_digits()
    found: dict[str, Any] = json.loads(
        text, parse_int=lambda number: int(number) if len(number) <= digits else number
    )
    return found


def known_fields(form: Form, plain: dict[str, Any]) -> dict[str, Any]:
    """What the model knows: of the others no value is too large."""
    known = {name: value for name, value in plain.items() if name in form.wire_set}
    for nested in form.derived.nested.values():
        if isinstance(part := known.get(nested.wire), dict):
            known[nested.wire] = {name: value for name, value in part.items() if name in nested.wires}
    return known


@settings(max_examples=1000, deadline=None)
@given(streams_and_bytes)
def test_a_refusal_of_the_fast_decoder_has_a_reason(case: tuple[Stream, bytes]) -> None:
    """The fast decoder refuses a good event only for an unknown field, a repeated key or unsure marks."""
    stream, line = case
    exact = precise(stream, line)
    if not isinstance(exact, Event) or strict(stream, line) is not None:
        return
    keys: list[str] = []
    json.loads(line, object_pairs_hook=lambda pairs: keys.extend(key for key, _ in pairs), parse_int=str)
    repeated = len(keys) != len(set(keys))
    unsure = exact.form.name == "legacy" and not (exact.value.application_id or exact.value.status)  # type: ignore[attr-defined]
    # `metadata` is kept as it came, also with numbers and texts that no decoder takes.
    spelt = FRACTION.search(line) is not None  # a whole number may be written 4.0
    assert exact.extra or repeated or unsure or spelt or b'"data"' in line or b'"metadata"' in line


@st.composite
def frame_bytes(draw: st.DrawFn) -> tuple[Stream, bytes]:
    """A frame whose lines break where they should, and where they should not."""
    stream = draw(st.sampled_from(STREAMS))
    events = draw(st.lists(event_bytes(stream), min_size=1, max_size=8))
    lines = [b'{"fleet":"demo","received_at":1763712000000000,"event":' + event + b"}" for event in events]
    kinds = [b"\n", b"\n", b"\n", b"\r\n", b"\n \n", b" ", b"", b",", b"\n" + BOM, b"\n" + BOM + b"\n"]
    breaks = draw(st.lists(st.sampled_from(kinds), min_size=8))
    value = b"".join(line + brk for line, brk in zip(lines, breaks, strict=False))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(value)))
        value = value[:at] + b"\n" + value[at:]
    return stream, draw(st.sampled_from([b"", b"", BOM, BOM + b"\n"])) + value


@pytest.mark.parametrize("decoder", native_decoder.NAMES)
@settings(max_examples=500, deadline=None)
@given(frame_bytes())
def test_every_line_of_a_frame_has_one_outcome(decoder: str, case: tuple[Stream, bytes]) -> None:
    """accepted + refused = lines, each index once, and the verdict of a line does not hang on its frame."""
    stream, value = case
    native = native_decoder.named(decoder, stream)
    counted = value.removeprefix(BOM)
    lines = [line for line in counted.split(b"\n") if line.strip()] or [counted]
    assert lines_of(value) == lines
    assert lines_of(record_of(lines)) == lines
    decoded = decode_frame(
        stream, value, fleet=None, device=None, received_at=1, fleets={"demo"}, native=native
    )
    accepted: list[Any] = decoded.columns["index"].to_pylist()
    refused = [item.index for item in decoded.refused]
    assert sorted(accepted + refused) == list(range(len(lines)))
    assert decoded.lines == len(lines)
    for index, line in enumerate(lines):
        alone = decode_frame(
            stream,
            record_of([line]),
            fleet=None,
            device=None,
            received_at=1,
            fleets={"demo"},
            native=native,
        )
        assert bool(alone.refused) == (index in refused)
        if not alone.refused:
            row = accepted.index(index)
            for name, column in decoded.columns.items():
                if name != "index":
                    assert column[row].as_py() == alone.columns[name][0].as_py(), name


@pytest.mark.parametrize("decoder", native_decoder.NAMES)
@pytest.mark.parametrize("stream", STREAMS)
@given(data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(stream: Stream, decoder: str, data: bytes) -> None:
    examine(stream, data)
    native = native_decoder.named(decoder, stream)
    decode_frame(stream, data, fleet="demo", device=None, received_at=1, fleets=None, native=native)
