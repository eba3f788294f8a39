"""Text that a spreadsheet would take for a formula, in CSV: senders choose SSIDs, and analysts open files.

A cell is dangerous where its first sign that counts is one of = + - @ (or a wide form of these); blanks,
quotes and signs without a width in front of it do not count. So is one that begins with a tab or a line end.
A number is no formula. A dangerous cell gets an apostrophe in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

APOSTROPHE = "'"

_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"
_PASSED_OVER = (  # first and last of each range
    ("\x00", " "),
    ("\x7f", "\xa0"),
    ("\xad", "\xad"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("\u180e", "\u180e"),
    ("\u2000", "\u200f"),
    ("\u2018", "\u201f"),
    ("\u2028", "\u202f"),
    ("\u205f", "\u206f"),
    ("\u3000", "\u3000"),
    ("\ufeff", "\ufeff"),
)
_BEGINNINGS = "\t\r\n"


def _pattern(escape: str) -> str:
    """`escape` writes a character by its number: of Python or of RE2."""
    ranges = "".join(f"{escape % ord(first)}-{escape % ord(last)}" for first, last in _PASSED_OVER)
    signs = "".join(escape % ord(sign) for sign in _SIGNS)
    beginnings = "".join(escape % ord(one) for one in _BEGINNINGS)
    return f"^(?:[{ranges}]*[{signs}]|[{beginnings}])"


_NUMBER = "^[+-]?[0-9]+(?:[.,][0-9]+)?$"
_FORMULA = re.compile(_pattern("\\U%08x"))
_IS_NUMBER = re.compile(_NUMBER.replace("$", "\\Z"))

PARAMETERS: Mapping[str, str] = {"formula": _pattern("\\x{%x}"), "number": _NUMBER}
"""Of a query that holds `safe_expression`."""


def safe(text: str) -> str:
    """The cell as it may stand in CSV."""
    return APOSTROPHE + text if _FORMULA.match(text) and not _IS_NUMBER.match(text) else text


def safe_expression(value: str) -> str:
    """ClickHouse's expression of the same for an expression of type String, nullable or not."""
    return (
        f"if(match({value}, {{formula:String}}) AND NOT match({value}, {{number:String}}),"
        f" concat('{APOSTROPHE * 2}', {value}), {value})"
    )
