"""Signatures of control records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.control import Doubt, Signed, sign, verified
from tidegate.keyfile import Keys

KEYS = Keys("k2", {"k1": b"1" * 32, "k2": b"2" * 32})
EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"
HEADERS = sign(KEYS, epoch=EPOCH, at=1000, key=b"pause/x", value=b"{}")


def test_what_was_signed_is_read_back_with_any_key_of_the_file() -> None:
    assert verified(KEYS, b"pause/x", b"{}", HEADERS) == Signed(b"pause/x", b"{}", EPOCH, 1000)
    old = sign(KEYS._replace(current="k1"), epoch=EPOCH, at=1, key=b"k", value=None)
    assert verified(KEYS, b"k", None, old) == Signed(b"k", None, EPOCH, 1)


@pytest.mark.parametrize(
    ("key", "value", "changed", "why"),
    [
        (b"pause/y", b"{}", {}, Doubt.FORGED),
        (b"pause/x", b"{ }", {}, Doubt.FORGED),
        (b"pause/x", None, {}, Doubt.FORGED),
        (b"pause/x", b"{}", {"at": b"1001"}, Doubt.FORGED),
        (b"pause/x", b"{}", {"at": b"01000"}, Doubt.FORGED),
        (b"pause/x", b"{}", {"epoch": EPOCH.encode()[:-1]}, Doubt.FORGED),
        (b"pause/x", b"{}", {"key-id": b"k1"}, Doubt.FORGED),
        (b"pause/x", b"{}", {"key-id": b"k9"}, Doubt.UNKNOWN_KEY),
        (b"pause/x", b"{}", {"signature": b"0" * 64}, Doubt.FORGED),
        (b"pause/x", b"{}", {"signature": b""}, Doubt.UNSIGNED),
        (b"pause/x", b"{}", {"signature": b"0" * 100_000}, Doubt.UNSIGNED),
        (b"pause/x", b"{}", {"at": b"-1"}, Doubt.UNSIGNED),
        (None, b"{}", {}, Doubt.UNSIGNED),
    ],
)
def test_anything_else_is_a_strangers(
    key: bytes | None, value: bytes | None, changed: dict[str, bytes], why: Doubt
) -> None:
    assert verified(KEYS, key, value, list((dict(HEADERS) | changed).items())) is why


def test_no_headers_and_thousands_of_them_are_a_strangers() -> None:
    assert verified(KEYS, b"k", b"v", None) is Doubt.UNSIGNED
    many = [(f"h{number}", b"x") for number in range(10_000)]
    assert verified(KEYS, b"k", b"v", [*HEADERS, *many]) is Doubt.UNSIGNED


@given(st.lists(st.tuples(st.text(max_size=9), st.one_of(st.none(), st.binary(max_size=99))), max_size=20))
def test_no_headers_make_it_fall(headers: list[tuple[str, bytes | None]]) -> None:
    assert isinstance(verified(KEYS, b"k", b"v", headers), Doubt)


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 20))
def test_no_part_lends_bytes_to_another(key: bytes, value: bytes, cut: int) -> None:
    whole = key + value
    headers = sign(KEYS, epoch=EPOCH, at=1, key=key, value=value)
    other = (whole[:cut], whole[cut:])
    assert (verified(KEYS, *other, headers) is Doubt.FORGED) == (other != (key, value))
