"""Where the parts of a statement stand: enough of ClickHouse's grammar to cut its text, no more.

What a statement *does* is the engine's own parser's verdict; this module finds the data behind an INSERT
and the FORMAT clause of a query, past strings, quoted names, comments and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""
      (?P<skip>   \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_$]* )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
    |             \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<number> [0-9][A-Za-z0-9_.]* )
    | (?P<sign>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN = frozenset([b"(", b"[", b"{"])
_CLOSE = frozenset([b")", b"]", b"}"])
_QUERY = frozenset([b"SELECT", b"WITH", b"WATCH", b"EXPLAIN"])


class Token(NamedTuple):
    """A token outside of comments. `word` is upper case, b"" for everything but a bare word."""

    text: bytes
    word: bytes
    start: int
    end: int
    depth: int  # of brackets around it; an opening bracket counts to the outside


class Insert(NamedTuple):
    """An INSERT whose rows come as data."""

    sql: str  # up to its FORMAT or VALUES, with its SETTINGS
    format: str | None  # None: not named
    data_start: int  # of the data, in the text that was cut


def tokens(text: bytes) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "skip":
            continue
        found = match[0]
        if found in _CLOSE:
            depth -= 1
        word = found.upper() if match.lastgroup == "word" else b""
        yield Token(found, word, match.start(), match.end(), depth)
        if found in _OPEN:
            depth += 1


def first_word(text: bytes) -> bytes:
    """The keyword that a statement begins with, upper case; b"" if it begins with something else."""
    return next((token.word for token in tokens(text) if token.text != b"("), b"")


def cut_insert(text: bytes) -> Insert | None:
    """The INSERT that `text` begins with, if its rows come as data and not from a query.

    `text` may end anywhere in the data. None too for INSERT … SELECT and for what is no INSERT.
    Raises ValueError for FROM INFILE, which a server does not read for its clients.
    """
    stream = tokens(text)
    if next(stream, _END).word != b"INSERT":
        return None
    rest = _behind_target(stream)
    previous = _END
    for token in rest:
        if token.word in _QUERY and (token.depth == 0 or (token.depth == 1 and previous.text == b"(")):
            return None
        if token.depth == 0 and token.word == b"INFILE":
            raise ValueError("FROM INFILE is a clause for a client, not for a server")
        if token.depth == 0 and token.word == b"VALUES":
            return Insert(_text(text[: token.start]), "Values", token.end)
        if token.depth == 0 and token.word == b"FORMAT":
            name = next(rest, _END)
            settings = _settings_behind(text, name.end)
            head = text[: token.start] + text[name.end : settings]
            return Insert(_text(head), _text(name.text), _skip_to_data(text, settings))
        previous = token
    return Insert(_text(text).rstrip().rstrip(";"), None, len(text))


def from_infile(insert: Insert, path: str) -> str:
    """The INSERT as one that takes its data from the file at `path`, without its FORMAT."""
    text = insert.sql.encode("utf-8", "surrogateescape")
    found = [*tokens(text)]
    end = len(text)
    for token, _, equals in zip(found, found[1:], found[2:], strict=False):
        if token.word == b"SETTINGS" and token.depth == 0 and equals.text == b"=":
            end = token.start
            break
    return f"{_text(text[:end])} FROM INFILE '{path}' {_text(text[end:])}"


def cut_query(text: bytes) -> tuple[str, str | None, str]:
    """A query as (what stands before its FORMAT clause, the format's name, what stands behind it).

    Without a final semicolon. Raises ValueError as `check` does.
    """
    found = check(text)
    end = found[-1].end if found else 0
    for at in range(len(found) - 2, 0, -1):
        token, name = found[at], found[at + 1]
        if token.depth != 0:
            continue
        behind = found[at + 2].word if at + 2 < len(found) else b"SETTINGS"
        if token.word == b"FORMAT" and name.word and behind == b"SETTINGS":
            return _text(text[: token.start]), _text(name.text), _text(text[name.end : end])
    return _text(text[:end]), None, ""


def check(text: bytes) -> list[Token]:
    """The tokens of a statement without its final semicolon.

    Raises ValueError for what a server does not run: several statements in one, and INTO OUTFILE.
    """
    found = list(tokens(text))
    while found and found[-1].text == b";":
        found.pop()
    if any(token.text == b";" for token in found):
        raise ValueError("multi-statements are not allowed")
    pairs = zip(found, found[1:], strict=False)
    if any((one.word, two.word) == (b"INTO", b"OUTFILE") and two.depth == 0 for one, two in pairs):
        raise ValueError("INTO OUTFILE is a clause for a client, not for a server")
    return found


_END = Token(b"", b"", 0, 0, 0)


def _behind_target(stream: Iterator[Token]) -> Iterator[Token]:
    """Skip [INTO] [TABLE] [FUNCTION] and the name, which may be spelled like a keyword."""
    token = next(stream, _END)
    while token.word in (b"INTO", b"TABLE", b"FUNCTION"):
        token = next(stream, _END)
    brackets = token.text == b"{"  # a name given as {parameter:Identifier}
    for token in stream:
        if brackets or token.depth > 0:
            brackets = brackets and token.text != b"}"
            continue
        if token.text == b".":
            brackets = next(stream, _END).text == b"{"
            continue
        yield token
        break
    yield from stream


def _settings_behind(text: bytes, start: int) -> int:
    """Where a SETTINGS list behind a FORMAT clause ends; `start` if there is none."""
    stream = tokens(text[start:])
    if next(stream, _END).word != b"SETTINGS":
        return start
    end = start
    while True:
        name, equals, value = next(stream, _END), next(stream, _END), next(stream, _END)
        if not name.word or equals.text != b"=":
            return end
        if value.text in (b"-", b"+"):
            value = next(stream, _END)
        end = start + value.end
        if next(stream, _END).text != b",":
            return end


def _skip_to_data(text: bytes, at: int) -> int:
    """The engine's rule: blanks, then one line break, then data."""
    while text[at : at + 1] in (b" ", b"\t", b"\f"):
        at += 1
    if text[at : at + 1] == b"\r":
        at += 1
    if text[at : at + 1] == b"\n":
        at += 1
    return at


def _text(sql: bytes) -> str:
    return sql.decode("utf-8", "surrogateescape")
