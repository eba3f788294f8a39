"""The events of a body, no more of them than are wanted."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from tidegate.gateway.elements import LINES_AN_EVENT, SMALL, TooMany, of_array, of_lines

MOST = 100
EVENT = b'{"a": [1, 2], "b": "' + b"x" * (2 * SMALL // MOST) + b'"}'


@pytest.mark.parametrize("count", [1, MOST - 1, MOST])
def test_the_elements_of_a_large_array_are_those_of_a_small_one(count: int) -> None:
    text = b"[ " + b" , ".join([EVENT] * count) + b" ]" + b" " * SMALL
    assert [bytes(each) for each in of_array(text, MOST)] == [EVENT] * count
    assert of_array(b"[]" + b" " * SMALL, MOST) == []
    assert [bytes(each) for each in of_array(b'[1,null,"x"]' + b" " * SMALL, MOST)] == [b"1", b"null", b'"x"']


def test_one_element_too_many_ends_it() -> None:
    with pytest.raises(TooMany, match="more than 100 events"):
        of_array(b"[" + b",".join([EVENT] * (MOST + 1)) + b"]", MOST)


@pytest.mark.parametrize("text", [b"[1,", b"{}", b"[1]]", b"[1,]", b'["\x01"]'])
def test_what_is_no_array_is_told_as_for_a_small_text(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        of_array(text, MOST)
    with pytest.raises(msgspec.DecodeError):
        of_array(b" " * SMALL + text, MOST)


def test_millions_of_elements_are_not_made() -> None:
    bomb = b"[" + b"1," * (8 * SMALL) + b"1]"
    with pytest.raises(TooMany):  # the decoder itself is made once
        of_array(bomb, MOST)
    tracemalloc.start()
    try:
        with pytest.raises(TooMany):
            of_array(bomb, MOST)
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()


def test_lines_without_blank_ones() -> None:
    body = b"\n\r\n".join([EVENT] * MOST)
    assert len(body) > SMALL
    assert of_lines(body, MOST) == [EVENT] * MOST
    with pytest.raises(TooMany, match=f"more than {MOST * LINES_AN_EVENT} lines"):
        of_lines(b"\n" * (SMALL + 1), MOST)
    with pytest.raises(TooMany):
        of_lines(b"x" * SMALL + b"\r\n" * (MOST * LINES_AN_EVENT + 1), MOST)
