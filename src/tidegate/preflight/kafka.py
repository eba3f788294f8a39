"""Kafka: the topics, how many brokers keep them, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicMetadata

from tidegate.contracts.limits import largest_event
from tidegate.contracts.topics import CONTROL, PARTITIONED, STREAMS, enriched, raw
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.connection import connection
from tidegate.kafka.groupless import client
from tidegate.kafka.topics import check_partitions, check_record_sizes, expected_partitions
from tidegate.preflight.condition import Condition, missing, ok, warning, wrong
from tidegate.settings import Settings

SECONDS = 5.0  # one request
FLOW = (*(raw(stream) for stream in STREAMS), *(enriched(stream) for stream in STREAMS))
"""Topics whose records no one can make again."""

Values = Mapping[str, str]  # a topic's configuration; what the broker does not tell is not in it


class Topic(NamedTuple):
    name: str
    partitions: int
    replicas: int  # of the partition that has fewest
    in_sync: int
    values: Values

    def number(self, name: str) -> int | None:
        text = self.values.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else None


def inspect_kafka(settings: Settings) -> list[Condition]:
    """Everything about the topics, without changing anything. Raises RetryLater while Kafka is away."""
    admin = AdminClient(client(connection(settings)))
    try:
        found = admin.list_topics(timeout=SECONDS)
        names = [name for name in (*PARTITIONED, CONTROL) if name in found.topics]
        values = _configurations(admin, names)
    except KafkaException as error:
        raise RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}") from error
    topics = [_topic(found.topics[name], values.get(name, {})) for name in names]
    flow = [topic for topic in topics if topic.name in FLOW]
    conditions = list(_counts(topics, settings))
    if flow:
        conditions += _replication(topics, len(found.brokers))
        conditions += _retention(flow, settings)
        conditions += _sizes(flow, settings)
        conditions += _policies(topics)
        conditions += _elections(topics)
        conditions += _timestamps(flow)
    return conditions


def _configurations(admin: AdminClient, names: list[str]) -> dict[str, Values]:
    """Each topic's configuration; the embedded broker tells only what a topic was created with."""
    futures = {}
    for name in names:
        futures.update(
            admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)], request_timeout=SECONDS)
        )
    return {
        resource.name: {key: entry.value for key, entry in future.result().items() if entry.value is not None}
        for resource, future in futures.items()
    }


def _topic(found: TopicMetadata, values: Values) -> Topic:
    partitions = found.partitions.values()
    return Topic(
        str(found.topic),
        len(partitions),
        min((len(partition.replicas) for partition in partitions), default=0),
        min((len(partition.isrs) for partition in partitions), default=0),
        values,
    )


def _counts(topics: list[Topic], settings: Settings) -> Iterator[Condition]:
    counts = {topic.name: topic.partitions for topic in topics}
    absent = [name for name in (*PARTITIONED, CONTROL) if name not in counts]
    if absent:
        yield missing(f"topics: there is no {', '.join(absent)}", "run `tidegate topics`")
        return
    try:
        check_partitions(counts, expected_partitions(settings, counts[PARTITIONED[0]]))
    except Stop as error:
        yield wrong(f"topics: {error}", "no role starts on them as they are")
        return
    yield ok(f"topics: {len(PARTITIONED)} with {counts[PARTITIONED[0]]} partitions each, and {CONTROL}")


def _replication(topics: list[Topic], brokers: int) -> Iterator[Condition]:
    fewest = min(topic.replicas for topic in topics)
    acks = {topic.name: topic.number("min.insync.replicas") for topic in topics}
    refused = [topic.name for topic in topics if topic.in_sync < (acks[topic.name] or 1)]
    alone = [topic.name for topic in topics if topic.replicas > 2 and (acks[topic.name] or 1) < 2]
    if refused:
        yield wrong(
            f"replication: too few replicas in sync to write to {', '.join(refused)}",
            "bring the brokers back, or lower min.insync.replicas below the number of replicas",
        )
    if fewest == 1:
        yield warning(
            f"replication: each record is on 1 of {brokers} broker{'s' * (brokers > 1)}; if its disk is lost,"
            " events that were acknowledged and are not stored yet are lost with it",
            "three brokers, kafka_replication = 3 before `tidegate topics`",
        )
    if alone:
        yield warning(
            f"replication: min.insync.replicas is 1 for {', '.join(alone)}: one broker's ack is a 201",
            "set min.insync.replicas to 2",
        )
    if not refused and fewest > 1 and not alone:
        yield ok(f"replication: each record is on at least {fewest} brokers, acknowledged by at least 2")


def _retention(flow: list[Topic], settings: Settings) -> Iterator[Condition]:
    hours = settings.kafka_retention_hours
    short = []
    for topic in flow:
        kept = topic.number("retention.ms")
        if kept is not None and 0 <= kept < hours * 3_600_000:
            short.append(f"{topic.name} {kept / 3_600_000:.3g} h")
    bounded = [topic.name for topic in flow if (topic.number("retention.bytes") or -1) >= 0]
    if short:
        yield warning(
            f"retention: shorter than kafka_retention_hours ({hours}): {', '.join(short)}; what is not"
            " stored by then is lost",
            "raise retention.ms, or say by kafka_retention_hours that it is meant",
        )
    if bounded:
        yield warning(
            f"retention: retention.bytes bounds {', '.join(bounded)}: a flood drops records that nobody has"
            " read, and no metric sees it come",
            "set retention.bytes to -1 and bound the disk by retention.ms",
        )
    if not short and not bounded:
        yield ok(f"retention: at least {hours} h, whatever the size")


def _sizes(flow: list[Topic], settings: Settings) -> Iterator[Condition]:
    limit = settings.kafka_max_record_bytes
    sizes = {topic.name: topic.number("max.message.bytes") for topic in flow}
    try:
        check_record_sizes({name: size for name, size in sizes.items() if size is not None}, limit)
    except Stop as error:
        yield wrong(f"record size: {error}", "no role starts on them as they are")
        return
    most = largest_event(limit)
    yield ok(
        f"record size: up to {limit} bytes; an event up to {most}, over HTTP up to"
        f" {settings.gateway_max_event_bytes}"
    )


def _policies(topics: list[Topic]) -> Iterator[Condition]:
    by_name = {topic.name: topic.values.get("cleanup.policy", "") for topic in topics}
    compacted = [name for name in FLOW if "compact" in by_name.get(name, "")]
    control = next((topic for topic in topics if topic.name == CONTROL), None)
    if compacted:
        yield wrong(
            f"clean-up: {', '.join(compacted)} would be compacted: records have no keys there, and holes"
            " are gaps to the sink",
            "set cleanup.policy to delete",
        )
    kept = control is None or _is_kept(control)
    if not kept:
        yield wrong(
            f"clean-up: {CONTROL} would lose records by age, size or key, and the epoch with them",
            "set cleanup.policy to delete, and retention.ms and retention.bytes to -1",
        )
    if not compacted and kept:
        yield ok("clean-up: the flow by age, the epoch never")


def _is_kept(control: Topic) -> bool:
    """Whether no record of the topic goes; what a broker does not tell is taken as it was asked for."""
    if "compact" in control.values.get("cleanup.policy", ""):
        return False
    return all(control.values.get(name, "-1") == "-1" for name in ("retention.ms", "retention.bytes"))


def _elections(topics: list[Topic]) -> Iterator[Condition]:
    unclean = [topic.name for topic in topics if topic.values.get("unclean.leader.election.enable") == "true"]
    if unclean:
        yield wrong(
            f"elections: a replica that lags may become leader of {', '.join(unclean)}; what it lacks was"
            " acknowledged and would be lost",
            "set unclean.leader.election.enable to false",
        )
    elif any("unclean.leader.election.enable" in topic.values for topic in topics):
        yield ok("elections: only replicas in sync become leaders")


def _timestamps(flow: list[Topic]) -> Iterator[Condition]:
    by_sender = [topic.name for topic in flow if topic.values.get("message.timestamp.type") == "CreateTime"]
    if by_sender:
        yield warning(
            f"timestamps: {', '.join(by_sender)} take the sender's: a clock that is wrong there makes"
            " records expire early, or the broker refuse them",
            "set message.timestamp.type to LogAppendTime",
        )
    elif any("message.timestamp.type" in topic.values for topic in flow):
        yield ok("timestamps: the broker's own")
