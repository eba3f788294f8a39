"""Geohash of a column of coordinates, by bit interleaving in numpy. No coordinates, no bucket: ''."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.steps.distinct_values import Column, buffer, same

_ALPHABET = np.frombuffer(b"0123456789bcdefghjkmnpqrstuvwxyz", np.uint8)
_MASKS = (  # spreads the low 32 bits to the even places of 64
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
Degrees = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint64]


def geohash(latitude: Column, longitude: Column, precision: int) -> Column:
    """Geohashes of `precision` characters, 1 to 12; '' where a coordinate is null. (0, 0) is a place.

    Degrees from -90 to 90 and -180 to 180; the last cell takes in its upper edge.
    """
    if not 1 <= precision <= 12:
        raise ValueError(f"geohash precision {precision} is not between 1 and 12")
    length = len(latitude)
    if latitude.null_count == length or longitude.null_count == length:
        return same("", length)
    north, east = _degrees(latitude), _degrees(longitude)
    known = ~(np.isnan(north) | np.isnan(east))
    if not known.all():
        north, east = north[known], east[known]
    letters = _letters(north, east, precision)
    offsets = np.zeros(length + 1, np.int32)
    np.cumsum(known, out=offsets[1:])
    offsets *= precision
    return pa.StringArray.from_buffers(length, buffer(offsets), buffer(letters))


def _degrees(column: Column) -> Degrees:
    values: Degrees = column.to_numpy(zero_copy_only=False)  # null becomes NaN
    return values


def _letters(north: Degrees, east: Degrees, precision: int) -> npt.NDArray[np.uint8]:
    """The characters, shape (n, precision)."""
    total = 5 * precision
    rows = _cells(north, 90.0, total // 2)
    columns = _cells(east, 180.0, (total + 1) // 2)
    low, high = (columns, rows) if total % 2 else (rows, columns)  # the highest bit is longitude's
    code = _spaced(low) | _spaced(high) << np.uint64(1)
    shifts = np.arange(total - 5, -1, -5, dtype=np.uint64)
    return _ALPHABET[(code[:, None] >> shifts & np.uint64(31)).astype(np.intp)]


def _cells(degrees: Degrees, limit: float, bits: int) -> Bits:
    """The number of the cell along one axis, counted from the south or the west."""
    scaled = (degrees + limit) * ((1 << bits) / (2 * limit))
    return np.clip(scaled, 0, (1 << bits) - 1).astype(np.uint64)


def _spaced(bits: Bits) -> Bits:
    for shift, mask in _MASKS:
        bits = (bits | bits << np.uint64(shift)) & np.uint64(mask)
    return bits
