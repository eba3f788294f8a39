"""An answer of ClickHouse with pseudonyms in place of its MACs.

The key never leaves this process: ClickHouse writes fleet and MAC behind a mark that is drawn for the answer,
so that no text of a sender holds it, and what stands behind the mark is replaced here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, Callable
from functools import lru_cache

from tidegate import pseudonyms
from tidegate.keyfile import Keys

DIGEST_BYTES = 64
MAC_BYTES = 17
REMEMBERED = 4096  # pseudonyms of one answer; its rows come by client

MARK_BYTES = 32


def draw_mark() -> str:
    return secrets.token_hex(MARK_BYTES // 2)


async def replaced(pieces: AsyncGenerator[bytes, None], mark: str, keys: Keys) -> AsyncGenerator[bytes, None]:
    """The pieces with the pseudonym, of each client that the query marked."""
    begin = mark.encode("ascii")
    whole = re.compile(re.escape(begin) + rb"([0-9a-f]{%d})([0-9a-f:]{%d})" % (DIGEST_BYTES, MAC_BYTES))
    longest = MARK_BYTES + DIGEST_BYTES + MAC_BYTES
    pseudonym = _remembering(keys)

    def of(found: re.Match[bytes]) -> bytes:
        return pseudonym(found[1], found[2])

    left = b""
    try:
        async for piece in pieces:
            text = whole.sub(of, left + piece)
            # One that is cut stays for the next piece.
            cut = max(0, len(text) - longest + 1)
            at = text.find(begin[:1], cut)
            while at >= 0 and not _may_begin(text[at:], begin):
                at = text.find(begin[:1], at + 1)
            text, left = (text, b"") if at < 0 else (text[:at], text[at:])
            if text:
                yield text
        if begin in left:
            raise RuntimeError("a client's MAC is none")
        if left:
            yield left
    finally:
        await pieces.aclose()


def _may_begin(text: bytes, mark: bytes) -> bool:
    return text[: len(mark)] == mark[: len(text)]


def _remembering(keys: Keys) -> Callable[[bytes, bytes], bytes]:
    @lru_cache(maxsize=REMEMBERED)
    def pseudonym(digest: bytes, mac: bytes) -> bytes:
        return pseudonyms.of_digest(keys, digest.decode(), mac.decode()).encode()

    return pseudonym
