"""received: when an event came in, as far as it can be true.

The gateway's clock, or a producer's, says it. Days and the time to live are counted by it: an event that
seems older than its table keeps would be taken and then deleted, without a word. Such a time, and one that
lies ahead, gives way to that of the record, which on topics that Tidegate made is the broker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

HOUR = 3_600_000_000  # µs
DAY = 24 * HOUR
AHEAD = 25 * HOUR  # a clock that is a day off is let be

Times = npt.NDArray[np.int64]


def written_at(seconds: float | None, now: int) -> int:
    """When a record was written, µs: what it says itself, `now` where it says nothing or what cannot be.
    Without LogAppendTime it is the sender who says it."""
    if seconds is None or not 0 < seconds * 1_000_000 <= now + AHEAD:
        return now
    return round(seconds * 1_000_000) or now


def kept_days(fleets: pa.Array[Any], own: Mapping[str, int], days: int) -> int | Times:
    """How many days each row is kept, by its fleet: `own` days of a fleet that has some, but no longer than
    the table's `days`; 0 for ever."""
    if not own:
        return days
    rows: Any = fleets if pa.types.is_dictionary(fleets.type) else fleets.dictionary_encode()
    kept = [kept_days_of(fleet, own, days) for fleet in rows.dictionary.to_pylist()]
    found: Times = np.array(kept, np.int64)[rows.indices.to_numpy()]
    return found


def kept_days_of(fleet: str, own: Mapping[str, int], days: int) -> int:
    """The same for one."""
    return min(filter(None, (own.get(fleet, 0), days)), default=0)


def bounded(said: pa.Array[Any], written: Times, *, keep_days: int | Times) -> tuple[pa.Array[Any], int]:
    """The received times `said`, those that cannot be (any before 1970) replaced by the time their record was
    `written`, and how many were. All in µs, of equal length; `keep_days` is what the table keeps, or keeps of
    each row's fleet, 0 for ever.
    """
    times = said.to_numpy(zero_copy_only=False)
    wrong = (times > written + AHEAD) | (times < 0)
    wrong |= (keep_days != 0) & (times < written - keep_days * DAY)
    count = int(np.count_nonzero(wrong))
    if not count:
        return said, 0
    return pa.array(np.where(wrong, written, times), pa.int64()), count


def bounded_one(said: int, written: int, *, keep_days: int) -> int:
    """The same for one."""
    if said > written + AHEAD or said < 0 or (keep_days and said < written - keep_days * DAY):
        return written
    return said
