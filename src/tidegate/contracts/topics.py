"""The streams and the names of their topics, which users script against."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Stream = Literal["connection_logs", "client_events", "device_logs"]
STREAMS: tuple[Stream, ...] = get_args(Stream)

FAILURES = "tidegate.failures"  # one JSON document a failed attempt, keyed `fleet/site`
REJECTS = "tidegate.rejects"  # one JSON document a refused line, on the source's partition
ALERTS = "tidegate.alerts"
HEALTH = "tidegate.health"  # minute aggregates, keyed `fleet/site`
PARTIALS = "tidegate.partials"  # internal: partial counts on their way to HEALTH
CONTROL = "tidegate.control"  # signed: the epoch of these topics, and paused streams

EPOCH_KEY = b"epoch"  # the record of CONTROL that names the epoch


class TopicPartition(NamedTuple):
    """A partition of a topic; compares equal to aiokafka's and Faust's own."""

    topic: str
    partition: int


class StreamPartition(NamedTuple):
    """The partition of this number in the topics of a stream: raw and enriched records share it."""

    stream: Stream
    partition: int

    def __str__(self) -> str:
        return f"{self.stream} partition {self.partition}"


def raw(stream: Stream) -> str:
    return f"tidegate.{stream}.raw"


def enriched(stream: Stream) -> str:
    return f"tidegate.{stream}.enriched"


RAW_STREAMS: dict[str, Stream] = {raw(stream): stream for stream in STREAMS}
ENRICHED_STREAMS: dict[str, Stream] = {enriched(stream): stream for stream in STREAMS}
"""The stream of each topic."""

PARTITIONED: tuple[str, ...] = (
    *RAW_STREAMS,
    *ENRICHED_STREAMS,
    FAILURES,
    REJECTS,
    ALERTS,
    HEALTH,
    PARTIALS,
)
"""Topics that share one number of partitions; CONTROL has a single one."""
