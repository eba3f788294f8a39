"""consumer: the aiokafka consumer below Faust, for what Faust does not do as the protocol needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tidegate.worker.lanes import Place

log = logging.getLogger(__name__)

ASK_SECONDS = 30.0


class Standing(NamedTuple):
    """Where a partition stands."""

    committed: int | None
    beginning: int  # offset of the oldest record that the topic still has


class Consumer:
    """The consumer of a running Faust app; it lives in a thread of its own, and is used there only."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def generation(self) -> int:
        """Of the consumer group, as this member knows it."""
        generation: int = self._app.consumer_generation_id
        return generation

    async def standings(self, places: Iterable[Place]) -> dict[Place, Standing]:
        """Where each of these partitions stands. Raises what aiokafka raises, TimeoutError after 30 s."""
        ours = [TopicPartition(*place) for place in places]

        async def ask(consumer: Any) -> Any:
            committed = await asyncio.gather(*(consumer.committed(tp) for tp in ours))
            return committed, await consumer.beginning_offsets(ours) if ours else {}

        committed, beginnings = await self._in_thread(ask, ASK_SECONDS)
        return {
            (tp.topic, tp.partition): Standing(position, beginnings[tp])
            for tp, position in zip(ours, committed, strict=True)
        }

    async def seek(self, place: Place, offset: int) -> None:
        """Read on from `offset`; nothing where the partition is another's by now."""

        async def seek(consumer: Any) -> None:
            consumer.seek(TopicPartition(*place), offset)

        try:
            await self._in_thread(seek)
        except IllegalStateError as error:  # not ours any more: who has it now reads from the committed one
            log.info("%s", error)

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit these offsets. Raises what aiokafka raises where the group does not take them.

        No limit of time: a commit given up might still come through, and blocks of counts rely on knowing
        where a commit stands.
        """
        offsets = {
            TopicPartition(*place): OffsetAndMetadata(position, "") for place, position in positions.items()
        }
        await self._in_thread(lambda consumer: consumer.commit(offsets))

    def seen_end(self, place: Place) -> int:
        """The end of a partition as the last fetch told it; 0 where none did."""
        try:
            return self._app.consumer.highwater(TopicPartition(*place)) or 0
        except Exception:  # not assigned at this moment
            return 0

    async def _in_thread(self, action: Callable[[Any], Any], seconds: float | None = None) -> Any:
        thread = self._app.consumer._thread

        async def call() -> Any:
            return await action(thread._ensure_consumer())

        async with asyncio.timeout(seconds):
            return await thread.call_thread(call)
