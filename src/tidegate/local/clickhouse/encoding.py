"""Content codings of requests and answers: gzip, deflate, zstd and lz4, all of them streaming."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lz4.frame
import zstandard

from tidegate.local.clickhouse.blocks import BlockCompressor
from tidegate.local.clickhouse.errors import refusal

# On loopback the cheapest one to make comes first.
PREFERENCE = ("lz4", "zstd", "gzip", "deflate")
LARGEST_PIECE = 8 << 20  # of what a decompressor gives at a time


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        self._frame: Any = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.flush())


BLOCKS = "clickhouse-blocks"  # ClickHouse's own, which is no content coding of HTTP

_COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    BLOCKS: BlockCompressor,
    "lz4": _Lz4,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(1, zlib.DEFLATED, 31),
    "deflate": lambda: zlib.compressobj(1),
}


def negotiate(accept: str) -> str | None:
    """The coding of an answer for an Accept-Encoding header; None for identity."""
    offered = set()
    for item in accept.lower().split(","):
        name, _, weight = item.partition(";")
        if weight.strip().replace(" ", "") not in ("q=0", "q=0.0"):
            offered.add(name.strip())
    return next((name for name in PREFERENCE if name in offered), None)


def compressor(coding: str) -> Compressor:
    return _COMPRESSORS[coding]()


def decoded(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """The request body without its Content-Encoding. Raises ClickHouseError."""
    if coding in ("", "identity"):
        return pieces
    try:
        decode = _DECODERS[coding]
    except KeyError:
        raise refusal("UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method {coding}") from None
    return _checked(decode(pieces), coding)


def _checked(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    try:
        yield from pieces
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise refusal("INCORRECT_DATA", f"The body is not {coding}: {error}") from error


def _inflate(bits: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def decode(pieces: Iterator[bytes]) -> Iterator[bytes]:
        stream = zlib.decompressobj(bits)
        for piece in pieces:
            while piece:
                yield stream.decompress(piece, LARGEST_PIECE)
                piece = stream.unconsumed_tail
                if stream.eof:  # gzip members may follow each other
                    piece = stream.unused_data
                    if piece:
                        stream = zlib.decompressobj(bits)
        if not stream.eof:
            raise EOFError("it ends early")

    return decode


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    ended = True
    stream = zstandard.ZstdDecompressor().decompressobj()
    for piece in pieces:
        while piece:
            if stream.eof:
                stream = zstandard.ZstdDecompressor().decompressobj()
            yield stream.decompress(piece)
            ended = stream.eof
            piece = stream.unused_data if stream.eof else b""
    if not ended:
        raise EOFError("it ends early")


def _unlz4(pieces: Iterator[bytes]) -> Iterator[bytes]:
    stream: Any = lz4.frame.LZ4FrameDecompressor()
    for piece in pieces:
        while piece:
            if stream.eof:
                stream = lz4.frame.LZ4FrameDecompressor()
            yield stream.decompress(piece)
            piece = (stream.unused_data or b"") if stream.eof else b""
    if not stream.eof:
        raise EOFError("it ends early")


_DECODERS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "gzip": _inflate(31),
    "deflate": _inflate(15),
    "zstd": _unzstd,
    "lz4": _unlz4,
}
