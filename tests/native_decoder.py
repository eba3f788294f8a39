"""The native decoder in tests: there or not, and compared with Python's."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pyarrow as pa
import pytest

from tidegate.contracts import native
from tidegate.contracts.native import Decoder, Decoders
from tidegate.contracts.topics import Stream
from tidegate.steps.decode import Decoded, decode_frame

NAMES = ("python", "native")


def decoders() -> Decoders:
    """The native decoders. Skips the test where there are none, and fails it in CI where there is cargo."""
    found = native.load()
    if isinstance(found, str):
        if os.environ.get("CI") and shutil.which("cargo"):
            pytest.fail(f"cargo is here, but {found}")
        pytest.skip(found)
    return found


def named(name: str, stream: Stream) -> Decoder | None:
    """The decoder of a stream by its name in NAMES, as `decode_frame` takes it."""
    return decoders()[stream] if name == "native" else None


def both(stream: Stream, value: bytes, **options: Any) -> tuple[Decoded, Decoded]:
    """What Python and the native decoder make of a frame."""
    said: dict[str, Any] = {"fleet": None, "device": None, "received_at": 1_763_712_000_000_000}
    said |= {"fleets": {"demo"}} | options
    return decode_frame(stream, value, **said), decode_frame(stream, value, native=decoders()[stream], **said)


def assert_same(one: Decoded, other: Decoded) -> None:
    """The same rows by index, refusals and keys; -0.0 is not 0.0."""
    assert one.lines == other.lines
    assert one.refused == other.refused
    assert one.keys == other.keys
    assert list(one.columns) == list(other.columns)
    rows = [_ordered(decoded) for decoded in (one, other)]
    for name in one.columns:
        assert rows[0][name].equals(rows[1][name]), (name, rows[0][name], rows[1][name])


def _ordered(decoded: Decoded) -> dict[str, Any]:
    batch: pa.RecordBatch = pa.record_batch(dict(decoded.columns)).sort_by("index")
    return {name: bitwise(batch.column(name)) for name in batch.schema.names}


def bitwise(column: Any) -> Any:
    """A column of doubles as their bits."""
    return column.view(pa.int64()) if column.type == pa.float64() else column
