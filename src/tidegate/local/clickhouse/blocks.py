"""ClickHouse's own compression of a body, `compress=1` and `decompress=1`: blocks with a checksum each.

A block is the CityHash128 of all behind it (16 bytes), the method (1), the size of the block without its
checksum (4), the size of its data (4), the data. Integers are little-endian.

https://clickhouse.com/docs/native-protocol/basics and src/Compression/CompressedReadBufferBase.cpp
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from tidegate.local.clickhouse.errors import refusal

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
HEAD = struct.Struct("<BII")
CHECKSUM_BYTES = 16
BLOCK_BYTES = 1 << 20  # of data, as the server's own
LARGEST_BYTES = 1 << 30  # of a block that is read: the server's limit


class BlockCompressor:
    """A compressor for answers, with the methods of those of zlib."""

    def __init__(self) -> None:
        self._rest = b""

    def compress(self, data: bytes) -> bytes:
        data = self._rest + data
        whole = len(data) - len(data) % BLOCK_BYTES
        self._rest = data[whole:]
        return b"".join(_packed(data[at : at + BLOCK_BYTES]) for at in range(0, whole, BLOCK_BYTES))

    def flush(self) -> bytes:
        rest, self._rest = self._rest, b""
        return _packed(rest) if rest else b""


def unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The data of a body of blocks. Raises ClickHouseError where it is none."""
    reader = _Reader(pieces)
    while checksum := reader.take(CHECKSUM_BYTES, may_end=True):
        head = reader.take(HEAD.size)
        method, packed_size, size = HEAD.unpack(head)
        if not HEAD.size <= packed_size <= LARGEST_BYTES or size > LARGEST_BYTES:
            raise refusal("CANNOT_DECOMPRESS", "A compressed block has an impossible size")
        packed = reader.take(packed_size - HEAD.size)
        if _checksum(head + packed) != checksum:
            raise refusal("CHECKSUM_DOESNT_MATCH", "Checksum doesn't match: corrupted data")
        yield _unpacked(method, packed, size)


def _packed(data: bytes) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    block = HEAD.pack(LZ4, HEAD.size + len(packed), len(data)) + packed
    return _checksum(block) + block


def _unpacked(method: int, packed: bytes, size: int) -> bytes:
    try:
        if method == LZ4:
            data = bytes(lz4.block.decompress(packed, uncompressed_size=size))
        elif method == ZSTD:
            data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        elif method == NONE:
            data = packed
        else:
            raise refusal("UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method {method:#x} of a block")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise refusal("CANNOT_DECOMPRESS", f"Cannot decompress a block: {error}") from error
    if len(data) != size:
        raise refusal("CANNOT_DECOMPRESS", "A compressed block has another size than it says")
    return bytes(data)


def _checksum(block: bytes) -> bytes:
    number = int(CityHash128(block))
    return struct.pack("<QQ", number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF)


class _Reader:
    """Takes exact sizes from pieces of any."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._kept = bytearray()

    def take(self, size: int, *, may_end: bool = False) -> bytes:
        while len(self._kept) < size:
            piece = next(self._pieces, None)
            if piece is None:
                if may_end and not self._kept:
                    return b""
                raise refusal("INCORRECT_DATA", "The body ends within a compressed block")
            self._kept += piece
        taken = bytes(self._kept[:size])
        del self._kept[:size]
        return taken
