"""JSON as text: the elements of an array and the members of an object, each as it was written.

For texts that no decoder takes whole: a number that no float holds, half of a surrogate pair, one element of
many that is no JSON. Slower than a decoder, and bounded by `MOST_TOKENS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
MOST_TOKENS = 1_000_000  # of one text; a third of a second
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)
_KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_LONE = re.compile(r"[\ud800-\udfff]")
BLANKS = b" \t\r\n"


class NotJson(ValueError):
    """The text is no JSON; the message says where and why."""


def parts(text: bytes) -> list[bytes]:
    """What stands between the commas of an array or object, without the blanks around it.

    Brackets and strings are followed, nothing else is looked at. Raises NotJson where the text is cut short,
    goes on behind its end or has too many tokens.
    """
    text = text.strip(BLANKS)
    if text[:1] not in (b"[", b"{"):
        raise NotJson("neither array nor object")
    found: list[bytes] = []
    depth, begin = 0, 1
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count > MOST_TOKENS:
            raise NotJson(f"more than {MOST_TOKENS} brackets, commas and strings")
        mark = token[0]
        if mark in b"[{":
            depth += 1
        elif mark == b"," and depth == 1:
            found.append(text[begin : token.start()].strip(BLANKS))
            begin = token.end()
        elif mark in b"]}":
            depth -= 1
            if depth == 0:
                last = text[begin : token.start()].strip(BLANKS)
                if token.end() != len(text):
                    raise NotJson(f"something follows the end (byte {token.end()})")
                if last or found:
                    found.append(last)
                if not all(found):
                    raise NotJson("nothing stands between two commas, or before the end")
                return found
    raise NotJson("cut short")


def members(text: bytes) -> dict[str, bytes]:
    """The members of an object that `check` lets pass; of a key that comes twice the last."""
    found = {}
    for part in parts(text):
        key = _KEY.match(part)
        if key is None:
            raise NotJson("a member has no key")
        found[json.loads(key[1])] = part[key.end() :].strip(BLANKS)
    return found


def fields(text: bytes | msgspec.Raw) -> Mapping[str, bytes | msgspec.Raw]:
    """The members of an object by the decoder and, where it does not take the text, by `members`.

    Raises one of msgspec.DecodeError, ValueError (NotJson) and RecursionError.
    """
    try:
        return _FIELDS.decode(text)
    except (msgspec.DecodeError, ValueError):
        return members(bytes(text))


def check(text: str) -> Any:
    """The value of a JSON text, numbers as text, whatever their size; half a surrogate pair is let be.

    Raises NotJson or RecursionError.
    """
    try:
        return _PLAIN.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} (character {error.pos})") from None


def _constant(name: str) -> Any:
    raise NotJson(f"{name} is not JSON")


_PLAIN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_constant)


def lone_surrogate(value: Any) -> str | None:
    """Half of a surrogate pair somewhere in a value, as JSON writes it; None where there is none."""
    if isinstance(value, str):
        half = _LONE.search(value)
        return None if half is None else f"\\u{ord(half[0]):04x}"
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list):
        inner = value
    return next((lone for one in inner if (lone := lone_surrogate(one)) is not None), None)


def key(name: str) -> bytes:
    """A key as JSON, also one that no UTF-8 can hold."""
    return json.dumps(name).encode("ascii")
