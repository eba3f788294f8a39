"""Errors as ClickHouse's HTTP interface answers them: a code, a text, an HTTP status."""

from __future__ import annotations

import re

_CODE = re.compile(r"Code: (\d+)\. DB::")

# The codes that this server raises by itself, by ClickHouse's names.
CODES = {
    "CHECKSUM_DOESNT_MATCH": 40,
    "NOT_IMPLEMENTED": 48,
    "SYNTAX_ERROR": 62,
    "UNKNOWN_COMPRESSION_METHOD": 89,
    "UNKNOWN_SETTING": 115,
    "INCORRECT_DATA": 117,
    "READONLY": 164,
    "CANNOT_DECOMPRESS": 271,
    "REQUIRED_PASSWORD": 194,
    "QUERY_IS_TOO_LARGE": 229,
    "SESSION_NOT_FOUND": 372,
    "SESSION_IS_LOCKED": 373,
    "INVALID_SESSION_TIMEOUT": 374,
    "ACCESS_DENIED": 497,
    "AUTHENTICATION_FAILED": 516,
}
SYNTAX_ERROR = CODES["SYNTAX_ERROR"]
UNKNOWN_EXCEPTION = 1002

# The statuses of a ClickHouse server: what the client got wrong, what it named wrongly, the rest.
BAD_REQUEST = frozenset([6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223])
BAD_REQUEST |= frozenset([321, 376, 427, 441, 675, 676])
NOT_FOUND = frozenset([46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511])
OTHERS = {194: 401, 192: 403, 193: 403, 497: 403, 512: 403, 516: 403, 159: 408, 381: 411, 229: 413}
OTHERS |= {779: 415, 48: 501, 76: 503, 209: 503, 439: 503}


class ClickHouseError(Exception):
    """An error with ClickHouse's code; `str` is the text of the answer's body."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server answers for this code."""
        if self.code in BAD_REQUEST:
            return 400
        if self.code in NOT_FOUND:
            return 404
        return OTHERS.get(self.code, 500)


def refusal(name: str, message: str) -> ClickHouseError:
    """An error of this server, worded like the engine's; `name` is one of CODES."""
    code = CODES[name]
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {message} ({name})")


def from_engine(error: Exception) -> ClickHouseError:
    """What chDB raised, without the words that its Python layer puts in front."""
    text = str(error)
    found = _CODE.search(text)
    if found is None:
        return ClickHouseError(UNKNOWN_EXCEPTION, text)
    return ClickHouseError(int(found[1]), text[found.start() :])
