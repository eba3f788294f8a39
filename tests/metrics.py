"""Values in the text of a role's `/metrics`."""

from __future__ import annotations


def sample(text: str, series: str) -> float:
    """The value of one series, named with its labels as it stands there; 0 if it is not there."""
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    return 0.0


def total(text: str, metric: str) -> float:
    """The sum of a metric over its labels."""
    found = 0.0
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.partition("{")[0] == metric:
            found += float(value)
    return found
