"""The text formats, written a second time in the native decoder, against `contracts.formats`: it may leave a
text to Python, and never take one differently."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

import native_decoder
import pytest

from tidegate.contracts import formats
from tidegate.contracts.native import _FORMATS

TEXTS = 40_000  # of each format
FORMATS = {
    one.name: one for one in (formats.MAC, formats.TIME, formats.LATITUDE, formats.LONGITUDE, formats.MCCMNC)
}
ALPHABET = "0123456789abcdefABCDEF:-.+TZ ,gzWé٣\x00"


def mac(random: Random) -> str:
    digits = "".join(random.choice("0123456789abcdefABCDEF") for _ in range(12))
    size, separator = random.choice(
        [(2, ":"), (2, "-"), (4, "."), (12, ""), (2, ""), (6, "-"), (2, "."), (4, ":")]
    )
    return separator.join(digits[i : i + size] for i in range(0, 12, size))


def time(random: Random) -> str:
    year = random.choice([random.randrange(1890, 2310), 1900, 2299, random.randrange(2020, 2030)])
    day = f"{year:04}-{random.randrange(0, 14):02}-{random.choice([random.randrange(0, 33), 28, 29, 31]):02}"
    clock = f"{random.randrange(0, 25):02}:{random.randrange(0, 61):02}:{random.randrange(0, 61):02}"
    fraction = random.choice(["", "", "." + str(random.randrange(10 ** random.randrange(1, 10)))])
    zone = random.choice(
        ["", "Z", "z", "+05:30", "-23:59", "+24:00", "+0530", "+05", "-00:00", "+00:60", "+05:30:15"]
    )
    return day + random.choice(["T", " ", "t", "T"]) + clock + fraction + zone


def degrees(random: Random) -> str:
    whole = random.choice(["", "0", "00", "000", "0000", str(random.randrange(200)), "90", "180", "1800"])
    digits = "".join(random.choice("0123456789") for _ in range(random.randrange(0, 23)))
    return random.choice(["", "-", "+"]) + whole + random.choice(["", ".", "." + digits, "." + "0" * 5])


def mccmnc(random: Random) -> str:
    return "".join(random.choice("0123456789") for _ in range(random.randrange(4, 8)))


GENERATED: dict[str, Callable[[Random], str]] = {
    "mac": mac,
    "time": time,
    "latitude": degrees,
    "longitude": degrees,
    "mccmnc": mccmnc,
}


def test_every_format_is_tried() -> None:
    assert set(GENERATED) == set(_FORMATS) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_read_as_python_reads_it(name: str) -> None:
    decoder = native_decoder.decoders()["connection_logs"]
    random = Random(name)
    limit = FORMATS[name].limit
    taken = 0
    for _ in range(TEXTS):
        text = GENERATED[name](random)
        for _ in range(random.choice((0, 0, 1, 2))):
            at = random.randrange(len(text) + 1)
            text = text[:at] + random.choice(["", random.choice(ALPHABET)]) + text[at + random.randrange(2) :]
        found = decoder.text(_FORMATS[name], text.encode())
        if found is None or (limit is not None and not -limit <= found <= limit):  # the range is the table's
            continue
        taken += 1
        assert same(found, FORMATS[name].parse(text)), text
    assert taken > TEXTS // 20


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return isinstance(other, float) and struct.pack("d", one) == struct.pack("d", other)
    return type(one) is type(other) and bool(one == other)
