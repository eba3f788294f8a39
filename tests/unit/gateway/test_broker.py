"""The gateway's watch over its broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from tidegate.contracts.topics import STREAMS, raw
from tidegate.gateway.broker import Broker, State
from tidegate.kafka.connection import Connection


class Asked(Broker):
    """Connected, with a broker that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(Connection("nowhere"), ack_timeout_ms=1000, answer_ms=850, max_record_bytes=1000)
        self.answer = asyncio.Event()
        self.asked = asyncio.Event()
        self._producer = SimpleNamespace(
            _sender=SimpleNamespace(sender_task=asyncio.get_running_loop().create_future(), close=_nothing),
            client=SimpleNamespace(close=_nothing),
        )

    async def _partition_counts(self, client: Any) -> dict[str, int]:
        self.asked.set()
        await self.answer.wait()
        return {raw(stream): 1 for stream in STREAMS}


async def _nothing() -> None:
    pass


async def test_closing_in_the_moment_of_an_answer_ends_the_watch() -> None:
    broker = Asked()
    broker.start()
    await broker.asked.wait()
    broker.answer.set()
    ended, _ = await asyncio.wait([asyncio.create_task(broker.close())], timeout=10)
    assert ended


async def test_a_late_ack_is_an_answer() -> None:
    broker = Asked()
    acked = asyncio.get_running_loop().create_future()

    async def send(*_: Any, **__: Any) -> asyncio.Future[Any]:
        return acked

    broker._producer.send = send
    broker._producer.client.cluster = SimpleNamespace(partitions_for_topic=lambda topic: {0})
    sending = asyncio.create_task(broker.produce("client_events", 0, b"{}"))
    await asyncio.sleep(0)
    broker.state = State.STALLED
    acked.set_result(SimpleNamespace(offset=7))
    assert await sending == 7
    assert broker.state is State.READY
