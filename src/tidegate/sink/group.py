"""The sink's Kafka consumer: its configuration, and who it is within its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tidegate.kafka.group import group_options
from tidegate.settings import Settings

REFUSED = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID}
)
"""A commit so answered came from a member that the group has given up: its partitions are another's."""


class Membership(NamedTuple):
    generation: int
    member: str


def consumer(settings: Settings, on_error: Callable[[KafkaError], None]) -> Consumer:
    """A consumer of enriched topics: it commits nothing and seeks nowhere by itself."""
    largest = settings.kafka_max_record_bytes
    return Consumer(
        {
            **group_options(settings, settings.sink_group, "tidegate-sink", on_error),
            # Whoever is revoked gives up everything, so that a take-over reads a ledger that stands still.
            "partition.assignment.strategy": "roundrobin",
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "topic.metadata.refresh.interval.ms": 10_000,
            "max.partition.fetch.bytes": largest,
            "fetch.max.bytes": 4 * largest,
            "receive.message.max.bytes": 8 * largest,
            # What waits in the client beside the frames that the sink holds.
            "queued.max.messages.kbytes": max(settings.sink_buffer_bytes // 8 // 1024, 1024),
            "fetch.queue.backoff.ms": 20,
        }
    )


def hold(consumer: Consumer, assigned: Sequence[TopicPartition]) -> None:
    """Take partitions without reading them: whoever knows where to begin seeks there and resumes.

    At an offset that has to be looked up (the end, say), the answer could come behind the seek: librdkafka
    then asks once more and reads from there, past everything before it.
    """
    consumer.assign([TopicPartition(found.topic, found.partition, 0) for found in assigned])
    if assigned:
        consumer.pause(list(assigned))


def membership(consumer: Consumer) -> Membership:
    """The generation that commits go out with now, and the member's id."""
    return Membership(_generation(consumer.consumer_group_metadata()), str(consumer.memberid() or ""))


def _generation(metadata: Any) -> int:
    # librdkafka serialises it as "CGMDv2:", the generation as 32 bits little-endian, group, member, …
    text = bytes(metadata)
    if not text.startswith(b"CGMDv2:"):
        raise ValueError(f"unknown form of consumer group metadata: {text[:16]!r}")
    return int.from_bytes(text[7:11], "little", signed=True)
