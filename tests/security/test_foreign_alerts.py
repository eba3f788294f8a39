"""A stranger writes into `tidegate.alerts`: what is no alert is told so, and neither sink nor notify ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from alert_documents import alert

from tidegate.contracts.alerts import read
from tidegate.store.alerts import block

GOOD = msgspec.to_builtins(alert())
UINT32, UINT64, INT64 = 1 << 32, 1 << 64, 1 << 63


@pytest.mark.parametrize(
    ("part", "name", "number"),
    [
        *(
            ("impact", name, n)
            for name in ("clients", "clients_seen", "aps", "aps_seen")
            for n in (-1, UINT32)
        ),
        *(("impact", name, n) for name in ("attempts", "failures") for n in (-1, UINT64, 1 << 70)),
        *(("cause", name, n) for name in ("code", "sub_code") for n in (-INT64 - 1, INT64)),
        *(("", "sequence", n) for n in (-1, 0, UINT32, 1 << 70)),
    ],
)
def test_numbers_that_no_column_holds(part: str, name: str, number: int) -> None:
    """The thread that stores alerts ended at one, and that of each sink that was started again."""
    changed: dict[str, Any] = {part: GOOD[part] | {name: number}} if part else {name: number}
    with pytest.raises(ValueError, match=f"^{name}"):
        read(msgspec.json.encode(GOOD | changed))


def test_the_largest_numbers_are_stored() -> None:
    impact = {name: UINT32 - 1 for name in ("clients", "clients_seen", "aps", "aps_seen")}
    impact |= {"attempts": UINT64 - 1, "failures": UINT64 - 1}
    cause = {"code": INT64 - 1, "sub_code": -INT64}
    large = GOOD | {"impact": GOOD["impact"] | impact, "cause": GOOD["cause"] | cause}
    assert block([read(msgspec.json.encode(large | {"sequence": UINT32 - 1}))], "").rows == 1


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"\xff", b'{"fleet":"\xff"}'])
def test_what_is_no_document(value: bytes) -> None:
    with pytest.raises(ValueError):
        read(value)


def test_a_document_without_a_bottom() -> None:
    """It ended notify, at each start: it is read before everything that comes behind it."""
    with pytest.raises(ValueError, match="recursion"):
        read(msgspec.json.encode(GOOD)[:-1] + b',"x":' + b"[" * 100_000)
