"""Times: units by magnitude, and device clocks that are far off.

The vendor's client events mix seconds, milliseconds and microseconds: a number up to the end of the
year 2299 in seconds is seconds, up to that in milliseconds is milliseconds, above it microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.contracts.formats import MILLIS_LIMIT, SECONDS_LIMIT
from tidegate.steps.distinct_values import Column, buffer, valid, whole_numbers

TIME = pa.timestamp("us", tz="UTC")
Micros = npt.NDArray[np.int64]


def microseconds(values: Micros) -> Micros:
    """Numbers of any of the three units as µs since 1970 UTC."""
    size = np.abs(values)
    scale = np.where(size <= SECONDS_LIMIT, 1_000_000, np.where(size <= MILLIS_LIMIT, 1_000, 1))
    return values * scale


def normal(columns: Sequence[Column]) -> list[Column]:
    """int64 columns of any of the three units, of one length, in µs; nulls stay."""
    values = microseconds(np.stack([whole_numbers(column) for column in columns]))
    return [
        pa.Array.from_buffers(pa.int64(), len(column), [_validity(column), buffer(row)], column.null_count)
        for column, row in zip(columns, values, strict=True)
    ]


def _validity(column: Column) -> pa.Buffer | None:
    """Which values of a column are not null, from its first row on."""
    bits = column.buffers()[0]
    if bits is None or not column.offset:
        return bits
    return buffer(np.packbits(valid(column), bitorder="little"))


def event_times(timestamp: Column, received_at: Micros) -> Micros:
    """When the event happened by the device's clock; received_at where the event does not say. All in µs."""
    if timestamp.null_count == len(timestamp):
        return received_at
    times = whole_numbers(timestamp)
    return times if timestamp.null_count == 0 else np.where(valid(timestamp), times, received_at)


def skewed(event_time: Micros, received_at: Micros, seconds: int) -> Column:
    """Whether device time lies further than `seconds` from received time, either way."""
    far: Column = pa.array(np.abs(event_time - received_at) > seconds * 1_000_000)
    return far


def timestamps(column: Column) -> Column:
    """An int64 column of µs as timestamps, without copy."""
    times: Column = column.view(TIME)
    return times
