import json

import msgspec
import pyarrow as pa
import pytest
from enriched_frames import rows
from hypothesis import given
from hypothesis import strategies as st

from builders import device_log, network_log
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.frames import (
    BadFrame,
    EnrichedHeaders,
    envelope_line,
    envelope_prefix,
    read_arrow,
    read_headers,
    read_rejects,
    write_arrow,
    write_headers,
)
from tidegate.contracts.rejects import Code, Kind, Reject
from tidegate.contracts.topics import STREAMS, Stream

HEAD = EnrichedHeaders(
    epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9F",
    stream="device_logs",
    source_partition=2,
    source_offset=41,
    previous_offset=40,
    lines=5,
    accepted=3,
    rejected=1,
    duplicates=1,
    transform_version="1",
)
REJECT = Reject(
    HEAD.epoch, "device_logs", 2, 41, 4, "demo", 1, "decode", Kind.SYNTAX, Code.NOT_JSON, "", "", "", "é",
    "{\n", "utf8",
)  # fmt: skip


@given(
    st.text(min_size=1).filter(lambda text: text.isprintable()),
    st.integers(0, 2**62),
    st.none() | st.text(),
)
def test_an_envelope_is_one_line_of_json(fleet: str, received_at: int, device: str | None) -> None:
    pretty = json.dumps(network_log(), indent=2).encode().replace(b"\n", b"\r\n")
    line = envelope_line(envelope_prefix(fleet, received_at, device), pretty)
    assert b"\n" not in line and b"\r" not in line
    found = msgspec.json.decode(line)
    assert found.pop("device", None) == device
    assert found == {"fleet": fleet, "received_at": received_at, "event": network_log()}


def test_headers_come_back() -> None:
    assert read_headers(write_headers(HEAD)) == HEAD
    assert read_rejects(write_headers(HEAD)) == []


def test_rejects_travel_with_their_frame() -> None:
    headers = write_headers(HEAD, [REJECT, REJECT])
    assert read_headers(headers) == HEAD
    assert read_rejects(headers) == [REJECT, REJECT]


def test_headers_of_others_are_let_through() -> None:
    assert read_headers([("traceparent", b"\xff"), *write_headers(HEAD)]) == HEAD


@pytest.mark.parametrize("name", EnrichedHeaders._fields)
def test_a_missing_header_is_named(name: str) -> None:
    headers = [(key, value) for key, value in write_headers(HEAD) if key != name]
    with pytest.raises(BadFrame, match=f"header {name} is missing"):
        read_headers(headers)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source_offset": "many"}, "source_offset: 'many' is not a whole number"),
        ({"stream": "audit"}, "stream: 'audit' is not a stream"),
        ({"lines": "6"}, "lines 6 is not accepted"),
    ],
)
def test_headers_that_do_not_add_up_are_refused(change: dict[str, str], said: str) -> None:
    headers = [(key, change.get(key, value.decode()).encode()) for key, value in write_headers(HEAD)]
    with pytest.raises(BadFrame, match=said):
        read_headers(headers)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_frame_without_rows_still_has_its_columns(stream: Stream) -> None:
    empty = pa.RecordBatch.from_pylist([], schema=SCHEMAS[stream])
    found = read_arrow(write_arrow(empty))
    assert found.num_rows == 0
    assert found.schema == SCHEMAS[stream]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_bytes_are_those_of_arrows_own_writer(stream: Stream) -> None:
    """The schema's bytes are kept; whole batches and slices, with and without rows."""
    whole = rows(stream, [1, 2, 3])
    for batch in (whole, whole.slice(1, 1), whole.slice(0, 0)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        assert write_arrow(batch) == sink.getvalue().to_pybytes()


def test_rows_come_back() -> None:
    batch = pa.record_batch({"a": pa.array([1, None, 3]), "b": pa.array(["x", "é", None])})
    assert read_arrow(write_arrow(batch)).equals(batch)


@pytest.mark.parametrize("value", [b"", b"{}", json.dumps(device_log()).encode()])
def test_other_bytes_are_no_frame(value: bytes) -> None:
    with pytest.raises(BadFrame):
        read_arrow(value)


def test_a_frame_cut_short_is_refused() -> None:
    batch = pa.record_batch({"a": pa.array(range(1000))})
    with pytest.raises(BadFrame):
        read_arrow(write_arrow(batch)[:400])
