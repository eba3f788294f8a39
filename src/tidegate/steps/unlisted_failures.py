"""Failures whose code the catalogue does not list, counted, so that it can be taught.

The counts feed a metric and `FailureCatalogue.with_learned`: a code that came once with a text has a stage
when it comes without one. Who keeps the pairs, and for how long, is the caller's business.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from tidegate.lookups.failures import FailureCatalogue, Seen
from tidegate.steps.distinct_values import distinct, number, take
from tidegate.steps.outcome import FAILURE

COLUMNS = ("failure_code", "sub_failure_code", "failure", "sub_failure")


def unlisted(batch: pa.RecordBatch, catalogue: FailureCatalogue) -> Counter[Seen]:
    """How often each failure that the catalogue does not list stands in a batch of client events."""
    codes, outcomes = distinct(batch.column("outcome"))
    if FAILURE not in outcomes:
        return Counter()
    failed = np.flatnonzero(codes == outcomes.index(FAILURE))
    lists = [take(batch.column(name), failed).to_pylist() for name in COLUMNS]
    numbers, seen = number(zip(*lists, strict=True))
    counts = np.bincount(numbers).tolist()
    found = {Seen(*one): count for one, count in zip(seen, counts, strict=True)}
    return Counter({one: count for one, count in found.items() if not catalogue.lists(one)})
