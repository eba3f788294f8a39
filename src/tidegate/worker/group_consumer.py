"""The aiokafka consumer below Faust, for what Faust does not do as the protocol needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition

from tidegate.contracts.topics import TopicPartition

log = logging.getLogger(__name__)

ASK_SECONDS = 30.0
_LAST = "last record "  # in the metadata of a commit


class Offsets(NamedTuple):
    """Offsets of a partition."""

    committed: int | None
    last: int | None  # the record before it, where it is not at the offset before it
    beginning: int  # offset of the oldest record that the topic still has


class Position(NamedTuple):
    """What may be committed."""

    offset: int
    last: int  # of the record before it


class GroupConsumer:
    """The consumer of a running Faust app; it lives in a thread of its own, and is used there only."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def generation(self) -> int:
        """Of the consumer group, as this member knows it."""
        generation: int = self._app.consumer_generation_id
        return generation

    async def offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Offsets]:
        """Offsets of each of these partitions. Raises what aiokafka raises, TimeoutError after 30 s."""
        ours = [KafkaPartition(*partition) for partition in partitions]

        async def ask(consumer: Any) -> Any:
            committed = await consumer._coordinator.fetch_committed_offsets(ours)  # with what goes with them
            return committed, await consumer.beginning_offsets(ours) if ours else {}

        committed, beginnings = await self._in_thread(ask, ASK_SECONDS)
        return {TopicPartition(*tp): Offsets(*_committed(committed.get(tp)), beginnings[tp]) for tp in ours}

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`; nothing where the partition is another's by now."""

        async def seek(consumer: Any) -> None:
            consumer.seek(KafkaPartition(*partition), offset)

        try:
            await self._in_thread(seek)
        except IllegalStateError as error:  # not ours any more: who has it now reads from the committed one
            log.info("%s", error)

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit these positions. Raises what aiokafka raises where the group does not take them.

        No limit of time: a commit given up might still come through, and blocks of counts rely on knowing
        where a commit stands.
        """
        offsets = {
            KafkaPartition(*partition): OffsetAndMetadata(position.offset, _note(position))
            for partition, position in positions.items()
        }
        await self._in_thread(lambda consumer: consumer.commit(offsets))

    def seen_end(self, partition: TopicPartition) -> int:
        """What may be read of a partition ends here, as the last fetch told it; 0 where none did."""
        return self._told("last_stable_offset", partition)

    def position(self, partition: TopicPartition) -> int:
        """The next offset that it reads of a partition; 0 where that is not known."""
        try:
            subscription = self._app.consumer._thread._ensure_consumer()._subscription.subscription
            state = subscription.assignment.state_value(KafkaPartition(*partition))
            return state.position if state.has_valid_position else 0
        except Exception:  # not assigned at this moment
            return 0

    def undecided(self, partition: TopicPartition) -> int:
        """How many offsets stand from the first open transaction on, as the last fetch told it."""
        stable = self.seen_end(partition)
        return max(0, self._told("highwater", partition) - stable) if stable else 0

    def follows(self, partition: TopicPartition, offset: int, last: int) -> bool:
        """Whether the broker sent the record at `offset` right behind the one at `last`: offsets between
        them hold no record. False where this consumer does not know."""
        known: bool = self._app.consumer._thread.skipped.follows(partition, offset, last)
        return known

    def _told(self, what: str, partition: TopicPartition) -> int:
        try:
            consumer = self._app.consumer._thread._ensure_consumer()
            return getattr(consumer, what)(KafkaPartition(*partition)) or 0
        except Exception:  # not assigned at this moment
            return 0

    async def _in_thread(self, action: Callable[[Any], Any], seconds: float | None = None) -> Any:
        thread = self._app.consumer._thread

        async def call() -> Any:
            return await action(thread._ensure_consumer())

        async with asyncio.timeout(seconds):
            return await thread.call_thread(call)


def _note(position: Position) -> str:
    """What is committed with an offset that does not stand right behind a record."""
    return "" if position.last == position.offset - 1 else f"{_LAST}{position.last}"


def _committed(found: Any) -> tuple[int | None, int | None]:
    """The committed offset, and the record before it where it was noted; None for none."""
    if found is None or found.offset < 0:
        return None, None
    note = found.metadata or ""
    number = note.removeprefix(_LAST)
    is_noted = note.startswith(_LAST) and number.removeprefix("-").isdecimal()
    return found.offset, int(number) if is_noted and int(number) < found.offset else None
