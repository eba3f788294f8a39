"""Work once per distinct value: a column becomes codes and the list of its values, results are spread back.

Frames hold few sites, SSIDs, operators and codes: one Python call for each of them instead of one a row.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

K = TypeVar("K", bound=Hashable)
Codes = npt.NDArray[np.int32]
TEXT = pa.string()
REAL = pa.float64()
Column: TypeAlias = "pa.Array[Any]"


# The compute functions themselves: their wrappers cost as much again for a few hundred rows.
_TAKE = pc.get_function("array_take")
_ENCODE = pc.get_function("dictionary_encode")
_UNCHECKED = pc.TakeOptions(boundscheck=False)
_WITH_NULL = pc.DictionaryEncodeOptions("encode")

_CONSTANT_ROWS = 1024
_CONSTANT_TEXT = 64


def distinct(column: Column) -> tuple[Codes, list[Any]]:
    """Codes of shape (n,) and the values they number; null is a value like any other.

    A column that is encoded already may have values that no row has.
    """
    if isinstance(column, pa.DictionaryArray):
        values: list[Any] = column.dictionary.to_pylist()
        if column.null_count:
            values.append(None)
        return indices(column.indices, len(values) - 1), values
    encoded: Any = _ENCODE.call([column], _WITH_NULL)
    return indices(encoded.indices), encoded.dictionary.to_pylist()


def indices(column: Column, null: int = -1) -> npt.NDArray[Any]:
    """The numbers of an encoded column, `null` for nulls. Arrow's own ways to numpy load pandas first."""
    sign = "u" if pa.types.is_unsigned_integer(column.type) else "i"
    type_ = np.dtype(f"{sign}{column.type.bit_width // 8}")
    numbers = numpy_buffer(column.buffers()[1], type_, len(column), column.offset * type_.itemsize)
    return np.where(valid(column), numbers, null) if column.null_count else numbers


def take(column: Column, places: npt.NDArray[Any]) -> Column:
    """The rows of a column at int32 or int64 places, which must exist."""
    indices = wrap(places, _INDEX_TYPES[places.dtype.itemsize])
    taken: Column = _TAKE.call([column, indices], _UNCHECKED)
    return taken


_INDEX_TYPES = {4: pa.int32(), 8: pa.int64()}


def number(rows: Iterable[K]) -> tuple[list[int], list[K]]:
    """The same for rows of several columns: zip(column, column, …)."""
    numbers: dict[K, int] = {}
    codes = [numbers.setdefault(row, len(numbers)) for row in rows]
    return codes, list(numbers)


def spread(values: Sequence[Any], codes: Codes, type_: Any = TEXT) -> Column:
    """A column that holds values[code] for each code."""
    if len(values) == 1:
        return same(values[0], len(codes), type_)
    return take(pa.array(values, type_), codes)


def same(value: Any, length: int, type_: Any = TEXT) -> Column:
    """A column of one value. Short ones are cut from one that is kept."""
    if value is None:
        nothing: Column = pa.nulls(length, type_)
        return nothing
    kept = len(value) <= _CONSTANT_TEXT if isinstance(value, str) else isinstance(value, bool)
    if not kept or length > _CONSTANT_ROWS:  # numbers are not kept: 0.0 and -0.0 are one key
        return _repeat(value, type_, length)
    return _constant(value, type_).slice(0, length)


@lru_cache(maxsize=64)
def _constant(value: Any, type_: Any) -> Column:
    return _repeat(value, type_, _CONSTANT_ROWS)


def _repeat(value: Any, type_: Any, length: int) -> Column:
    column: Column = pa.repeat(pa.scalar(value, type_), length)
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
