"""Text from outside as a page shows it, and figures, times and spans in words."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = {number: "\ufffd" for number in (*range(0x20), *range(0x7F, 0xA0)) if number not in (9, 10)}
_SHOWN = {**_CONTROLS, **{ord(mark): "\ufffd" for mark in _BIDI}, 0x2028: "\ufffd", 0x2029: "\ufffd"}


def shown(value: Any) -> Any:
    """A text without the characters that turn or hide the text around it; each becomes U+FFFD."""
    return value.translate(_SHOWN) if type(value) is str else value


def blank(text: str) -> bool:
    """Whether a name has nothing that is seen."""
    return not any(unicodedata.category(each)[0] not in "ZC" for each in text)


def moment(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)


def clock(micros: int | None) -> str:
    """Time of day in UTC: `21:26:41`."""
    return f"{datetime.fromtimestamp(micros / 1e6, UTC):%H:%M:%S}" if micros is not None else "–"


def day_and_clock(micros: int | None) -> str:
    return f"{datetime.fromtimestamp(micros / 1e6, UTC):%Y-%m-%d %H:%M:%S}" if micros is not None else "–"


def iso(micros: int | None) -> str:
    return f"{datetime.fromtimestamp(micros / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}" if micros is not None else ""


def count(number: float | None) -> str:
    """`12,345`; `–` for none."""
    return "–" if number is None else f"{number:,.0f}"


def percent(share: float | None) -> str:
    """`42 %`, with a decimal below 10 and above 90, so that 99.6 is told from 100."""
    if share is None:
        return "–"
    value = share * 100
    if value in (0, 100) or 10 <= value <= 90:
        return f"{value:.0f} %"
    return f"{value:.1f} %"


def seconds(value: float | None) -> str:
    """A length: `0.16 s`, `12 s`, `3 min`, `2 h`, `3 d`."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.2g} s" if value else "0 s"
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if value < {"s": 120, "min": 7200, "h": 172_800}[unit]:
            return f"{value / length:.0f} {unit}"
    return f"{value / 86_400:.0f} d"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms" if value < 1000 else seconds(value / 1000)
