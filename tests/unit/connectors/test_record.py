"""Documents of other makers' systems, and how deep they may be."""

from __future__ import annotations

import pytest

from tidegate.connectors.record import DEEPEST, document_of


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_a_document() -> None:
    assert document_of(b'{"a":[{"b":1.5},"c",null]}') == {"a": [{"b": 1.5}, "c", None]}
    assert document_of(b"7") == 7
    document_of(nested(DEEPEST))
    document_of(b"[" + b",".join([nested(DEEPEST - 1)] * 3) + b"]")


@pytest.mark.parametrize("levels", [DEEPEST + 1, 985, 986, 100_000])
@pytest.mark.parametrize("around", [b"%b", b'{"payload":{"x":%b}}', b"[1,%b]"])
def test_one_that_could_not_be_written_again_is_none(around: bytes, levels: int) -> None:
    """Some levels fewer than the decoder takes, the encoder raised: a consumer ended, without a word."""
    with pytest.raises(ValueError, match="deep|recursion"):
        document_of(around % nested(levels))


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"\xef\xbb\xbf{}", b"NaN"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError):
        document_of(body)
