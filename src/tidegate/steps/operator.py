"""Country and operator of mobile connections."""

from __future__ import annotations

from tidegate.lookups.operators import UNKNOWN, Operators
from tidegate.steps.distinct_values import Column, distinct, same, spread


def describe(mccmnc: Column, operators: Operators) -> tuple[Column, Column]:
    """Country and operator columns; '' where there is no code or nobody knows it."""
    if mccmnc.null_count == len(mccmnc):
        return same("", len(mccmnc)), same("", len(mccmnc))
    codes, values = distinct(mccmnc)
    found = [UNKNOWN if value is None else operators.find(value) for value in values]
    return spread([one.country for one in found], codes), spread([one.name for one in found], codes)
