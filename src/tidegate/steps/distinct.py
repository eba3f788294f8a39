"""Work once per distinct value: a column becomes codes and the list of its values, results are spread back.

Frames hold few sites, SSIDs, operators and codes: one Python call for each of them instead of one a row.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

K = TypeVar("K", bound=Hashable)
Codes = npt.NDArray[np.int32]
TEXT = pa.string()
REAL = pa.float64()
Column: TypeAlias = "pa.Array[Any]"


def distinct(column: Column) -> tuple[Codes, list[Any]]:
    """Codes of shape (n,) and the values they number; null is a value like any other."""
    encoded = column.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def number(rows: Iterable[K]) -> tuple[list[int], list[K]]:
    """The same for rows of several columns: zip(column, column, …)."""
    numbers: dict[K, int] = {}
    codes = [numbers.setdefault(row, len(numbers)) for row in rows]
    return codes, list(numbers)


def spread(values: Sequence[Any], codes: Codes, type_: Any = TEXT) -> Column:
    """A column that holds values[code] for each code."""
    if len(values) == 1:
        return same(values[0], len(codes), type_)
    column: Column = pa.array(values, type_).take(wrap(codes, pa.int32()))
    return column


def same(value: Any, length: int, type_: Any = TEXT) -> Column:
    """A column of one value."""
    column: Column
    if value is None:
        column = pa.nulls(length, type_)
    else:
        column = pa.repeat(pa.scalar(value, type_), length)
    return column


def wrap(values: npt.NDArray[Any], type_: Any) -> Column:
    """A numpy array as a column without nulls: neither copied nor checked, 1 µs where pa.array takes 5."""
    return pa.Array.from_buffers(type_, len(values), [None, buffer(values)])


def buffer(values: npt.NDArray[Any]) -> pa.Buffer:
    """The memory of a contiguous numpy array."""
    return pa.py_buffer(np.ascontiguousarray(values).data)


def numpy_buffer(buffer: pa.Buffer | None, type_: Any, count: int = -1, offset: int = 0) -> npt.NDArray[Any]:
    """Arrow memory as numpy, without copy; `offset` in bytes. A missing buffer is an empty column's."""
    if buffer is None:
        return np.empty(0, type_)
    return np.frombuffer(memoryview(buffer), type_, count, offset)


def whole_numbers(column: Column) -> npt.NDArray[np.int64]:
    """The values of an int64 column without copy; a null's place holds any number."""
    return numpy_buffer(column.buffers()[1], np.int64, len(column), column.offset * 8)


def valid(column: Column) -> npt.NDArray[np.bool_]:
    """Where a column is not null."""
    bits = column.buffers()[0]
    if bits is None or column.null_count == 0:
        return np.ones(len(column), np.bool_)
    flags = np.unpackbits(numpy_buffer(bits, np.uint8), bitorder="little")
    return flags[column.offset : column.offset + len(column)].view(np.bool_)
