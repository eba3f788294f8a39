"""Times: units by magnitude, and device clocks that are far off.

The vendor's client events mix seconds, milliseconds and microseconds: a number up to the end of the
year 2299 in seconds is seconds, up to that in milliseconds is milliseconds, above it microseconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.contracts.formats import MILLIS_LIMIT, SECONDS_LIMIT
from tidegate.steps.distinct import Column, buffer, numpy_buffer, valid, whole_numbers

TIME = pa.timestamp("us", tz="UTC")
Micros = npt.NDArray[np.int64]


def microseconds(values: Micros) -> Micros:
    """Numbers of any of the three units as µs since 1970 UTC."""
    size = np.abs(values)
    scale = np.where(size <= SECONDS_LIMIT, 1_000_000, np.where(size <= MILLIS_LIMIT, 1_000, 1))
    return values * scale


def normal(column: Column) -> Column:
    """An int64 column of any of the three units in µs; nulls stay."""
    if column.null_count == len(column):
        return column
    validity, data = column.buffers()
    values = microseconds(numpy_buffer(data, np.int64, column.offset + len(column)))
    return pa.Array.from_buffers(
        pa.int64(), len(column), [validity, buffer(values)], column.null_count, column.offset
    )


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
