"""The radio band of a channel number.

Bands reuse numbers: 1 to 14 is read as 2.4 GHz and 32 to 177 as 5 GHz, though 6 GHz has those too;
what remains up to 233 exists in 6 GHz alone. No field of an event tells channel 37 in 6 GHz from one in
5 GHz (protocol AX and BE work in all three bands), so the older band wins.
"""

from __future__ import annotations

from tidegate.steps.distinct_values import Column, distinct, same, spread


def band_of(channel: int | None) -> str:
    """'2.4', '5' or '6' (GHz), '' unknown."""
    if channel is None or not 1 <= channel <= 233:
        return ""
    if channel <= 14:
        return "2.4"
    return "5" if 32 <= channel <= 177 else "6"


def bands(channel: Column) -> Column:
    if channel.null_count == len(channel):
        return same("", len(channel))
    codes, values = distinct(channel)
    return spread([band_of(value) for value in values], codes)
