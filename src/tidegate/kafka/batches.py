"""Record batches of a fetch, unpacked within bounds.

aiokafka unpacks a batch whole, whatever it becomes, makes every header of a record an object, and raises for
good on a batch that it cannot read. Here a batch that unpacks to too much, or that cannot be read, and a
record that is too large or has too many headers, come out as a record that is refused unread.

Format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from tidegate.contracts.rejects import Code

EXPANSION = 4  # a batch may unpack to this many times the largest record
MAX_HEADERS = 1000  # of a record
KEPT_BYTES = 65_536  # of the value of a record that is refused unread

_HEAD = struct.Struct(">qiibIhiqqqhii")
_LOG_OVERHEAD = 12  # base offset and length
_AFTER_CRC = 21
_ATTRIBUTES = struct.Struct(">h")
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_STREAMS: dict[int, Literal["gzip", "lz4", "zstd"]] = {_GZIP: "gzip", _LZ4: "lz4", _ZSTD: "zstd"}
_READ_BYTES = 1 << 20
_LONGEST_MARKER = 1024  # bytes of a batch that ends a transaction
_LOOKED_INTO = 65_536  # bytes of a record from which on its headers are counted before they are read
_LEGACY_OFFSET_AND_SIZE = struct.Struct(">qi")


class Unreadable(Exception):
    """A batch or a record that is not taken; the code and what to say of it."""

    def __init__(self, code: Code, detail: str, allowed: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.allowed = code, detail, allowed


class RefusedRecord(NamedTuple):
    """As aiokafka's records; stands for all offsets of its batch that did not come before it."""

    offset: int
    timestamp: int
    timestamp_type: int
    why: Unreadable
    key: bytes | None = None
    value: bytes = b""
    headers: Sequence[tuple[str, bytes]] = ()
    checksum: None = None


class _PlainRecord(NamedTuple):
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    checksum: None = None


class Batches:
    """The batches of one answer to a fetch, as aiokafka's MemoryRecords.

    It ends early where the batches before unpacked to more than `record_bytes`: the rest is fetched again.
    """

    def __init__(self, data: bytes, record_bytes: int) -> None:
        self._data = memoryview(data)
        self._record_bytes = record_bytes
        self._position = 0
        self._unpacked = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return self._unpacked <= self._record_bytes and self._end() <= len(self._data)

    def next_batch(self) -> Any:
        end = self._end()
        batch = self._data[self._position : end]
        if len(batch) <= 16:
            raise CorruptRecordException(f"a batch of {len(batch)} bytes")
        self._position = end
        if batch[16] < 2:
            return _LegacyBatch(batch)
        if len(batch) < _HEAD.size:
            raise CorruptRecordException(f"a batch of {len(batch)} bytes")
        return Batch(batch, self._record_bytes, self._count)

    def _end(self) -> int:
        """Where the next batch ends; behind the data for none."""
        if len(self._data) - self._position < _LOG_OVERHEAD:
            return len(self._data) + 1
        _, size = _LEGACY_OFFSET_AND_SIZE.unpack_from(self._data, self._position)
        if size < 0:
            raise CorruptRecordException(f"a batch of {size} bytes")
        return int(self._position + _LOG_OVERHEAD + size)

    def _count(self, unpacked: int) -> None:
        self._unpacked += unpacked


class Batch:
    """One batch, as aiokafka's DefaultRecordBatch; unpacked when it is iterated."""

    def __init__(self, data: memoryview, record_bytes: int, count: Any) -> None:
        self._data = data
        self._record_bytes = record_bytes
        self._count = count
        head = _HEAD.unpack_from(data)
        self.base_offset: int = head[0]
        self._crc, self._attributes, last_delta = head[4], head[5], head[6]
        self.next_offset: int = head[0] + last_delta + 1
        self.producer_id: int = head[9]
        self.is_transactional = bool(self._attributes & _TRANSACTIONAL)
        self._marker = self._control_record() if self._attributes & _CONTROL else None
        self.is_control_batch = self._marker is not None
        self._first_timestamp, self._max_timestamp, self._records = head[7], head[8], head[12]
        self._timestamp_type = int(bool(self._attributes & _LOG_APPEND_TIME))

    def validate_crc(self) -> bool:
        return bool(calc_crc32c(self._data[_AFTER_CRC:]) == self._crc)

    def __next__(self) -> Any:
        """The record of a control batch."""
        return self._marker

    def _control_record(self) -> Any:
        """None where it is none that a broker writes: then the batch is read as any other."""
        if self._attributes & _CODEC or len(self._data) > _LONGEST_MARKER:
            return None
        try:
            [record] = DefaultRecordBatch(bytes(self._data))
        except (CorruptRecordException, ValueError, IndexError):
            return None
        return record if len(record.key or b"") >= 4 else None

    def __iter__(self) -> Iterator[Any]:
        done = self.base_offset - 1
        try:
            for record in self._read():
                done = record.offset
                yield record
        except Unreadable as why:
            if done < self.next_offset - 1:
                yield RefusedRecord(self.next_offset - 1, self._max_timestamp, self._timestamp_type, why)

    def _read(self) -> Iterator[Any]:
        body = self._body()
        try:
            plain = _headers_are_few(body)
        except IndexError:
            plain = False
        if not plain:
            yield from self._one_by_one(body)
            return
        done = self.base_offset - 1
        try:
            for record in DefaultRecordBatch(body):
                done = record.offset
                yield self._within_bounds(record)
        except (CorruptRecordException, ValueError, IndexError):
            for record in self._one_by_one(body):
                if record.offset > done:
                    yield record

    def _body(self) -> bytes:
        """The batch with its records unpacked."""
        packed = self._data[_HEAD.size :]
        kind = self._attributes & _CODEC
        if not kind:
            self._count(len(packed))
            return bytes(self._data)
        pieces = unpack(kind, packed, EXPANSION * self._record_bytes, self._records)
        self._count(sum(map(len, pieces)))
        head = bytearray(self._data[: _HEAD.size])
        _ATTRIBUTES.pack_into(head, _AFTER_CRC, self._attributes & ~_CODEC)
        return b"".join((head, *pieces))

    def _within_bounds(self, record: Any) -> Any:
        value = record.value
        size = len(value or b"") + len(record.key or b"")
        size += sum(len(name) + len(text or b"") for name, text in record.headers)
        if size > self._record_bytes:
            why = _too_large(f"the record has {size} bytes", self._record_bytes)
        elif len(record.headers) > MAX_HEADERS:
            why = _too_many(len(record.headers))
        elif any(text is None for _, text in record.headers):
            return _PlainRecord(
                record.offset, record.timestamp, record.timestamp_type, record.key, value,
                [(name, text or b"") for name, text in record.headers],
            )  # fmt: skip
        else:
            return record
        kept = bytes((value or b"")[:KEPT_BYTES])
        return RefusedRecord(record.offset, record.timestamp, record.timestamp_type, why, None, kept)

    def _one_by_one(self, body: bytes) -> Iterator[Any]:
        """The records, read here: headers are counted first, and their names need not be UTF-8."""
        position = _HEAD.size
        for _ in range(self._records):
            try:
                length, start = _varint(body, position)
                position = start + length
                if length < 0 or position > len(body):
                    raise IndexError
                yield self._within_bounds(self._record(body, start, position))
            except IndexError:
                raise Unreadable(Code.NOT_JSON, "the batch cannot be read: its records are cut off") from None

    def _record(self, body: bytes, at: int, end: int) -> Any:
        delta, at = _varint(body, at + 1)
        offset, at = _varint(body, at)
        offset += self.base_offset
        timestamp = self._max_timestamp if self._timestamp_type else self._first_timestamp + delta
        key, at = _bytes(body, at, end)
        value, at = _bytes(body, at, end)
        count, at = _varint(body, at)
        if count > MAX_HEADERS:
            kept = (value or b"")[:KEPT_BYTES]
            why = _too_many(count)
            return RefusedRecord(offset, timestamp, self._timestamp_type, why, None, kept)
        headers = []
        for _ in range(count):
            name, at = _bytes(body, at, end)
            text, at = _bytes(body, at, end)
            headers.append(((name or b"").decode("utf-8", "replace"), text or b""))
        return _PlainRecord(offset, timestamp, self._timestamp_type, key, value, headers)


class _LegacyBatch:
    """A batch of a format before Kafka 0.11, which no broker since 4.0 has: refused."""

    is_control_batch = is_transactional = False
    producer_id = None

    def __init__(self, data: memoryview) -> None:
        [offset, _] = _LEGACY_OFFSET_AND_SIZE.unpack_from(data)
        self.base_offset: int = offset
        self.next_offset: int = offset + 1

    def validate_crc(self) -> bool:
        return True

    def __iter__(self) -> Iterator[RefusedRecord]:
        why = Unreadable(Code.NOT_JSON, "the batch has a message format before 2")
        yield RefusedRecord(self.base_offset, -1, 0, why)


def unpack(kind: int, packed: memoryview, limit: int, records: int) -> list[bytes]:
    """What a batch unpacks to, in pieces. Raises Unreadable where that is more than `limit` bytes, or
    nothing that the codec can read."""
    pieces: list[bytes] = []
    size = 0
    try:
        if kind == _SNAPPY:
            if _snappy_size(packed) > limit:
                raise _bomb(records, limit)
            return [codec.snappy_decode(bytes(packed))]
        if kind not in _STREAMS:
            raise Unreadable(Code.NOT_JSON, f"the batch cannot be read: unknown compression {kind}")
        with pa.CompressedInputStream(pa.BufferReader(packed), _STREAMS[kind]) as stream:
            while piece := stream.read(_READ_BYTES):
                size += len(piece)
                if size > limit:
                    raise _bomb(records, limit)
                pieces.append(piece)
        return pieces
    except Unreadable:
        raise
    except Exception as error:  # each codec has its own: nothing that it says is of the machine
        raise Unreadable(Code.NOT_JSON, f"the batch cannot be unpacked: {error}"[:300]) from error


def _snappy_size(packed: memoryview) -> int:
    """Bytes that snappy says its blocks unpack to."""
    if not bytes(packed[:8]) == b"\x82SNAPPY\0":
        return _unsigned(packed, 0)
    size, at = 0, 16
    while at < len(packed):
        [length] = struct.unpack_from(">i", packed, at)
        if length <= 0:
            raise ValueError(f"a block of {length} bytes")
        size += _unsigned(packed, at + 4)
        at += 4 + length
    return size


def _bomb(records: int, limit: int) -> Unreadable:
    return _too_large(f"the batch of {records} records unpacks to more", limit)


def _too_large(what: str, limit: int) -> Unreadable:
    return Unreadable(Code.TOO_LARGE, f"{what}; it was not read", f"at most {limit} bytes")


def _too_many(headers: int) -> Unreadable:
    return Unreadable(
        Code.TOO_LARGE, f"the record has {headers} headers; it was not read", f"at most {MAX_HEADERS} headers"
    )


def _headers_are_few(body: bytes) -> bool:
    """Whether no record has so many headers that reading them takes memory. Raises IndexError."""
    if len(body) - _HEAD.size < _LOOKED_INTO:
        return True
    position = _HEAD.size
    while position < len(body):
        length, start = _varint(body, position)
        position = start + length
        if length < 0 or position > len(body):
            raise IndexError
        if length > _LOOKED_INTO:
            _, at = _varint(body, start + 1)
            _, at = _varint(body, at)
            for _ in range(2):  # key and value
                size, at = _varint(body, at)
                at += max(0, size)
            count, _ = _varint(body, at)
            if count > MAX_HEADERS:
                return False
    return True


def _bytes(body: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = _varint(body, at)
    if size < 0:
        return None, at
    if at + size > end:
        raise IndexError
    return body[at : at + size], at + size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint, and where it ends. Raises IndexError."""
    value = body[at]
    at += 1
    if value > 127:
        value &= 127
        shift = 7
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 63:
                raise IndexError
    return (value >> 1) ^ -(value & 1), at


def _unsigned(packed: memoryview, at: int) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = packed[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value
