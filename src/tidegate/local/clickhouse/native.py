"""The Native format as a client with a `client_protocol_version` reads it.

The engine writes Native for revision 0. A newer client expects an information block before each block, and
behind each column's type a byte that says whether it is serialised in another way than the type's own (it is
not). Where a column ends is known to `clickhouse_connect`, which reads it here; no value is changed.

https://clickhouse.com/docs/interfaces/formats/Native and src/Formats/NativeWriter.cpp
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.buffer import ResponseBuffer
from clickhouse_connect.driver.exceptions import StreamCompleteException
from clickhouse_connect.driver.query import QueryContext

from tidegate.local.clickhouse.errors import refusal

WITH_CUSTOM_SERIALIZATION = 54454
"""From this revision on. Older clients (clickhouse-connect asks with 54405) find out that it is 0."""

BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # no overflow rows, no bucket
AS_THE_TYPE_SAYS = b"\x00"

_CHEAPEST = {"Date*": "int", "DateTime*": "int", "UUID": "string", "IPv4": "int"}
"""How values are read that only their length is wanted of."""


class NativeBlocks:
    """Reads blocks of revision 0 from `read`, which returns b"" at the end, and gives them anew."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._kept = b""
        self._wanted = 0  # bytes, before the open block is looked at again

    def read(self) -> bytes:
        """The next blocks, b"" at the end. Raises ClickHouseError for a type that cannot be read."""
        blocks: list[bytes] = []
        while not blocks:
            piece = self._read()
            if not piece:
                return self._last()
            self._kept += piece
            while len(self._kept) >= self._wanted:
                try:
                    block, size = self._block(self._kept)
                except StreamCompleteException:
                    self._wanted = len(self._kept) * 3 // 2
                    break
                blocks.append(block)
                self._kept, self._wanted = self._kept[size:], 1
        return b"".join(blocks)

    def _last(self) -> bytes:
        """The blocks that waited for more, and what an error cut short, as it is."""
        blocks = []
        with suppress(StreamCompleteException):
            while self._kept:
                block, size = self._block(self._kept)
                blocks.append(block)
                self._kept = self._kept[size:]
        rest, self._kept = self._kept, b""
        return b"".join([*blocks, rest])

    def _block(self, data: bytes) -> tuple[bytes, int]:
        """The first block in `data` as the client expects it, and its size in `data`."""
        source = _source(data)
        columns, rows = source.read_leb128(), source.read_leb128()
        parts = [BLOCK_INFO, data[: source.buf_loc]]
        for _ in range(columns):
            begin = source.buf_loc
            source.read_leb128_str()
            kind = source.read_leb128_str()
            parts += [data[begin : source.buf_loc], AS_THE_TYPE_SAYS]
            begin = source.buf_loc
            _skip(source, kind, rows)
            parts.append(data[begin : source.buf_loc])
        return b"".join(parts), source.buf_loc


def reframed(data: bytes) -> bytes:
    """A whole answer."""
    pieces = iter([data])
    blocks = NativeBlocks(lambda: next(pieces, b""))
    return b"".join(iter(blocks.read, b""))


def _source(data: bytes) -> Any:
    buffer: Any = ResponseBuffer
    source = buffer(SimpleNamespace(gen=iter(()), exception_tag=None, close=lambda: None))
    source.buffer, source.buf_sz, source.buf_loc = data, len(data), 0
    return source


def _skip(source: Any, kind: str, rows: int) -> None:
    try:
        column: Any = get_from_name(kind)
        if rows:
            column.read_column(source, rows, QueryContext(query_formats=_CHEAPEST))
    except StreamCompleteException:
        raise
    except Exception as error:  # whatever a type's reader says: the client is told, not cut off
        raise refusal(
            "NOT_IMPLEMENTED",
            f"Native with client_protocol_version {WITH_CUSTOM_SERIALIZATION} and newer is not served for the"
            f" type {kind}; ask for another format, or cast it",
        ) from error
