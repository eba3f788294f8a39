"""Text formats inside events: what the sender may write, and the normal form that is stored.

A `Format` stands in an annotation (``Annotated[str, MAC]``). The event keeps the sender's text, for the
echo; `parse` gives the normal value, and raises ValueError (`OutOfRange` for a well-formed value that is
not allowed). Both the pydantic model and the struct of the hot path use the same `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class OutOfRange(ValueError):
    """Well-formed, but not a value that the field may have."""


@dataclass(frozen=True, slots=True)
class Format:
    """One text format. `pattern` and `limit` say in JSON Schema what `parse` takes: of a text, and, where the
    field may be a number, its largest absolute value. `of_present`, of an `optional` one: what parses a value
    that is not empty."""

    name: str
    allowed: str
    parse: Callable[[Any], Any]
    example: str = ""
    pattern: str = ""
    limit: float | None = None
    of_present: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._keep, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        said: dict[str, Any] = {"examples": [self.example]} if self.example else {}
        if self.pattern:
            said["pattern"] = self.pattern
        if self.limit is not None:
            said |= {"minimum": -self.limit, "maximum": self.limit}
        return handler(schema) | said | {"description": self.allowed}

    def _keep(self, value: Any) -> Any:
        try:
            self.parse(value)
        except OutOfRange as error:
            raise PydanticCustomError("out_of_range", "{reason}", {"reason": self.allowed}) from error
        except ValueError as error:
            raise PydanticCustomError("bad_format", "{reason}", {"reason": self.allowed}) from error
        return value


_MAC = re.compile(
    r"(?P<mac>[0-9a-f]{2}(?:[:-]?[0-9a-f]{2}){5}|[0-9a-f]{4}(?P<s>[.:-])[0-9a-f]{4}(?P=s)[0-9a-f]{4})"
    r"|(?P<station>[0-9a-f]{2}(?:-?[0-9a-f]{2}){5}|[0-9a-f]{4}(?P<t>[.-])[0-9a-f]{4}(?P=t)[0-9a-f]{4}):.{1,32}",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_SEPARATORS = str.maketrans("", "", ":-.")


@lru_cache(maxsize=262_144)  # a fleet's MACs come again and again: a hit costs a tenth of the parse
def parse_mac(text: str) -> str:
    """The canonical form ``00:1a:2b:3c:4d:5e`` of a MAC in any spelling of the table in docs/gateway.md."""
    found = _MAC.fullmatch(text)
    if found is None:
        raise ValueError(text)
    digits = (found["mac"] or found["station"]).translate(_SEPARATORS).lower()
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_LIMIT = 10_413_791_999  # 2299-12-31 23:59:59, the last second that ClickHouse's DateTime64 holds
MILLIS_LIMIT = SECONDS_LIMIT * 1000 + 999
MICROS_LIMIT = SECONDS_LIMIT * 1_000_000 + 999_999
_MICROS_FLOOR = -2_208_988_800_000_000  # 1900-01-01


# Behind a date and its separator: the same digits stand in fractions, as in 14:08:19.153960.
_LEAP_SECOND = re.compile(r"[0-9W-]{7,10}[^0-9][0-9]{2}:?[0-5]9:?(60)(?=$|[.,Z+-])", re.ASCII)


def parse_time(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 date or date and time; no zone means UTC.

    A leap second, 23:59:60 UTC, is the first second of the next day, as Unix counts.
    """
    leap = _LEAP_SECOND.match(text) if "60" in text else None
    moment = datetime.fromisoformat(
        text if leap is None else text[: leap.start(1)] + "59" + text[leap.end(1) :]
    )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        delta = moment - EPOCH
    except OverflowError:
        raise OutOfRange(text) from None
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if leap is not None:
        if delta.seconds != 86_399:
            raise ValueError(text)
        micros += 1_000_000
    if not _MICROS_FLOOR <= micros <= MICROS_LIMIT:
        raise OutOfRange(text)
    return micros


def micros_by_magnitude(value: int | float) -> int:
    """Microseconds of an epoch time in seconds, milliseconds or microseconds, told apart by magnitude.

    The unit boundaries lie at the end of 2299 in each unit. Raises OutOfRange below 0 or beyond.
    """
    if not 0 <= value <= MICROS_LIMIT:
        raise OutOfRange(str(value))
    if value < SECONDS_LIMIT + 1:
        return round(value * 1_000_000)
    if value < MILLIS_LIMIT + 1:
        return round(value * 1000)
    return int(value)


_NUMBER = re.compile(r"\d{1,16}(?:\.\d{1,20})?", re.ASCII)


def parse_moment(value: Any) -> int:
    """Microseconds of a time that may be written either way: a number, or a text that is one, by magnitude;
    any other text as ISO 8601. Raises ValueError."""
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            return parse_time(value)
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("neither text nor number")
    return micros_by_magnitude(value)


def optional(format: Format) -> Format:
    """The format of a field that may be left out: an empty text is a value that is not there."""

    parse_text = format.parse

    def parse(value: Any) -> Any:
        return None if value == "" else parse_text(value)

    pattern = f"^$|{format.pattern}" if format.pattern else ""
    return replace(
        format,
        allowed=f"{format.allowed}; empty: none",
        parse=parse,
        pattern=pattern,
        of_present=parse_text,
    )


_DECIMAL = re.compile(r"[+-]?\d{1,3}(?:\.\d{1,20})?", re.ASCII)


def _degrees(limit: float) -> Callable[[str | float], float]:
    def within(number: float) -> float:
        if not -limit <= number <= limit:
            raise OutOfRange(str(number))
        return number

    @lru_cache(maxsize=262_144)
    def of_text(text: str) -> float:
        if _DECIMAL.fullmatch(text) is None:
            raise ValueError(text)
        return within(float(text))

    def parse(value: str | float) -> float:
        # Numbers are not looked up: 0.0 and -0.0 are one key to a cache.
        if type(value) is float and -limit <= value <= limit:
            return value
        return of_text(value) if isinstance(value, str) else within(float(value))

    return parse


_MCCMNC = re.compile(r"\d{5,6}", re.ASCII)


@lru_cache(maxsize=65_536)
def parse_mccmnc(text: str) -> str:
    """Three digits of MCC and two or three of MNC, kept as they stand."""
    if _MCCMNC.fullmatch(text) is None:
        raise ValueError(text)
    if not "200" <= text[:3] <= "999" and text[:3] != "001":  # 001: test networks
        raise OutOfRange(text)
    return text


# What the parsers take, in the regular expressions that JSON Schema and every engine share: no lookahead, no
# back reference, digits in full since \d may mean those of other scripts too.
_HEX = "[0-9A-Fa-f]"
_FOURS = f"{_HEX}{{4}}([.]{_HEX}{{4}}){{2}}|{_HEX}{{4}}(-{_HEX}{{4}}){{2}}"
MAC_PATTERN = (
    f"^({_HEX}{{2}}([:-]?{_HEX}{{2}}){{5}}|{_HEX}{{4}}(:{_HEX}{{4}}){{2}}|{_FOURS}"
    f"|({_HEX}{{2}}(-?{_HEX}{{2}}){{5}}|{_FOURS}):[ -~]{{1,32}})$"
)
_LEAP_DAY = "((19|2[0-2])(0[48]|[2468][048]|[13579][26])|2000)-02-29"
_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = "[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
# With an offset the first and last moments could fall out of the range: the years at the ends are left out.
_INNER_YEAR = "(19(0[1-9]|[1-9][0-9])|2[01][0-9]{2}|22([0-8][0-9]|9[0-8]))"
TIME_PATTERN = (
    f"^(((19|2[0-2])[0-9]{{2}}-{_DAY}|{_LEAP_DAY})({_CLOCK}Z?)?|{_INNER_YEAR}-{_DAY}[T ]23:59:60Z?"
    f"|({_INNER_YEAR}-{_DAY}|{_LEAP_DAY}){_CLOCK}[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
)
LATITUDE_PATTERN = "^[+-]?((0?[0-8]?[0-9])([.][0-9]{1,20})?|0?90([.]0{1,20})?)$"
LONGITUDE_PATTERN = "^[+-]?((0?[0-9]?[0-9]|1[0-7][0-9])([.][0-9]{1,20})?|180([.]0{1,20})?)$"
MCCMNC_PATTERN = "^(001|[2-9][0-9]{2})[0-9]{2,3}$"

MAC = Format(
    "mac",
    "a MAC address: six hex pairs, e.g. 00:1a:2b:3c:4d:5e",
    parse_mac,
    "00:1a:2b:3c:4d:5e",
    MAC_PATTERN,
)
TIME = Format(
    "time",
    "an ISO 8601 date and time between 1900 and 2299, e.g. 2024-01-15T14:30:25Z",
    parse_time,
    "2024-01-15T14:30:25Z",
    TIME_PATTERN,
)
LATITUDE = Format(
    "latitude", "decimal degrees from -90 to 90", _degrees(90.0), "40.7128", LATITUDE_PATTERN, 90.0
)
LONGITUDE = Format(
    "longitude", "decimal degrees from -180 to 180", _degrees(180.0), "-74.0060", LONGITUDE_PATTERN, 180.0
)
MCCMNC = Format("mccmnc", "MCC and MNC as 5 or 6 digits, e.g. 31026", parse_mccmnc, "31026", MCCMNC_PATTERN)
