"""Sketches of distinct values that can be joined: the smallest of their hashes (bottom-k).

A sketch is a sorted run of 64-bit hashes, each 8 bytes big-endian. With fewer than `K` it holds every value
and its size is their number; with `K` the number follows from how far the largest one lies (standard error
3 %). Joining gives the sketch of the union: it is associative, commutative and idempotent.

Where many are kept they may be cut to fewer: functions that take `k` hold a sketch of `k` values or more to
have all values up to its largest, and nothing to be known of those behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import unpack

import numpy as np
import numpy.typing as npt

from tidegate.steps.distinct_values import Column, numpy_buffer

K = 1024
EMPTY = b""

_LONGEST = 64  # bytes of a value that are hashed; of a longer one its head and its tail
_TAIL = 16
_BIG = np.dtype(">u8")
_NATIVE = np.dtype("<u8")
_1, _2, _3 = (np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_30, _27, _31 = (np.uint64(one) for one in (30, 27, 31))

Hashes = npt.NDArray[np.uint64]


def hashes(values: Column) -> Hashes:
    """The hash of each value of a text column without nulls."""
    count = len(values)
    if not count:
        return np.empty(0, np.uint64)
    ends = numpy_buffer(values.buffers()[1], np.int32, count + 1, values.offset * 4).astype(np.int64)
    text = numpy_buffer(values.buffers()[2], np.uint8)
    starts, lengths = ends[:-1], np.diff(ends)
    width = min(int(lengths.max()), _LONGEST)
    words = max(-(-width // 8), 1)
    rows = np.zeros((count, words * 8), np.uint8)
    if int(lengths.min()) == int(lengths.max()) == width:
        rows[:, :width] = text[starts[0] : ends[-1]].reshape(count, width)
    elif width:
        at = np.arange(width)
        there = at < lengths[:, None]
        places = starts[:, None] + at
        if (long := lengths > _LONGEST).any():
            places[long, -_TAIL:] = ends[1:][long, None] - _TAIL + np.arange(_TAIL)
        rows[:, :width][there] = text[places[there]]
    found = lengths.astype(np.uint64) * _1
    shortest = int(lengths.min())
    for number, word in enumerate(rows.view(_NATIVE).T):
        mixed = _mixed(found ^ word)
        found = mixed if shortest > 8 * number else np.where(lengths > 8 * number, mixed, found)
    return found


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64."""
    values = values + _1
    values = (values ^ (values >> _30)) * _2
    values = (values ^ (values >> _27)) * _3
    return values ^ (values >> _31)


def sketch(ordered: Hashes) -> bytes:
    """The sketch of distinct hashes in ascending order."""
    return ordered[:K].astype(_BIG).tobytes()


def union(sketches: Iterable[bytes], k: int = K) -> bytes:
    """The sketch of all their values; as far as each of `k` values or more reaches."""
    parts = [one for one in sketches if one]
    if not parts:
        return EMPTY
    if len(parts) == 1 or parts.count(parts[0]) == len(parts):
        return parts[0]
    if len(parts) == 2 and k == K and _within(*sorted(parts, key=len)):
        return max(parts, key=len)
    if sum(map(len, parts)) <= 256:  # a few: numpy would cost more than it saves
        values = {part[at : at + 8] for part in parts for at in range(0, len(part), 8)}
        return b"".join(sorted(values))
    ordered = np.unique(np.frombuffer(b"".join(parts), _BIG).astype(np.uint64))
    reach = min((part[-8:] for part in parts if len(part) >= 8 * k), default=None)
    if reach is not None:
        ordered = ordered[: np.searchsorted(ordered, np.uint64(int.from_bytes(reach, "big")), "right")]
    return sketch(ordered)


def _within(small: bytes, large: bytes) -> bool:
    """Whether the sketch of both is the large one."""
    values = set(values_of(small)).difference(values_of(large))
    return not values or (len(large) == 8 * K and min(values) > int.from_bytes(large[-8:], "big"))


def estimate(one: bytes, k: int = K) -> int:
    """How many distinct values it stands for."""
    count = len(one) // 8
    if count < k:
        return count
    largest = int.from_bytes(one[-8:], "big")
    return max(count, round((count - 1) * (1 << 64) / max(largest, 1)))


def distinct_of(sketches: Sequence[bytes], k: int = K) -> int:
    """How many distinct values several sketches stand for together."""
    joined = b"".join(sketches)
    if max(map(len, sketches), default=0) >= 8 * k:
        return estimate(union(sketches, k), k)
    if len(joined) >= 8 * K:
        return estimate(union(sketches))
    return len(set(values_of(joined)))


def values_of(one: bytes) -> tuple[int, ...]:
    """The hashes in a sketch, or in several behind one another."""
    return unpack(f">{len(one) // 8}Q", one)
