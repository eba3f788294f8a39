"""Syslog as it is found, and what hostapd's lines say."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.connectors import syslog
from tidegate.connectors.hostapd import event
from tidegate.connectors.syslog import Line, Malformed, parse
from tidegate.contracts.forms import Event, examine

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
STATION = "a4:83:e7:11:22:33"
SAID = f"wlan0: AP-STA-CONNECTED {STATION}"


def local(*moment: int) -> float:
    return datetime(*moment).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            f"<30>Jan  2 03:04:01 lobby hostapd: {SAID}",
            Line(local(2026, 1, 2, 3, 4, 1), "lobby", "hostapd", SAID),
        ),
        (
            f"<30>Dec 31 23:59:59 lobby hostapd[812]: {SAID}\n",
            Line(local(2025, 12, 31, 23, 59, 59), "lobby", "hostapd", SAID),
        ),
        (f"<30>Jan  2 03:04:01 hostapd: {SAID}", Line(local(2026, 1, 2, 3, 4, 1), "", "hostapd", SAID)),
        (f"<30>hostapd: {SAID}", Line(RECEIVED, "", "hostapd", SAID)),
        (f"<30>Jul  2 03:04:01 lobby hostapd: {SAID}", Line(RECEIVED, "lobby", "hostapd", SAID)),
        (
            f"<30>2026-01-02T03:04:01.5+00:00 10.0.0.7 hostapd[1]: {SAID}",
            Line(RECEIVED - 3.5, "10.0.0.7", "hostapd", SAID),
        ),
        (
            f"<30>1 2026-01-02T03:04:01.25Z lobby hostapd 812 - - \ufeff{SAID}",
            Line(RECEIVED - 3.75, "lobby", "hostapd", SAID),
        ),
        (
            f'<30>1 - - hostapd - ID [a b="c\\]\\"d"][e@1] {SAID}',
            Line(RECEIVED, "", "hostapd", SAID),
        ),
    ],
    ids=["3164", "last year", "no host", "tag alone", "no such time", "rsyslog", "5424", "nil values"],
)
def test_a_message(message: str, wanted: Line) -> None:
    assert parse(message.encode(), RECEIVED) == wanted


@pytest.mark.parametrize(
    "message", [b"", b"hostapd: x", b"<192>hostapd: x", b"<30>", b"<30>1 soon lobby hostapd - - - x"]
)
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(Malformed):
        parse(message, RECEIVED)


def frames(data: bytes) -> list[bytes]:
    async def read() -> list[bytes]:
        reader = asyncio.StreamReader(limit=syslog.MOST_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while (one := await syslog.read_frame(reader)) is not None:
            found.append(one)
        return found

    return asyncio.run(read())


def test_both_framings_of_tcp() -> None:
    assert frames(b"<1>a\n<1>b\r\n<1>c") == [b"<1>a\n", b"<1>b\r\n", b"<1>c"]
    assert frames(b"4 <1>a5 <1>\nb") == [b"<1>a", b"<1>\nb"]
    assert frames(b"4 <1>a9 <1>b") == [b"<1>a"], "what is cut short is no message"


@pytest.mark.parametrize(
    "data",
    [b"<1>" + b"x" * 9000 + b"\n", b"<1>" + b"x" * 9000, b"9000 <1>", b"999999 <1>", b"12x <1>"],
    ids=["line", "endless line", "frame", "length", "no length"],
)
def test_a_frame_without_bound_ends_the_connection(data: bytes) -> None:
    with pytest.raises(Malformed):
        frames(data)


def intermediate(code: int, category: str, what: str, more: str | None = None) -> dict[str, Any]:
    found = {
        "eventType": "Intermediate",
        "categoryCode": code,
        "category": category,
        "eventDescription": what,
    }
    return found if more is None else {**found, "subEventDescription": more}


LINES: dict[str, dict[str, Any] | None] = {
    f"wlan0: AP-STA-CONNECTED {STATION} auth_alg=sae": {"eventType": "Success"},
    f"AP-STA-CONNECTED {STATION}": {"eventType": "Success"},
    f"wlan0: AP-STA-DISCONNECTED {STATION}": intermediate(
        1, "Association", "Disassociation", "AP-STA-DISCONNECTED"
    ),
    f"wlan0: AP-STA-POSSIBLE-PSK-MISMATCH {STATION}": {
        "eventType": "Failure",
        "failureCode": 7,
        "failure": "Incorrect PSK",
    },
    f"wlan0: CTRL-EVENT-EAP-STARTED {STATION}": intermediate(2, "Authentication", "CTRL-EVENT-EAP-STARTED"),
    f"wlan0: STA {STATION} IEEE 802.11: associated (aid 1)": intermediate(
        1, "Association", "IEEE 802.11", "associated (aid 1)"
    ),
    f"wlan0: STA {STATION} WPA: pairwise key handshake completed (RSN)": intermediate(
        2, "Authentication", "WPA", "pairwise key handshake completed (RSN)"
    ),
    f"wlan0: STA {STATION} WPA: PTKSTART: Retry limit 4 reached": {
        "eventType": "Failure",
        "failureCode": 8,
        "failure": "EAPOL Handshake Failure",
        "subFailure": "PTKSTART: Retry limit 4 reached",
    },
    f"wlan0: STA {STATION} IEEE 802.1X: authentication failed - EAP type: 25 (PEAP)": {
        "eventType": "Failure",
        "failure": "EAP authentication failed",
        "subFailure": "authentication failed - EAP type: 25 (PEAP)",
    },
    "wlan0: STA 00:00:00:00:00:00 RADIUS: Resending RADIUS message (id=2)": None,
    "wlan0: interface state ENABLED->DISABLED": None,
    "wlan0: AP-ENABLED ": None,
    f"wlan0: STA {STATION[:-1]} IEEE 802.11: associated (aid 1)": None,
    "": None,
}


@pytest.mark.parametrize("text", LINES)
def test_a_line_of_hostapd(text: str) -> None:
    found = event(Line(RECEIVED, "lobby", "hostapd", text))
    wanted = LINES[text]
    if wanted is None:
        assert found is None
        return
    assert found is not None
    kept = found.pop("hostapd")
    assert kept["line"] == text
    assert found == {
        "macAddress": STATION,
        "timestamp": RECEIVED,
        "associatedAPName": "lobby",
        **wanted,
    }
    assert isinstance(examine("client_events", json.dumps(found).encode()), Event)


def test_a_line_of_another_program_says_nothing_of_a_station() -> None:
    assert event(Line(RECEIVED, "lobby", "login", SAID)) is None
