"""Keys: what goes into a header comes out of it, and keys of different things differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import body, network_log, success, wrapped
from tidegate.contracts.keys import (
    BadKeys,
    Piece,
    digest,
    event_id,
    event_key,
    piece_key,
    read_pieces,
    request_key,
    write_pieces,
)


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 9), st.integers(1, 500))))
def test_pieces_come_back_as_they_were_written(found: list[tuple[bytes, int, int]]) -> None:
    pieces, at = [], 0
    for key, gap, lines in found:
        pieces.append(Piece(key, key[:8], at + gap, lines))
        at += gap + lines
    assert read_pieces(write_pieces(pieces)) == pieces


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        write_pieces([Piece(bytes(16), bytes(8), 0, 1)])[:-1],
        write_pieces([Piece(bytes(16), bytes(8), 0, 2), Piece(bytes(16), bytes(8), 1, 1)]),
        write_pieces([Piece(bytes(16), bytes(8), 0, 0)]),
    ],
)
def test_what_no_gateway_wrote_is_told(value: bytes) -> None:
    with pytest.raises(BadKeys):
        read_pieces(value)


def test_keys_of_different_things_differ() -> None:
    key = request_key("demo", b"a")
    found = [key, request_key("demo2", b"a"), request_key("demo", b"b"), event_key("demo", "a")]
    found += [piece_key(key, 1), piece_key(key, 2), piece_key(found[1], 1)]
    assert len(set(found)) == len(found)
    assert piece_key(key, 0) == key
    assert digest(b"ab") == digest(b"a", b"b") != digest(b"a")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (body(success(event_id="a")), "a"),
        (body(success(event_id=17)), "17"),
        (body(wrapped(network_log(event_id="a"))), "a"),
        (body(success()), None),
        (body(success(event_id=None)), None),
        (body(success(event_id="")), None),
        (body(success(event_id=["a"])), None),
        (body(success(nested={"event_id": "a"})), None),
        (b'{"event_id": ', None),
        (b'["event_id"]', None),
        (b'{"data": "{\\"event_id\\":"}', None),
        (b"", None),
    ],
)
def test_the_id_of_an_event(fields: bytes, expected: str | None) -> None:
    assert event_id(fields) == expected


def test_half_a_surrogate_is_no_id() -> None:
    assert event_id(b'{"event_id": "\\ud800"}') is None
