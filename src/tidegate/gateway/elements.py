"""The events of a body as texts, no more of them than are wanted: a short body can hold millions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

SMALL = 1 << 20  # bytes: what these can hold at most is no burden
BLANKS = b" \t\r\n"
LINES_AN_EVENT = 4  # of NDJSON: blank ones are let through, not without end
COUNTED_AT_ONCE = 65_536  # bytes

_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class TooMany(Exception):
    """There are more than `most`; the rest was not looked at."""

    def __init__(self, most: int, what: str = "events") -> None:
        super().__init__(f"more than {most} {what} in one request")
        self.most = most
        self.what = what


def of_array(text: bytes | msgspec.Raw, most: int) -> list[msgspec.Raw]:
    """The elements of a JSON array, unexamined. Raises TooMany, and what msgspec raises for what is none.

    A small text may give more than `most`.
    """
    if len(text) <= SMALL:
        return _ARRAY.decode(text)
    try:
        found = msgspec.structs.astuple(_bounded(most).decode(text))
    except msgspec.ValidationError as error:
        if "at most length" in str(error):
            raise TooMany(most) from None
        raise
    return list(found if found[-1] is not None else found[: found.index(None)])


def of_lines(body: bytes, most: int) -> list[bytes]:
    """The lines of NDJSON that are not blank. Raises TooMany; a small body may give more than `most`."""
    if len(body) > SMALL:
        _count_lines(body, most * LINES_AN_EVENT)
    return [line for raw in body.split(b"\n") if (line := raw.strip(BLANKS))]


def _count_lines(body: bytes, most: int) -> None:
    found = 0
    for at in range(0, len(body), COUNTED_AT_ONCE):
        found += body.count(b"\n", at, at + COUNTED_AT_ONCE)
        if found > most:
            raise TooMany(most, "lines")


@lru_cache(2)
def _bounded(most: int) -> msgspec.json.Decoder[Any]:
    """A decoder of arrays that stops at the first element too many: it reads into so many fields."""
    fields = [(f"e{number}", msgspec.Raw, None) for number in range(most)]
    kind = msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(kind)
