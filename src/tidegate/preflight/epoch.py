"""Whether Kafka and ClickHouse belong together: the epoch of the topics beside those that were stored.

A new epoch is nothing wrong: topics were made anew, and the embedded broker does so at each start. Going
back to an older one is: then this is another Kafka than the one that ClickHouse was last written from.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tidegate.kafka.topics import CROCKFORD
from tidegate.preflight.condition import Condition, ok, require, wrong

CLOCKS = timedelta(hours=25)  # how far the clocks of those who mint epochs may be apart


def inspect_epoch(epoch: str, seen: Mapping[str, datetime]) -> Condition:
    """`epoch` is that of the control topic, `seen` when ClickHouse was last told of each one."""
    if not seen:
        return ok(f"epoch: {epoch}, the first one that ClickHouse sees")
    newest = max(seen, key=lambda name: seen[name])
    if epoch == newest:
        return ok(f"epoch: {epoch}, in Kafka and in ClickHouse")
    what = ""
    if epoch in seen:
        what = f"ClickHouse has gone on to {newest} since"
    else:
        minted, last = minted_at(epoch), minted_at(newest)
        if minted is not None and last is not None and minted < last - CLOCKS:
            what = f"ClickHouse does not know it and was last written in {newest}, which is younger"
    if not what:
        return ok(f"epoch: {epoch} in Kafka, a new one; ClickHouse was last written in {newest}")
    return wrong(
        f"epoch: Kafka is in {epoch}, but {what}: this Kafka and this ClickHouse do not belong together",
        "look at kafka_bootstrap and clickhouse_url; if going back to it is meant,"
        f" `tidegate sink accept-epoch {epoch}`",
    )


def require_epoch(epoch: str, seen: Mapping[str, datetime]) -> None:
    """Raise Stop where the epoch is not one to go on with; see `inspect_epoch`."""
    require([inspect_epoch(epoch, seen)])


def minted_at(epoch: str) -> datetime | None:
    """When a ULID was made; None for a name that is none."""
    head = epoch[:10]
    if len(epoch) != 26 or any(letter not in CROCKFORD for letter in head) or head[0] > "7":
        return None
    milliseconds = 0
    for letter in head:
        milliseconds = milliseconds * 32 + CROCKFORD.index(letter)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
