"""What the worker's producer writes of tables, on each broker."""

from __future__ import annotations

import asyncio

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tidegate.kafka.connection import Connection
from tidegate.local.broker import Broker
from tidegate.worker.producer import MARK, MINUTES, Producer

CHANGES = [(b"a", b"1"), (b"b", b"2"), (b"a", None)]


def test_a_mark_follows_changes_and_both_are_awaited(own_broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    [made] = admin.create_topics([NewTopic(MINUTES, 1)]).values()
    made.result(30)
    producer = Producer(Connection(own_broker.bootstrap))
    acked: list[str] = []

    async def write() -> None:
        assert await producer.await_tables(0.0), "nothing is under way"
        producer.send_minutes(0, CHANGES, lambda: acked.append("first"))
        producer.send_minutes(0, CHANGES[:1], lambda: acked.append("second"))
        assert producer.table_bytes == 5 + 2
        assert not await producer.await_tables(0.3), "nobody has polled"
        assert acked == []
        waiting = asyncio.create_task(producer.await_tables(30.0))
        while not waiting.done():
            producer.poll()
            await asyncio.sleep(0.01)
        assert waiting.result()

    asyncio.run(write())
    assert acked == ["first", "second"] and producer.table_bytes == 0
    found = read(own_broker, 6)
    assert [one for one in found if one[0] != MARK] == [*CHANGES, CHANGES[0]]
    assert found[-1] == (MARK, b""), "nothing that counts is in the last batch"
    assert [key for key, _ in found].count(MARK) == 2


def read(broker: Broker, number: int) -> list[tuple[bytes | None, bytes | None]]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test"})
    consumer.assign([KafkaPartition(MINUTES, 0, 0)])
    try:
        found = [one for one in (consumer.poll(15) for _ in range(number)) if one is not None]
        return [(one.key(), one.value()) for one in found]
    finally:
        consumer.close()


def test_changes_that_no_broker_takes_are_not_awaited_for_ever() -> None:
    producer = Producer(Connection("127.0.0.1:1"))
    producer.send_minutes(0, CHANGES, lambda: None)

    async def wait() -> bool:
        return await producer.await_tables(0.3)

    assert not asyncio.run(wait())
