"""MAC addresses: vendor by prefix, and whether the address is randomised (locally administered)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.lookups.vendors import Vendors
from tidegate.steps.distinct_values import Column, numpy_buffer, same, take

_NIBBLE = np.zeros(256, np.int64)
for _value, _digit in enumerate("0123456789abcdef"):
    _NIBBLE[ord(_digit)] = _NIBBLE[ord(_digit.upper())] = _value
_PLACES = np.array([0, 1, 3, 4, 6, 7, 9, 10, 12])  # of the leading nine digits in 00:1a:2b:3c:4d:5e
_WEIGHTS = 16 ** np.arange(8, -1, -1, dtype=np.int64)
_LOCAL = 1 << 29  # the second lowest bit of the first octet, in the leading 36 bits
_WIDTH = 17


def describe(macs: Column, vendors: Vendors) -> tuple[Column, Column]:
    """Vendor and `randomised` of canonical MACs. A null, like a randomised address, has vendor ''."""
    length = len(macs)
    if macs.null_count == length:
        return same("", length), same(False, length, pa.bool_())
    leading, known = _leading(macs)
    randomised = leading & _LOCAL != 0
    numbers = vendors.find(leading)
    numbers[randomised] = 0
    if known is not None:
        numbers[~known] = 0
        randomised &= known
    return take(vendors.names, numbers), pa.array(randomised)


def _leading(macs: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    """The leading 36 bits of each address, and where there is one (None: everywhere)."""
    length = len(macs)
    _, offsets, data = macs.buffers()
    starts = numpy_buffer(offsets, np.int32, length + 1, macs.offset * 4)
    text = numpy_buffer(data, np.uint8)
    known = np.diff(starts) == _WIDTH
    if known.all():
        places = text[starts[0] : starts[-1]].reshape(length, _WIDTH)[:, _PLACES]
        return _NIBBLE[places] @ _WEIGHTS, None
    leading = np.zeros(length, np.int64)
    leading[known] = _NIBBLE[text[starts[:-1][known][:, None] + _PLACES]] @ _WEIGHTS
    return leading, known
