"""What the sink's fence rests on: a commit by who is not in the group's present generation is refused."""

from __future__ import annotations

import secrets

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetCommitRequest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tidegate.local.broker import Broker
from tidegate.settings import Settings
from tidegate.sink.group import REFUSED, Membership, consumer, membership


async def commit(bootstrap: str, group: str, topic: str, who: Membership, offset: int) -> int:
    """The error code of a commit sent in the name of `who`."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        [node] = [broker.nodeId for broker in client.cluster.brokers()]
        topics = [(topic, [(0, offset, "")])]
        request = OffsetCommitRequest(group, who.generation, who.member, -1, topics)
        answer = await client.send(node, request)
        [(_, [(_, code)])] = answer.topics
        return int(code)
    finally:
        await client.close()


async def test_only_the_present_generation_may_commit(broker: Broker) -> None:
    name = f"fence-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, 2, 1)])[name].result()
    settings = Settings(kafka_bootstrap=broker.bootstrap, sink_group=name, kafka_session_timeout_ms=30_000)

    def join() -> tuple[Consumer, list[int]]:
        assigned: list[int] = []
        member = consumer(settings, lambda error: None)
        member.subscribe([name], on_assign=lambda _, partitions: assigned.append(len(partitions)))
        return member, assigned

    first, first_assigned = join()
    while not first_assigned:
        first.poll(0.05)
    before = membership(first)
    second, second_assigned = join()
    while not second_assigned or len(first_assigned) < 2:
        first.poll(0.05)
        second.poll(0.05)
    now = membership(first)
    assert now.member == before.member and now.generation > before.generation

    async def code(who: Membership, offset: int) -> int:
        return await commit(broker.bootstrap, name, name, who, offset)

    assert await code(now, 7) == KafkaError.NO_ERROR
    stale = [before, Membership(now.generation + 1, now.member), Membership(now.generation, "nobody")]
    for who in [*stale, Membership(-1, "")]:
        assert await code(who, 8) in REFUSED
    [committed] = first.committed([TopicPartition(name, 0)], timeout=5)
    assert committed.offset == 7
    first.close()
    second.close()
