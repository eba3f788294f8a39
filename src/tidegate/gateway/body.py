"""The body of a request: bounded as sent and as decompressed, whatever it claims to be.

Decompression streams in pieces and stops at the limit, so a bomb costs the limit and no more.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import zstandard

from tidegate.gateway.limits import HeldBytes
from tidegate.gateway.problems import Problem, unavailable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE = 1 << 18  # decompressed bytes at a time
GZIP_STEP = 1 << 14  # compressed bytes at a time
ZSTD_STEP = 1 << 9  # smaller: what one step gives out has no bound of its own but 128 KiB a 4-byte block
MEMBERS = 10_000  # members or frames of one body; empty ones would cost time and no bytes
ZSTD_WINDOW = 1 << 23  # RFC 9659: senders of the zstd content coding keep to windows of 8 MB
BODY_SECONDS = 30.0  # a sender that takes longer for its body loses the connection's turn


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
    if not message.get("more_body", False):
        if len(body) > limit:
            return _too_large(limit)
        return body if held.take(len(body)) else unavailable("queue_full")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_rest(body, receive, limit, held)
    except TimeoutError:
        return Problem(408, "timeout", f"the body did not come within {BODY_SECONDS:g} seconds")


async def _read_rest(first: bytes, receive: Receive, limit: int, held: HeldBytes) -> bytes | Problem:
    pieces = [first]
    size = len(first)
    holding = 0
    kept = False
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                return _too_large(limit)
            if not held.take(size - holding):
                return unavailable("queue_full")
            holding = size
        kept = True
        return b"".join(pieces)
    finally:
        if not kept:
            held.give(holding)


def decode(body: bytes, encoding: bytes, limit: int) -> bytes | Problem:
    """The body behind its Content-Encoding, at most `limit` bytes."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body if len(body) <= limit else _too_large(limit)
    try:
        if name in (b"gzip", b"x-gzip"):
            return _gunzip(body, limit)
        if name == b"zstd":
            return _unzstd(body, limit)
    except (zlib.error, zstandard.ZstdError, Broken) as error:
        return Problem(400, "bad_encoding", f"not {name.decode()}: {error}")
    return Problem(
        415,
        "unsupported_encoding",
        f"Content-Encoding {name[:80].decode('latin-1')!r} is not taken",
        found=name[:80].decode("latin-1"),
        allowed="identity, gzip or zstd, one of them",
        headers=((b"accept-encoding", b"gzip, zstd, identity"),),
    )


def _gunzip(body: bytes, limit: int) -> bytes | Problem:
    """All members of a gzip body, one after another."""
    pieces: list[bytes] = []
    size = at = members = 0
    while True:
        stream = zlib.decompressobj(wbits=31)
        while not stream.eof:
            rest = stream.unconsumed_tail
            if not rest:
                if at >= len(body):
                    raise Broken("cut short")
                rest = body[at : at + GZIP_STEP]
                at += len(rest)
            piece = stream.decompress(rest, PIECE)
            size += len(piece)
            if size > limit:
                return _too_large(limit)
            pieces.append(piece)
        at -= len(stream.unused_data)
        while at < len(body) and body[at] == 0:  # gzip pads with zeros
            at += 1
        if at >= len(body):
            return b"".join(pieces)
        members = _count(members)


def _unzstd(body: bytes, limit: int) -> bytes | Problem:
    """All frames of a zstd body, one after another."""
    if not body:
        raise Broken("cut short")
    pieces: list[bytes] = []
    size = at = frames = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    while at < len(body):
        stream = decompressor.decompressobj(write_size=PIECE)
        while not stream.eof:
            if at >= len(body):
                raise Broken("cut short")
            step = body[at : at + ZSTD_STEP]
            at += len(step)
            piece = stream.decompress(step)
            size += len(piece)
            if size > limit:
                return _too_large(limit)
            pieces.append(piece)
        at -= len(stream.unused_data)
        frames = _count(frames)
    return b"".join(pieces)


def _count(members: int) -> int:
    if members >= MEMBERS:
        raise Broken(f"more than {MEMBERS} members")
    return members + 1


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body is longer than {limit} bytes", allowed=f"{limit} bytes")
