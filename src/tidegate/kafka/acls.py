"""What each role asks of the broker: the ACLs of its user, one row an operation on a resource.

deploy/kafka/acls.csv is this table. Whoever may write to a raw topic may write as any fleet, and what an
enriched topic holds is stored as it stands there: write access to enriched topics is the worker's alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tidegate.contracts.topics import (
    ALERTS,
    CONTROL,
    FAILURES,
    HEALTH,
    PARTIALS,
    REJECTS,
    STREAMS,
    enriched,
    raw,
)

Resource = Literal["topic", "group"]
Pattern = Literal["literal", "prefixed"]


class Acl(NamedTuple):
    """`User:<role>` may do `operation` on what `pattern` and `name` say."""

    role: str
    operation: str  # as kafka-acls.sh writes it
    resource: Resource
    pattern: Pattern
    name: str


RAW = tuple(raw(stream) for stream in STREAMS)
ENRICHED = tuple(enriched(stream) for stream in STREAMS)
WORKER_TOPICS = "tidegate-worker"  # prefix of those that Faust keeps
ROLES = ("gateway", "worker", "sink", "api", "notify", "operator")
"""`operator` is whoever runs `tidegate topics`, `check`, `verify`, `replay`, `fleet` and `restore`."""

_READS: dict[str, tuple[str, ...]] = {
    "gateway": (),
    "worker": (*RAW, PARTIALS, HEALTH),
    "sink": (*ENRICHED, ALERTS),
    "api": (*RAW, FAILURES, ALERTS, HEALTH),
    "notify": (ALERTS,),
    "operator": (*RAW, *ENRICHED, FAILURES, ALERTS, REJECTS, HEALTH),
}
_WRITES: dict[str, tuple[str, ...]] = {
    "gateway": RAW,
    "worker": (*ENRICHED, FAILURES, REJECTS, ALERTS, HEALTH, PARTIALS, CONTROL),
    "sink": (),
    "api": (CONTROL,),  # acknowledgements and silences
    "notify": (),
    "operator": (*RAW, ALERTS, CONTROL),
}
_GROUPS: dict[str, tuple[str, ...]] = {
    "gateway": (),
    "worker": ("tidegate-worker",),
    "sink": ("tidegate-sink",),
    "api": (),
    "notify": ("tidegate-notify",),
    "operator": ("tidegate-replay", "tidegate-sink-alerts"),
}


def acls(role: str) -> Iterator[Acl]:
    """Every row of a role."""
    for operation in ("Describe", "DescribeConfigs"):
        yield Acl(role, operation, "topic", "prefixed", "tidegate")
    yield Acl(role, "Describe", "group", "prefixed", "tidegate")
    yield Acl(role, "Read", "topic", "literal", CONTROL)
    for name in _READS[role]:
        yield Acl(role, "Read", "topic", "literal", name)
    for name in _WRITES[role]:
        yield Acl(role, "Write", "topic", "literal", name)
    if role == "worker":
        for operation in ("Create", "Read", "Write"):
            yield Acl(role, operation, "topic", "prefixed", WORKER_TOPICS)
    if role == "operator":
        for operation in ("Create", "Alter", "AlterConfigs"):
            yield Acl(role, operation, "topic", "prefixed", "tidegate")
    for name in _GROUPS[role]:
        yield Acl(role, "Read", "group", "prefixed", name)


def table() -> str:
    """All rows as CSV."""
    rows = [Acl._fields, *(acl for role in ROLES for acl in acls(role))]
    return "".join(",".join(row) + "\n" for row in rows)


def command(acl: Acl, user: str) -> str:
    """What gives a user the right that a row says."""
    pattern = " --resource-pattern-type prefixed" if acl.pattern == "prefixed" else ""
    return (
        f"kafka-acls.sh --bootstrap-server … --add --allow-principal User:{user}"
        f" --operation {acl.operation} --{acl.resource} {acl.name}{pattern}"
    )
