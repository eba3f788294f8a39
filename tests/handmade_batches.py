"""Record batches as no client library writes them, sent by Kafka's own protocol.

Formats: https://kafka.apache.org/documentation/#recordbatch and /protocol#The_Messages_Produce
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterable, Iterator

import cramjam
import zstandard
from aiokafka.record.util import calc_crc32c

MEBIBYTE = 1 << 20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "unknown": 6}


def varint(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(
    value: bytes = b"", *, number: int = 0, headers: Iterable[tuple[bytes, bytes]] = (), more: int = 0
) -> bytes:
    """One record; `more` bytes of its value are left for the caller to write before `tail`."""
    headers = list(headers)
    tail = varint(len(headers)) + b"".join(
        varint(len(name)) + name + varint(len(text)) + text for name, text in headers
    )
    head = b"\0" + varint(0) + varint(number) + varint(-1) + varint(len(value) + more) + value
    length = varint(len(head) + more + len(tail))
    return length + head if more else length + head + tail


def bomb(size: int, start: bytes = b"") -> Iterator[bytes]:
    """The body of a batch of one record whose value is `start` and then `size` bytes of zeros."""
    yield record(start, more=size)
    for at in range(0, size, MEBIBYTE):
        yield bytes(min(MEBIBYTE, size - at))
    yield b"\0"  # no headers


def packed(codec: str, pieces: Iterable[bytes]) -> bytes:
    """The body as a codec packs it, piece by piece."""
    if codec == "none":
        return b"".join(pieces)
    if codec == "snappy":  # as snappy-java frames it
        blocks = [bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces]
        return (
            b"\x82SNAPPY\0"
            + struct.pack(">ii", 1, 1)
            + b"".join(struct.pack(">i", len(block)) + block for block in blocks)
        )
    if codec == "lz4":
        lz4 = cramjam.lz4.Compressor(level=4, content_checksum=False, block_linked=False)
        return b"".join([*(_fed(lz4, piece) for piece in pieces), bytes(lz4.finish())])
    if codec == "gzip":
        gzip = zlib.compressobj(9, wbits=31)
        return b"".join([*map(gzip.compress, pieces), gzip.flush()])
    zstd = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join([*map(zstd.compress, pieces), zstd.flush()])


def _fed(compressor: cramjam.lz4.Compressor, piece: bytes) -> bytes:
    compressor.compress(piece)
    return bytes(compressor.flush())


def batch(body: bytes, *, codec: str = "none", records: int = 1, more: int = 0) -> bytes:
    """A batch around a body that is packed already; `more` are attributes beside the codec."""
    attributes = CODECS[codec] | more
    rest = struct.pack(">hiqqqhii", attributes, records - 1, 0, 0, -1, -1, -1, records) + body
    return struct.pack(">qiibI", 0, 9 + len(rest), -1, 2, calc_crc32c(rest)) + rest


def produce(bootstrap: str, topic: str, partition: int, data: bytes) -> tuple[int, int]:
    """Send a batch; the broker's error code, 0 for none, and the offset of the first record."""
    name = topic.encode()
    request = struct.pack(">hhih", 0, 7, 1, -1)  # Produce, version 7, correlation, no client id
    request += struct.pack(">hhi", -1, -1, 60_000) + struct.pack(">ih", 1, len(name)) + name
    request += struct.pack(">iii", 1, partition, len(data)) + data
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        [size] = struct.unpack(">i", answer.read(4))
        body = answer.read(size)
    at = 4 + 4 + 2 + len(name) + 4  # correlation, topics, name, partitions
    _, code, offset = struct.unpack_from(">ihq", body, at)
    return code, offset
