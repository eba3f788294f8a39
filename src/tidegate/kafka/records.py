"""Records at and behind an offset, by aiokafka within bounds: librdkafka unpacks whatever it gets.

They are those that a worker sees: records outside transactions, and those of committed ones. A batch or a
record that is refused unread (`batches`) comes as one record with `refused` set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaPartition

from tidegate.contracts.topics import TopicPartition
from tidegate.errors import RetryLater
from tidegate.kafka.bounded_fetch import bound, bound_once, refusal_of
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS

_FETCH_BYTES = 65_536  # wanted; a larger batch comes whole all the same
_WAIT_MS = 100

T = TypeVar("T")


class Found(NamedTuple):
    offset: int
    written: float  # seconds since 1970
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    refused: bool  # the value is its beginning, or empty


class Seen(NamedTuple):
    offset: int
    written: float


class Records:
    """Looks with a consumer that joins no group, a new one each time. Blocking; not inside an event loop."""

    def __init__(self, kafka: Connection, *, record_bytes: int | None = None) -> None:
        """`record_bytes` is the largest record that is read; by default what is bound in this process."""
        if record_bytes is None:
            bound_once()
        else:
            bound(record_bytes)
        self._options = kafka.aiokafka()

    def first(
        self, topic: str, partition: int, offset: int, *, seconds: float = ATTEMPT_SECONDS
    ) -> Found | None:
        """None where the partition ends before a record. Raises RetryLater while no answer comes."""

        async def look(consumer: Any) -> Found | None:
            async for _, record in _each(
                consumer, {KafkaPartition(topic, partition): offset}, seconds, most=1
            ):
                is_refused = refusal_of(record.headers) is not None
                headers = () if is_refused else record.headers
                return Found(record.offset, record.timestamp / 1000, record.value or b"", headers, is_refused)
            return None

        return self._ask(look, f"{topic} partition {partition} from offset {offset} on")

    def seen(
        self, topic: str, partition: int, start: int, end: int, *, seconds: float = ATTEMPT_SECONDS
    ) -> list[Seen]:
        """The records from `start` up to `end`. Raises RetryLater when nothing comes for `seconds`."""

        async def look(consumer: Any) -> list[Seen]:
            found = []
            async for _, record in _each(consumer, {KafkaPartition(topic, partition): start}, seconds):
                if record.offset >= end:
                    break
                found.append(Seen(record.offset, record.timestamp / 1000))
            return found

        return self._ask(look, f"{topic} partition {partition} from offset {start} on")

    def last(
        self, starts: Mapping[TopicPartition, int], *, seconds: float = ATTEMPT_SECONDS
    ) -> dict[TopicPartition, int | None]:
        """The offset of the last record of each partition, None where there is none from its start on.

        Raises RetryLater when nothing comes for `seconds`.
        """

        async def look(consumer: Any) -> dict[TopicPartition, int | None]:
            found: dict[TopicPartition, int | None] = dict.fromkeys(starts)
            offsets = {KafkaPartition(*partition): offset for partition, offset in starts.items()}
            async for partition, record in _each(consumer, offsets, seconds):
                found[TopicPartition(*partition)] = record.offset
            return found

        return self._ask(look, f"the ends of {', '.join(map(str, starts))}")

    def _ask(self, look: Callable[[Any], Awaitable[T]], what: str) -> T:
        try:
            return asyncio.run(self._with_consumer(look))
        except TimeoutError:
            raise RetryLater(f"the broker does not tell {what}") from None
        except (KafkaError, OSError) as error:
            raise RetryLater(f"{what}: {type(error).__name__}: {error}") from error

    async def _with_consumer(self, look: Callable[[Any], Awaitable[T]]) -> T:
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where the position is gone already
            isolation_level="read_committed",
            fetch_max_wait_ms=_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            request_timeout_ms=10_000,
        )
        try:
            return await look(consumer)
        finally:
            await consumer.stop()


async def _each(
    consumer: Any, offsets: Mapping[KafkaPartition, int], seconds: float, most: int | None = None
) -> AsyncIterator[tuple[KafkaPartition, Any]]:
    """The records of each partition from its offset up to the end as it is when it is reached, at most `most`
    of them at a time. Raises TimeoutError when nothing comes for `seconds`."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        await consumer.start()
    consumer.assign(list(offsets))
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
    waiting = set(offsets)
    deadline = loop.time() + seconds
    while waiting:
        async with asyncio.timeout_at(deadline):
            found = await consumer.getmany(*waiting, timeout_ms=_WAIT_MS, max_records=most)
        for partition, records in found.items():
            for record in records:
                yield partition, record
        if found:
            deadline = loop.time() + seconds
        for partition in list(waiting):
            end = consumer.last_stable_offset(partition)
            async with asyncio.timeout_at(deadline):
                if end is not None and await consumer.position(partition) >= end:
                    waiting.discard(partition)
        if waiting and loop.time() >= deadline:
            raise TimeoutError


def age(found: Found | Seen) -> float:
    """Seconds since a record was written."""
    return max(0.0, time.time() - found.written)
