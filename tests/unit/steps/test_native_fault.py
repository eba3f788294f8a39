"""A fault of the native decoder costs its speed and no event."""

from __future__ import annotations

from typing import Any

from tidegate.contracts.topics import Stream
from tidegate.gateway import examine
from tidegate.steps.decode import Decoded, decode_frame

LINE = b'{"network_type": "wi", "network_security": "wp2"}'
RECEIVED_AT = 1_763_712_000_000_000  # µs
STREAM: Stream = "connection_logs"


class Broken:
    """A decoder that panics at everything."""

    def decode(self, *_: Any) -> Any:
        raise RuntimeError("the native decoder panicked")

    def route(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the native decoder panicked")

    text = decode


def decoded(native: Broken | None) -> Decoded:
    return decode_frame(
        STREAM, LINE, fleet="demo", device=None, received_at=RECEIVED_AT, fleets=None, native=native
    )


def test_the_worker_decodes_in_python() -> None:
    found, alone = decoded(Broken()), decoded(None)
    assert found.lines == alone.lines == 1 and found.refused == []
    assert found.columns == alone.columns


def test_the_gateway_examines_in_python() -> None:
    found = examine.route(
        Broken(), b"[%b]" % LINE, "json", seed=0, header=None, partitions=1, longest=1 << 20, most=10
    )
    assert found is None
