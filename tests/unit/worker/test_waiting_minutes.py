"""Documents of the health topic wait as they came; a unit's newest is read once its minute is complete."""

from __future__ import annotations

import msgspec
import pytest

from tidegate.contracts.counts import MINUTE, ApCount, Count, MinuteCounts, Signal
from tidegate.steps.detect import iso
from tidegate.worker.waiting_minutes import UNREADABLE, WaitingMinutes, head_of

NOON = 1_767_268_800_000_000  # 2026-01-01
UNIT = ("client_events", "demo", "Oslo")
MARK = '","counts":'


def document(events: int = 1, site: str | None = "Oslo", minute: int = NOON) -> bytes:
    failed = Count("net", "dhcp", "failure", events, 7, 14, b"12345678")
    return msgspec.json.encode(
        MinuteCounts(
            "client_events",
            "demo",
            site,
            iso(minute),
            [failed],
            {"dns": {3: 4}},
            b"12345678",
            [ApCount("AP1", "dhcp", events, b"12345678")],
            [Signal("clock_skew", "", 1, b"12345678")],
        )
    )


def put(waiting: WaitingMinutes, value: bytes, folded: int = 0) -> None:
    waiting.put(0, value, folded=folded, now=NOON)


def test_the_newest_document_of_a_unit_counts() -> None:
    waiting = WaitingMinutes()
    for value in (document(1), document(2), document(5, site=None), document(9, minute=NOON - MINUTE)):
        put(waiting, value)
    assert waiting.first(0, NOON) == NOON - MINUTE and waiting.first(1, NOON) == NOON
    found = waiting.take(0, NOON)
    assert {unit_key: one.counts[0].events for unit_key, one in found.items()} == {
        UNIT: 2,
        ("client_events", "demo", ""): 5,
    }
    assert found[UNIT] == msgspec.json.decode(document(2), type=MinuteCounts)
    assert waiting.take(0, NOON) == {}
    waiting.drop(0, NOON)
    assert waiting.first(0, NOON) == NOON


def test_no_document_of_a_minute_that_is_folded() -> None:
    waiting = WaitingMinutes()
    put(waiting, document(), folded=NOON)
    assert waiting.take(0, NOON) == {}


@pytest.mark.parametrize("site", ["Oslo", MARK, f'a{MARK}[],"minute":"2020-01-01T00:00:00Z"', "\\", None])
def test_whose_minute_it_is_stands_in_the_beginning(site: str | None) -> None:
    value = document(site=site)
    head = head_of(value)
    assert (head.stream, head.fleet, head.site, head.minute) == ("client_events", "demo", site, iso(NOON))
    assert head_of(value[: value.rindex(b',"counts":')] + b',"counts":what') == head  # is read later
    other = msgspec.json.encode(dict(reversed(msgspec.json.decode(value).items())))
    assert head_of(other) == head


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"counts":[]}', b'{"fleet":"\xff","counts":[]}'),
        document()[:-1] + b',"x":' + b"[" * 100_000,
        document().replace(b'"stream":"client_events"', b'"stream":"others"'),
        document(minute=NOON + 60 * MINUTE),
    ],
)
def test_what_is_no_document_says_so_or_waits_and_counts_for_nothing(value: bytes) -> None:
    waiting = WaitingMinutes()
    try:
        put(waiting, value)
    except UNREADABLE:
        pass
    put(waiting, document(site="Rome"))
    assert set(waiting.take(0, NOON)) == {("client_events", "demo", "Rome")}


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"failure",1,7', b'"failure",-1,7'),
        (b'"failure",1,7', b'"failure",1,9223372036854775808'),
        (b'"failure",1,7,14', b'"failure",1,7,-9223372036854775809'),
        (b'"failure",1,7', b'"failure",9007199254740992,7'),
        (b'"3":4', b'"82":4'),
        (b'"3":4', b'"-1":4'),
        (b'"3":4', b'"3":-4'),
        (b'"AP1","dhcp",1', b'"AP1","dhcp",-1'),
        (b'"clock_skew","",1', b'"clock_skew","",-1'),
        *((b'%s"MTIzNDU2Nzg="' % before, b'%s"MTIz"' % before) for before in (b'"clients":', b"14,", b"1,")),
    ],
)
def test_counts_that_do_not_add_up_are_left_out(part: bytes, other: bytes) -> None:
    assert part in document()
    waiting = WaitingMinutes()
    put(waiting, document().replace(part, other))
    put(waiting, document(site="Rome"))
    assert set(waiting.take(0, NOON)) == {("client_events", "demo", "Rome")}
