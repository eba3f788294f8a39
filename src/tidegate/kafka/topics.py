"""The topics of one Kafka: creating them, and the epoch that names their life.

Safe to run again and from two places at once: Kafka creates a topic once, and whoever created the
control topic writes the epoch into it. An epoch that is there is never written over with another.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from tidegate import keyfile
from tidegate.contracts.topics import CONTROL, EPOCH_KEY, PARTITIONED
from tidegate.errors import RetryLater, Stop
from tidegate.kafka import control
from tidegate.kafka.connection import Connection, connection
from tidegate.kafka.control import EpochRecord
from tidegate.kafka.groupless import ATTEMPT_SECONDS, client
from tidegate.kafka.write_record import write_record
from tidegate.service import wait
from tidegate.settings import Settings

log = logging.getLogger(__name__)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CONTROL_BYTES = 65_536  # the largest record of the control topic
VISIBLE_SECONDS = 15.0  # from a topic's creation to its place in the metadata
MINTER_SECONDS = 10.0  # how long the creator of the control topic gets to write its epoch


class TopicSet(NamedTuple):
    """What `ensure_topics` found or made."""

    epoch: str
    created: tuple[str, ...]  # names of the topics that did not exist before
    minted: bool  # whether this call wrote the epoch


def mint_epoch() -> str:
    """A new ULID: 48 bits of milliseconds and 80 random bits as 26 Crockford base-32 characters."""
    value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def ensure_topics(settings: Settings) -> TopicSet:
    """Create what is missing and see to it that there is an epoch.

    Draws the key that control records are signed with where there is none. Raises RetryLater while the broker
    is away, Stop when a topic has fewer partitions than
    `kafka_partitions` says (more are fine) or the topics do not agree on their number.
    """
    keyfile.load_or_create(settings.control_key_path)
    admin = AdminClient(client(connection(settings)))
    existing = _partition_counts(admin)
    # The control topic comes last: where it is, the others are.
    created = _create(admin, [name for name in PARTITIONED if name not in existing], settings)
    control_is_mine = bool(_create(admin, [] if CONTROL in existing else [CONTROL], settings))
    check_partitions(_visible_counts(admin), settings.kafka_partitions)

    epoch = _wait_for_record(connection(settings), 0.0 if control_is_mine else MINTER_SECONDS)
    minted = epoch is None
    if epoch is None:
        epoch = _write_epoch(connection(settings), mint_epoch())
    elif created:
        log.warning(
            "epoch %s is older than the topics %s made now; if they were deleted by hand, the sink will"
            " refuse offsets that it has stored before",
            epoch,
            ", ".join(created),
        )
    return TopicSet(epoch, (*created, *([CONTROL] if control_is_mine else [])), minted)


def read_epoch(kafka: Connection, *, timeout_seconds: float = 10.0) -> str:
    """The epoch of the topics behind `kafka`, waiting up to `timeout_seconds` for it to be there.

    Raises RetryLater when the broker is away or `tidegate topics` has not run yet.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            epoch = _epoch(kafka)
            if epoch is not None:
                return epoch
            reason = f"no epoch in {CONTROL} yet: run `tidegate topics`"
        except RetryLater as error:
            reason = str(error)
        if time.monotonic() >= deadline:
            raise RetryLater(reason)
        time.sleep(0.2)


def run(settings: Settings) -> int:
    """`tidegate topics`: wait for the broker, create, say what was done. Returns the exit status."""
    topics = wait.require(partial(ensure_topics, settings), log)
    log.info(
        "epoch %s (%s); created %s",
        topics.epoch,
        "new" if topics.minted else "was there",
        ", ".join(topics.created) or "nothing",
    )
    return 0


def partition_counts(kafka: Connection, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each topic has; one that does not exist is left out. Raises RetryLater."""
    counts = _partition_counts(AdminClient(client(kafka)))
    return {topic: counts[topic] for topic in topics if topic in counts}


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    try:
        topics = admin.list_topics(timeout=ATTEMPT_SECONDS).topics
    except KafkaException as error:
        raise _away(error) from error
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def _create(admin: AdminClient, names: Iterable[str], settings: Settings) -> list[str]:
    """Create topics; returns those that this call made, and not somebody else in the meantime."""
    new = [_new_topic(name, settings) for name in names]
    if not new:
        return []
    created = []
    for name, future in admin.create_topics(
        new, request_timeout=ATTEMPT_SECONDS * 4, operation_timeout=ATTEMPT_SECONDS * 2
    ).items():
        try:
            future.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code in (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION):
                raise Stop(f"Kafka refuses to create {name}: {error.args[0].str()}") from error
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _away(error) from error
        else:
            created.append(name)
    return created


def _new_topic(name: str, settings: Settings) -> NewTopic:
    config = {"max.message.bytes": str(settings.kafka_max_record_bytes)}
    if settings.kafka_replication > 2:
        config["min.insync.replicas"] = "2"
    if name == CONTROL:
        # Not compacted: whoever could write there would push records out by their keys.
        config |= {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(CONTROL_BYTES)}
        partitions = 1
    else:
        config["retention.ms"] = str(settings.kafka_retention_hours * 3_600_000)
        # By the sender's clock, one that is a day off would expire early, or be refused by the broker.
        config["message.timestamp.type"] = "LogAppendTime"
        partitions = settings.kafka_partitions
    return NewTopic(name, partitions, settings.kafka_replication, config=config)


def _visible_counts(admin: AdminClient) -> dict[str, int]:
    """The partition counts, once what was created has reached every broker's metadata."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while True:
        counts = _partition_counts(admin)
        missing = [name for name in (*PARTITIONED, CONTROL) if name not in counts]
        if not missing:
            return counts
        if time.monotonic() >= deadline:
            raise RetryLater(f"topics created but not visible yet: {', '.join(missing)}")
        time.sleep(0.1)


def require_topics(settings: Settings) -> int:
    """The number of partitions of the topics, for a role that is about to use them.

    Raises RetryLater while topics are missing or the broker is away, Stop where they cannot work: fewer
    partitions than `kafka_partitions`, not the same number everywhere, or another limit of a record.
    """
    admin = AdminClient(client(connection(settings)))
    counts = _partition_counts(admin)
    missing = [name for name in (*PARTITIONED, CONTROL) if name not in counts]
    if missing:
        raise RetryLater(f"no topic {', '.join(missing)}: run `tidegate topics`")
    check_partitions(counts, expected_partitions(settings, counts[PARTITIONED[0]]))
    check_record_sizes(record_sizes(admin), settings.kafka_max_record_bytes)
    return counts[PARTITIONED[0]]


def expected_partitions(settings: Settings, found: int) -> int:
    """How many partitions a role insists on: `kafka_partitions`. Where that was left as it is, topics as
    `tidegate up` makes them will do too, so that a role or a tool can be started beside it.
    """
    if found == settings.up_partitions and settings.kafka_partitions == Settings().kafka_partitions:
        return found
    return settings.kafka_partitions


def check_partitions(counts: Mapping[str, int], wanted: int) -> None:
    """Raise Stop unless the topics agree on a number of partitions that is at least `wanted`."""
    found = {name: counts[name] for name in PARTITIONED}
    short = [f"{name} has {count}" for name, count in found.items() if count < wanted]
    if short:
        raise Stop(
            f"kafka_partitions is {wanted}, but {'; '.join(short)}. Set kafka_partitions to what is there,"
            " or add partitions to all the tidegate topics alike"
        )
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in found.items())
        raise Stop(f"the tidegate topics must all have the same number of partitions, found {listed}")


def require_record_size(settings: Settings) -> None:
    """Raise Stop where the topics' limit of a record is not `kafka_max_record_bytes`, RetryLater while the
    broker is away."""
    admin = AdminClient(client(connection(settings)))
    check_record_sizes(record_sizes(admin), settings.kafka_max_record_bytes)


def record_sizes(admin: AdminClient) -> dict[str, int]:
    """The largest record of each topic that the flow goes through, as far as the broker tells it."""
    sizes = {}
    for name in PARTITIONED:
        asked = ConfigResource(ResourceType.TOPIC, name)
        try:
            found = admin.describe_configs([asked], request_timeout=ATTEMPT_SECONDS)[asked].result()
        except KafkaException as error:
            if error.args[0].code() in _NOT_TOLD:
                continue
            raise _away(error) from error
        size = found.get("max.message.bytes")
        if size is not None and str(size.value).isdigit():
            sizes[name] = int(size.value)
    return sizes


_NOT_TOLD = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART)


def check_record_sizes(sizes: Mapping[str, int], wanted: int) -> None:
    """Raise Stop unless the topics have this limit. A role that is set to less than another would refuse
    what that one has written."""
    other = [f"{name} has {size}" for name, size in sizes.items() if size != wanted]
    if other:
        raise Stop(
            f"kafka_max_record_bytes is {wanted}, but of max.message.bytes {'; '.join(other)}."
            " Set kafka_max_record_bytes alike for all roles, and max.message.bytes of the topics to it"
        )


def _wait_for_record(kafka: Connection, seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while (epoch := _epoch(kafka)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return epoch


def _epoch(kafka: Connection) -> str | None:
    """The epoch in force, None for none. Raises RetryLater when the broker is away or fails, and where an
    epoch is signed with a key that is not here.
    """
    found, _ = control.read(kafka)
    if not found.epoch and found.foreign_epochs:
        raise RetryLater(
            f"the epoch in {CONTROL} is signed with another key than those of {kafka.control_key_file}: bring"
            " the roles' control_key_file. Only where it is lost: delete the topic, and `tidegate topics`"
        )
    return found.epoch or None


def _write_epoch(kafka: Connection, mine: str) -> str:
    """Write an epoch and return the one that holds.

    Two writers can only meet when the creator of the topic died before it wrote; the first in the log holds.
    """
    found, _ = control.read(kafka)
    value = msgspec.json.encode(EpochRecord(mine, datetime.now(UTC).isoformat()))
    write_record(kafka, CONTROL, EPOCH_KEY, value, found.signed(EPOCH_KEY, value, epoch=mine))
    epoch = _epoch(kafka)
    if epoch is None:
        raise RetryLater(f"the epoch written to {CONTROL} cannot be read back")
    return epoch


def _away(error: KafkaException) -> RetryLater:
    return RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}")
