"""Syslog, as far as a receiver of one program's lines needs it: RFC 5424, and RFC 3164 as it is found.

An RFC 3164 time has neither year nor zone: it is read in this machine's zone, in the year that puts it
nearest to now. Framing over TCP is that of RFC 6587, both kinds.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import NamedTuple

MOST_BYTES = 8192  # of a message
FRAME_SECONDS = 30.0  # that a message may take to come, from its first byte on
_MOST_DIGITS = 5  # of a length in front of a frame


class Malformed(ValueError):
    """Bytes that are no syslog."""


class Line(NamedTuple):
    """`time` in epoch seconds; `host` is empty where the message names none."""

    time: float
    host: str
    program: str
    text: str


_PRIORITY = re.compile(r"<(\d{1,3})>")
_SD = r'-|(?:\[[^ ="\]]+(?: [^ ="\]]+="(?:[^"\\\]]|\\.)*")*\])+'
_RFC5424 = re.compile(rf"1 (\S+) (\S+) (\S+) \S+ \S+ (?:{_SD})(?: (.*))?", re.DOTALL)
_TIME = (
    r"(?P<old>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
    r"|(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*)"
)
_RFC3164 = re.compile(
    rf"(?:(?:{_TIME}) )?(?:(?P<host>[^\s:\[\]]+|\[?[0-9a-fA-F:.]+\]?) )?"
    r"(?P<program>[^\s:\[\]]+)(?:\[\d+\])?: ?(?P<text>.*)",
    re.DOTALL,
)


def parse(message: bytes, received: float) -> Line:
    """A message; `received`, epoch seconds, stands for a time that it does not name. Raises Malformed."""
    text = message.decode("utf-8", "replace").rstrip("\r\n\0 ")
    priority = _PRIORITY.match(text)
    if priority is None or int(priority[1]) > 191:
        raise Malformed("no priority in front")
    rest = text[priority.end() :]
    if found := _RFC5424.fullmatch(rest):
        stamp, host, program, said = found.groups()
        time = received if stamp == "-" else _iso(stamp)
        return Line(time, _value(host), _value(program), (said or "").removeprefix("\ufeff"))
    if found := _RFC3164.fullmatch(rest):
        if found["old"]:
            time = _nearest(found["old"], received)
        else:
            time = _iso(found["iso"]) if found["iso"] else received
        return Line(time, (found["host"] or "").strip("[]"), found["program"], found["text"])
    raise Malformed("neither RFC 5424 nor RFC 3164")


def _value(text: str) -> str:
    return "" if text == "-" else text


def _iso(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise Malformed(f"{text[:40]!r} is no time") from None


def _nearest(text: str, received: float) -> float:
    now = datetime.fromtimestamp(received)
    found = []
    for year in (now.year - 1, now.year, now.year + 1):
        try:
            found.append(datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S"))
        except ValueError:  # 29 February of another year
            continue
    if not found:
        raise Malformed(f"{text!r} is no time")
    nearest = min(found, key=lambda moment: abs(moment - now))
    # A clock that is a little ahead is no other year; beyond a month the time says nothing.
    return nearest.timestamp() if abs(nearest - now) < timedelta(days=31) else received


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message of a TCP connection; None at its end. Raises Malformed for one that is too long, does
    not come to its end or is no frame: what stands behind it cannot be told apart."""
    first = await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(FRAME_SECONDS):
            return await (_counted(reader, first) if first.isdigit() else _line(reader, first))
    except TimeoutError:
        raise Malformed(f"not whole within {FRAME_SECONDS:g} seconds") from None


async def _line(reader: asyncio.StreamReader, first: bytes) -> bytes:
    try:
        line = first + await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        line = first + error.partial
    except asyncio.LimitOverrunError:
        raise Malformed(f"longer than {MOST_BYTES} bytes") from None
    if len(line) > MOST_BYTES + 1:
        raise Malformed(f"longer than {MOST_BYTES} bytes")
    return line


async def _counted(reader: asyncio.StreamReader, digits: bytes) -> bytes | None:
    try:
        while (one := await reader.readexactly(1)) != b" ":
            digits += one
            if not one.isdigit() or len(digits) > _MOST_DIGITS:
                raise Malformed("no length in front of a frame")
        if int(digits) > MOST_BYTES:
            raise Malformed(f"a frame of {int(digits)} bytes, and {MOST_BYTES} are taken")
        return await reader.readexactly(int(digits))
    except asyncio.IncompleteReadError:
        return None
