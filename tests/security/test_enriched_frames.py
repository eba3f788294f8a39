"""A stranger writes into an enriched topic: what it writes is refused before anything is made of it."""

from __future__ import annotations

import resource
import struct
from typing import Any

import enriched_frames
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.contracts.frames import BadFrame, EnrichedHeaders, Headers, write_arrow, write_headers
from tidegate.sink.frame import read_frame

ROWS = enriched_frames.rows("client_events", [1_760_000_000_000_000] * 3)
HEAD = EnrichedHeaders(enriched_frames.EPOCH, "client_events", 0, 5, 4, 3, 3, 0, 0, "1")
MEBIBYTE = 1 << 20


def read(value: bytes, head: EnrichedHeaders = HEAD, more: Headers | None = None) -> Any:
    return read_frame([*write_headers(head), *(more or [])], value, offset=9, arrived=0.0)


def stream(batch: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def changed(name: str, column: Any) -> pa.RecordBatch:
    position = ROWS.schema.get_field_index(name)
    return ROWS.set_column(position, name, column)


def test_what_the_worker_writes_is_taken() -> None:
    assert read(write_arrow(ROWS)).head == HEAD
    older = ROWS.select([name for name in ROWS.schema.names if name != "nbr_cnt"])
    assert read(write_arrow(older)).value == write_arrow(older)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(codec: str) -> None:
    """A few KiB of it became 128 MiB in the sink, and could have said any size: they were unpacked."""
    big = pa.record_batch({"ssid": pa.array(["x" * (16 * MEBIBYTE)] * 8)})
    value = stream(big, compression=codec)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadFrame, match="column|compressed"):
        read(value)
    with pytest.raises(BadFrame, match="compressed"):
        read(stream(ROWS, compression=codec))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_dictionary_that_rows_multiply_is_refused() -> None:
    """It was taken: one value of a megabyte and a thousand one-byte rows are a gigabyte in ClickHouse."""
    values = pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int8()), pa.array(["x" * MEBIBYTE]))
    with pytest.raises(BadFrame, match="column ssid is dictionary"):
        read(write_arrow(changed("ssid", values)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "not an Arrow"),
        (b"{}", "not an Arrow"),
        (write_arrow(ROWS)[:-400], "not an Arrow"),
        (write_arrow(ROWS.slice(0, 2)), "has 2 rows, its header says 3"),
        (write_arrow(ROWS) + write_arrow(ROWS)[:0], ""),
        (write_arrow(changed("ssid", pa.array([1, 2, 3]))), "column ssid is int64, not string"),
        (write_arrow(ROWS.rename_columns([*ROWS.schema.names[:-1], "; DROP"])), "'; DROP' is none of"),
        (write_arrow(ROWS.select(["fleet", "index"])), "column received_at is missing"),
        (write_arrow(changed("fleet", pa.array(["a", None, "b"]))), "column fleet has nulls"),
    ],
)
def test_other_bytes_and_other_columns_are_refused(value: bytes, said: str) -> None:
    """They were taken into a batch, which then could not be made or inserted."""
    if not said:
        assert read(value)
        return
    with pytest.raises(BadFrame, match=said):
        read(value)


def test_claimed_lengths_allocate_nothing() -> None:
    value = bytearray(write_arrow(ROWS))
    struct.pack_into("<I", value, 4, 0x7FFFFFFF)  # the length of the schema's message
    with pytest.raises(BadFrame):
        read(bytes(value))


def test_offsets_that_point_outside_are_refused() -> None:
    """Nothing looked at them before rows were cut and joined by them."""
    offsets = pa.py_buffer(struct.pack("<4i", 0, 1 << 30, 1, 2))
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abc")])
    with pytest.raises(BadFrame):
        read(write_arrow(changed("ssid", text)))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HEAD._replace(source_offset=-5, previous_offset=-6), "out of range"),
        (HEAD._replace(lines=2, accepted=3, rejected=-1), "out of range"),
        (HEAD._replace(source_offset=1 << 70), "out of range"),
        (HEAD._replace(previous_offset=5), "not before"),
        (HEAD._replace(transform_version="1" * 100_000), "has 100000 bytes"),
        (HEAD._replace(lines=4, rejected=1), "rejects"),
        (HEAD._replace(lines=3 + (1 << 62), duplicates=1 << 62), "lines"),
        (HEAD._replace(epoch="01K9ZQ4T3M8W5X0R2B7C6D1E9\n"), "no ULID"),
        (HEAD._replace(epoch="x"), "no ULID"),
    ],
)
def test_headers_that_cannot_be_are_refused(head: EnrichedHeaders, said: str) -> None:
    with pytest.raises(BadFrame, match=said):
        read(write_arrow(ROWS), head)


def test_thousands_of_headers_are_refused() -> None:
    with pytest.raises(BadFrame, match="headers"):
        read(write_arrow(ROWS), more=[(f"h{number}", b"x") for number in range(10_000)])


def test_rejects_that_are_none_are_refused() -> None:
    """They were taken into a batch, which then could not be made."""
    head = HEAD._replace(lines=4, rejected=1)
    for rejects in (b"{", b"[]", b"\xff", b"{}\n{}", b'{"x":' + b"[" * 100_000):
        with pytest.raises(BadFrame, match="rejects"):
            read(write_arrow(ROWS), head, [("rejects", rejects)])


@pytest.mark.parametrize(
    "wrong", [{"index": 1 << 40}, {"index": -1}, {"index": 4}, {"received_at": 1 << 65}, {"received_at": -1}]
)
def test_rejects_that_no_row_can_hold_are_refused(wrong: dict[str, int]) -> None:
    """A batch with one could not be made, and its partition tried it again for ever."""
    head = HEAD._replace(lines=4, rejected=1)
    [reject] = enriched_frames.rejects(head, 1)
    assert read(write_arrow(ROWS), head, [("rejects", msgspec.json.encode(reject))]).head == head
    forged = msgspec.json.encode(msgspec.structs.asdict(reject) | wrong)
    with pytest.raises(BadFrame, match="rejects"):
        read(write_arrow(ROWS), head, [("rejects", forged)])


WHOLE = write_arrow(ROWS)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_damage_makes_it_fall(damage: list[tuple[int, int]]) -> None:
    value = bytearray(WHOLE)
    for position, byte in damage:
        value[position] = byte
    try:
        read(bytes(value))
    except BadFrame:
        pass
