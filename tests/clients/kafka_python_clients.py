"""confluent-kafka, aiokafka and kafka-python with their defaults.

Usage: python kafka_python_clients.py confluent|aiokafka|kafka_python ACTION BOOTSTRAP TOPIC GROUP [VALUE ...]

produce writes each value with the header fleet=demo, idempotent as an idempotent producer; transactions
commits the first half of them and aborts the second; consume reads as a group, from the beginning, and prints
the values that were named until it has all.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiokafka
import confluent_kafka
import kafka

HEADERS = [("fleet", b"demo")]


def with_confluent(action: str, bootstrap: str, topic: str, group: str, values: list[str]) -> None:
    servers = {"bootstrap.servers": bootstrap}
    if action == "consume":
        consumer = confluent_kafka.Consumer({**servers, "group.id": group, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        wanted = set(values)
        while wanted:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                tell(wanted, message.value())
        consumer.close()
        return
    own = {"transactional.id": group} if action == "transactions" else {}
    producer = confluent_kafka.Producer({**servers, **own})

    def send(some: list[str]) -> None:
        errors: list[object] = []
        for value in some:
            producer.produce(topic, value, headers=HEADERS, on_delivery=lambda error, _: errors.append(error))
        producer.flush(60)
        assert errors == [None] * len(some), errors

    if action == "transactions":
        half = len(values) // 2
        producer.init_transactions(60)
        producer.begin_transaction()
        send(values[:half])
        producer.commit_transaction(60)
        producer.begin_transaction()
        send(values[half:])
        producer.abort_transaction(60)
    else:
        send(values)


async def with_aiokafka(action: str, bootstrap: str, topic: str, group: str, values: list[str]) -> None:
    if action == "consume":
        consumer = aiokafka.AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
        )
        async with consumer:
            wanted = set(values)
            while wanted:
                tell(wanted, (await consumer.getone()).value)
        return
    own: dict[str, dict[str, Any]] = {
        "produce": {},
        "idempotent": {"enable_idempotence": True},
        "transactions": {"transactional_id": group},
    }
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, **own[action]) as producer:
        if action != "transactions":
            for value in values:
                await producer.send_and_wait(topic, value.encode(), headers=HEADERS)
            return
        half = len(values) // 2
        await producer.begin_transaction()
        for value in values[:half]:
            await producer.send_and_wait(topic, value.encode(), headers=HEADERS)
        await producer.commit_transaction()
        await producer.begin_transaction()
        for value in values[half:]:
            await producer.send_and_wait(topic, value.encode(), headers=HEADERS)
        await producer.abort_transaction()


def with_kafka_python(action: str, bootstrap: str, topic: str, group: str, values: list[str]) -> None:
    if action == "consume":
        wanted = set(values)
        consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
        )
        for record in consumer:
            tell(wanted, record.value)
            if not wanted:
                break
        consumer.close()
        return
    own = {"transactional_id": group} if action == "transactions" else {}
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, **own)

    def send(some: list[str]) -> None:
        for value in some:
            producer.send(topic, value.encode(), headers=HEADERS).get(60)

    if action == "transactions":
        half = len(values) // 2
        producer.init_transactions()
        producer.begin_transaction()
        send(values[:half])
        producer.commit_transaction()
        producer.begin_transaction()
        send(values[half:])
        producer.abort_transaction()
    else:
        send(values)
    producer.close()


def tell(wanted: set[str], value: bytes | None) -> None:
    text = (value or b"").decode().strip()
    if text in wanted:
        wanted.discard(text)
        print(text, flush=True)


if __name__ == "__main__":
    library, action, bootstrap, topic, group, *values = sys.argv[1:]
    if library == "confluent":
        with_confluent(action, bootstrap, topic, group, values)
    elif library == "kafka_python":
        with_kafka_python(action, bootstrap, topic, group, values)
    else:
        asyncio.run(with_aiokafka(action, bootstrap, topic, group, values))
