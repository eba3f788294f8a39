"""The parameters of the read calls: what a caller may write, and the value that comes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidegate.contracts.formats import (
    MAC_PATTERN,
    MICROS_LIMIT,
    MILLIS_LIMIT,
    SECONDS_LIMIT,
    TIME_PATTERN,
    OutOfRange,
    micros_by_magnitude,
    parse_mac,
    parse_moment,
    parse_time,
)

MAX_ROWS = 100_000  # rows of one answer
MAX_OFFSET = 2**31 - 1
INT64 = 2**63 - 1


def bad_format(allowed: str) -> PydanticCustomError:
    return PydanticCustomError("bad_format", "not {allowed}", {"allowed": allowed})


def out_of_range(allowed: str) -> PydanticCustomError:
    return PydanticCustomError("out_of_range", "not {allowed}", {"allowed": allowed})


def not_in_enum(allowed: str) -> PydanticCustomError:
    return PydanticCustomError("literal_error", "not {allowed}", {"allowed": allowed})


MAC_ALLOWED = "a MAC address: six hex pairs, e.g. 00:1a:2b:3c:4d:5e"


def _mac(value: Any) -> str:
    try:
        return parse_mac(str(value).strip())
    except ValueError:
        raise bad_format(MAC_ALLOWED) from None


Mac = Annotated[
    str,
    BeforeValidator(_mac),
    WithJsonSchema({"type": "string", "pattern": MAC_PATTERN, "examples": ["60:36:DD:F7:E3:C4"]}),
]
"""A MAC in any usual spelling; the value is its canonical form."""

_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)
EPOCH_ALLOWED = "an epoch time in seconds, milliseconds or microseconds, or -1 for open"


def integer(value: Any) -> int:
    text = str(value).strip()
    if _INTEGER.fullmatch(text) is None:
        raise PydanticCustomError("int_parsing", "not an integer")
    return int(text)


def since(value: int) -> int | None:
    """Microseconds of the lower bound `value`, None for -1."""
    return None if value == -1 else micros_by_magnitude(value)


def until(value: int) -> int | None:
    """Microseconds of the inclusive upper bound: the last one of the second or millisecond that it names.

    A caller who asks up to the `timestamp` of an answer, whose unit may be the second, gets that event.
    """
    if value == -1:
        return None
    start = micros_by_magnitude(value)
    if value <= SECONDS_LIMIT:
        return start + 999_999
    return start + 999 if value <= MILLIS_LIMIT else start


def epoch(value: Any) -> int:
    number = integer(value)
    if number != -1 and not 0 <= number <= MICROS_LIMIT:
        raise out_of_range(EPOCH_ALLOWED)
    return number


EpochTime = Annotated[
    int,
    BeforeValidator(epoch),
    WithJsonSchema({"type": "integer", "format": "int64", "minimum": -1, "maximum": MICROS_LIMIT}),
]

FLAGS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
FLAG_ALLOWED = "true or false"


def _flag(value: Any) -> bool:
    """A boolean; a number is true unless it is 0, as in the document's `totalcountrequired=3`."""
    text = str(value).strip().lower()
    if text in FLAGS:
        return FLAGS[text]
    if _INTEGER.fullmatch(text):
        return int(text) != 0
    raise bad_format(FLAG_ALLOWED)


Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "integer",
                    "minimum": 1 - 10**20,
                    "maximum": 10**20 - 1,
                    "description": "0 is false",
                },
                {"type": "string", "enum": list(FLAGS)},
            ]
        }
    ),
]

MOMENT_ALLOWED = "a date or time, e.g. 2000-01-01, 2000-01-01 00:01:00 or 2000-01-01 00:01:00+00:00"
_LOST_PLUS = re.compile(r"(:\d{2}(?:\.\d+)?) (\d{2}:?\d{2})$")


def moment(value: Any) -> int:
    """Microseconds. In a URL an unescaped `+` arrives as a blank: in front of a zone it is still a plus."""
    text = _LOST_PLUS.sub(r"\1+\2", str(value).strip())
    try:
        return parse_time(text)
    except OutOfRange:
        raise out_of_range("a time between 1900 and 2299") from None
    except ValueError:
        raise bad_format(MOMENT_ALLOWED) from None


Moment = Annotated[
    int,
    BeforeValidator(moment),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": TIME_PATTERN,
            "examples": ["2000-01-01", "2000-01-01 00:01:00", "2000-01-01 00:01:00+00:00"],
        }
    ),
]


_FRACTION = re.compile(r"\d{1,11}\.\d{1,20}", re.ASCII)  # of seconds
INSTANT_ALLOWED = "a date (2024-01-14), an ISO time or an epoch time"


def instant(value: Any) -> int:
    """Microseconds of a date or time as text, or of an epoch time by its magnitude."""
    text = str(value).strip()
    if text.isdecimal():
        return micros_by_magnitude(max(0, epoch(text)))
    if _FRACTION.fullmatch(text):
        return parse_moment(text)
    if not text or text.startswith("-"):
        raise bad_format(INSTANT_ALLOWED)
    return moment(text)


Instant = Annotated[
    int,
    BeforeValidator(instant),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^[0-9]{{1,16}}$|^[0-9]{{1,9}}[.][0-9]{{1,9}}$|{TIME_PATTERN}",
            "examples": ["2024-01-14", "2024-01-14T10:00:00Z", "1705226400"],
        }
    ),
]


def choice(*values: str) -> Callable[[Any], str]:
    by_lower = {value.lower(): value for value in values}

    def choose(value: Any) -> str:
        found = by_lower.get(str(value).strip().lower())
        if found is None:
            raise not_in_enum(", ".join(values))
        return found

    return choose


LogType = Annotated[
    Literal["success", "failure", "all"], BeforeValidator(choice("success", "failure", "all"))
]
EventType = Annotated[
    Literal["Success", "Failure", "Intermediate"],
    BeforeValidator(choice("Success", "Failure", "Intermediate")),
]
PROTOCOLS = ("UNKNOWN", "A", "B", "BG", "G", "N", "AN", "GN", "BGN", "AC", "AX", "BE")
Protocol = Annotated[
    str,
    BeforeValidator(choice(*PROTOCOLS)),
    WithJsonSchema({"type": "string", "enum": list(PROTOCOLS)}),
]

Integer = Annotated[int, Field(ge=-INT64 - 1, le=INT64), BeforeValidator(integer)]
Rows = Annotated[int, Field(ge=1, le=MAX_ROWS), BeforeValidator(integer)]
PageRows = Annotated[int, Field(ge=1, le=MAX_OFFSET), BeforeValidator(integer)]
"""Rows of a page that `api_query_rows` bounds, or `api_export_rows` where it is exported."""
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET), BeforeValidator(integer)]

__all__ = ["Path", "Query"]
