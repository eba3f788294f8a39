"""The body of a request: bounded as sent and as decompressed, whatever it claims to be.

Decompression streams in pieces and stops at the limit, so a bomb costs the limit and no more.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator

import zstandard

from tidegate.gateway.limits import HeldBytes
from tidegate.gateway.problems import Problem, unavailable
from tidegate.service.asgi import Receive

PIECE = 1 << 18  # decompressed bytes at a time
GZIP_STEP = 1 << 14  # compressed bytes at a time
ZSTD_STEP = 1 << 9  # smaller: what one step gives out has no bound of its own but 128 KiB a 4-byte block
MEMBERS = 10_000  # members or frames of one body; empty ones would cost time and no bytes
ZSTD_WINDOW = 1 << 23  # RFC 9659: senders of the zstd content coding keep to windows of 8 MB
FREE = 1 << 20  # bytes that any compressed body may become: events that are alike pack well


class Disconnected(Exception):
    """The client went away in the middle of its body: there is nobody to answer."""


class Broken(Exception):
    """The compressed bytes end too early or never."""


async def read(receive: Receive, limit: int, held: HeldBytes) -> bytes | Problem:
    """The body as sent, at most `limit` bytes. The bytes returned are held: the caller gives them back."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return await _read_rest(body, receive, limit, held)
    if len(body) > limit:
        return _too_large(limit)
    return body if held.take(len(body)) else unavailable("queue_full")


async def _read_rest(first: bytes, receive: Receive, limit: int, held: HeldBytes) -> bytes | Problem:
    gathered = io.BytesIO(first)  # a list of pieces would cost far more than they hold, where they are small
    gathered.seek(len(first))
    holding = 0
    kept = False
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            gathered.write(message.get("body", b""))
            more = message.get("more_body", False)
            size = gathered.tell()
            if size > limit:
                return _too_large(limit)
            if not held.take(size - holding):
                return unavailable("queue_full")
            holding = size
        kept = True
        return gathered.getvalue()
    finally:
        if not kept:
            held.give(holding)


def announced(length: bytes, limit: int) -> Problem | None:
    """The refusal of a body by the length that its head names."""
    return _too_large(limit) if int(length) > limit else None


class Unpacking:
    """The body behind its Content-Encoding, bounded while it is unpacked, as far as it is asked for at once.

    At most `limit` bytes, and beyond the first `FREE` of them at most `expansion` for each that was sent.
    """

    def __init__(self, body: bytes, encoding: bytes, limit: int, expansion: int) -> None:
        self._most = min(limit, max(FREE, expansion * len(body)))
        self._refusal = _too_large(limit) if self._most == limit else _expands(expansion)
        self._name = encoding.strip().lower()
        self._body = body
        unpack = UNPACK.get(self._name)
        self._pieces = unpack(body) if unpack is not None else None
        self._out = io.BytesIO()  # gives its bytes without a copy, where a join of pieces makes one

    def run(self, until: int | None = None) -> bytes | Problem | None:
        """Go on to the end, or until there are `until` bytes or more: then None, and it may be run again."""
        if self._pieces is None:
            return _unsupported(self._name)
        try:
            for piece in self._pieces:
                self._out.write(piece)
                if self._out.tell() > self._most:
                    return self._refusal
                if until is not None and self._out.tell() >= until:
                    return None
        except (zlib.error, zstandard.ZstdError, Broken) as error:
            return Problem(400, "bad_encoding", f"not {self._name.decode()}: {error}")
        return self._out.getvalue()


def _unsupported(name: bytes) -> Problem:
    return Problem(
        415,
        "unsupported_encoding",
        f"Content-Encoding {name[:80].decode('latin-1')!r} is not taken",
        found=name[:80].decode("latin-1"),
        allowed="identity, gzip or zstd, one of them",
        headers=((b"accept-encoding", b"gzip, zstd, identity"),),
    )


def _identity(body: bytes) -> Iterator[bytes]:
    yield body


def _gunzip(body: bytes) -> Iterator[bytes]:
    """All members of a gzip body, one after another."""
    at = members = 0
    while True:
        stream = zlib.decompressobj(wbits=31)
        while not stream.eof:
            rest = stream.unconsumed_tail
            if not rest:
                if at >= len(body):
                    raise Broken("cut short")
                rest = body[at : at + GZIP_STEP]
                at += len(rest)
            yield stream.decompress(rest, PIECE)
        at -= len(stream.unused_data)
        while at < len(body) and body[at] == 0:  # gzip pads with zeros
            at += 1
        if at >= len(body):
            return
        members = _count(members)


def _unzstd(body: bytes) -> Iterator[bytes]:
    """All frames of a zstd body, one after another."""
    if not body:
        raise Broken("cut short")
    at = frames = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    while at < len(body):
        stream = decompressor.decompressobj(write_size=PIECE)
        while not stream.eof:
            if at >= len(body):
                raise Broken("cut short")
            step = body[at : at + ZSTD_STEP]
            at += len(step)
            yield stream.decompress(step)
        at -= len(stream.unused_data)
        frames = _count(frames)


UNPACK: dict[bytes, Callable[[bytes], Iterator[bytes]]] = {
    b"": _identity,
    b"identity": _identity,
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"zstd": _unzstd,
}


def _count(members: int) -> int:
    if members >= MEMBERS:
        raise Broken(f"more than {MEMBERS} members")
    return members + 1


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body is longer than {limit} bytes", allowed=f"{limit} bytes")


def _expands(expansion: int) -> Problem:
    detail = f"the body unpacks to more than {expansion} times what was sent"
    return Problem(413, "too_large", detail, allowed=f"{FREE} bytes, and {expansion} for each byte")
