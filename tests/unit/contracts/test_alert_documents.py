"""What a record of `tidegate.alerts` tells, or that it tells nothing that the table could hold."""

from __future__ import annotations

import re

import pytest

from tidegate.contracts.alerts import read

GOOD = (
    b'{"fleet":"demo","id":"a","sequence":1,"incident":"b","rule":"c","signal":"no_events","state":"open",'
    b'"severity":"warning","scope":{},"started_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:05:00Z"}'
)


def with_(member: str) -> bytes:
    return GOOD[:-1] + b"," + member.encode() + b"}"


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        with_('"impact":{"attempts":9223372036854775807,"clients":4294967295}'),
        with_('"cause":{"code":-9223372036854775808,"sub_code":9223372036854775807}'),
        with_('"more":{"of":["another","version"]}'),
    ],
)
def test_what_the_table_holds_is_told(value: bytes) -> None:
    assert read(value).fleet == "demo"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "truncated"),
        (None, "truncated"),
        (b"\xff", "malformed"),
        (re.sub(rb'"sequence":1', b'"sequence":0', GOOD), "sequence 0"),
        (with_('"until":"soon"'), "soon"),
        (with_('"impact":{"attempts":-1}'), "impact.attempts -1"),
        (with_('"impact":{"failures":9223372036854775808}'), "impact.failures"),
        (with_('"impact":{"clients":4294967296}'), "impact.clients"),
        (with_('"impact":{"aps_seen":1000000000000000000000000}'), "impact.aps_seen"),
        (with_('"cause":{"code":9223372036854775808}'), "cause.code"),
        (with_('"cause":{"sub_code":-9223372036854775809}'), "cause.sub_code"),
        (with_('"more":' + "[" * 100_000 + "]" * 100_000), "recursion"),
    ],
)
def test_what_it_does_not_hold_tells_nothing(value: bytes | None, said: str) -> None:
    """A number too large ended the storing of alerts for good, a deep one the roles that read it too."""
    with pytest.raises(ValueError, match=said):
        read(value)
