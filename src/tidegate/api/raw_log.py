"""Reads lines of the raw topics that the sink has not stored yet, to see whose they are.

An id can be made up. So nothing is said of a position before its line was seen in its topic.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import msgspec
from confluent_kafka import Consumer, KafkaException

from tidegate.api.problems import Problem
from tidegate.contracts.frames import header_text, lines_of
from tidegate.contracts.position import Position
from tidegate.contracts.topics import STREAMS, TopicPartition, raw
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.connection import connection
from tidegate.kafka.groupless import groupless_consumer, watermarks
from tidegate.kafka.log_ends import log_ends
from tidegate.kafka.records import Found, Records
from tidegate.kafka.topics import partition_counts, read_epoch
from tidegate.settings import Settings

log = logging.getLogger(__name__)

SECONDS = 5.0  # for one look
KNOWN_SECONDS = 30.0  # epoch and partitions are asked for again
AWAY_SECONDS = 2.0  # in which a broker that did not answer is not asked again
WAITING = 16  # requests; one looks at a time
WAITING_OF_A_FLEET = 4  # of these: whose readers ask for ids without end keep no others out
INT64 = 2**63


class _Envelope(msgspec.Struct):
    event: msgspec.Raw
    fleet: str | None = None


_DECODER = msgspec.json.Decoder(_Envelope)


class RawLog:
    """Connects at the first question."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = connection(settings)
        self._records = Records(self._kafka, record_bytes=settings.kafka_max_record_bytes)
        self._lock = asyncio.Lock()
        self._waiting: Counter[str | None] = Counter()  # by the fleet of who asks
        self._consumer: Consumer | None = None
        self._epoch = ""
        self._partitions: dict[str, int] = {}
        self._known = float("-inf")  # monotonic, when epoch and partitions were read
        self._away = float("-inf")

    async def fleet_at(self, position: Position, asking: str | None) -> str | None:
        """The fleet of the line at a position, '' for one that names none; None where no topic has it.
        `asking` is the fleet of who wants to know, None for every one.

        Raises Problem `log_away` while Kafka does not answer, or too many wait for it.
        """
        waiting = self._waiting.total() >= WAITING or self._waiting[asking] >= WAITING_OF_A_FLEET
        if waiting or time.monotonic() - self._away < AWAY_SECONDS:
            raise _away()
        self._waiting[asking] += 1
        try:
            async with self._lock:
                return await asyncio.to_thread(self._look, position)
        except (RetryLater, Stop) as error:
            log.warning("the raw topics cannot be read: %s", error)
            self._away = time.monotonic()
            raise _away() from error
        finally:
            self._waiting[asking] -= 1
            if not self._waiting[asking]:
                del self._waiting[asking]

    async def close(self) -> None:
        async with self._lock:
            if self._consumer is not None:
                await asyncio.to_thread(self._consumer.close)

    def _look(self, position: Position) -> str | None:
        topic = raw(position.stream)
        if time.monotonic() - self._known > KNOWN_SECONDS:
            self._epoch = read_epoch(self._kafka, timeout_seconds=SECONDS)
            self._partitions = partition_counts(self._kafka, [raw(stream) for stream in STREAMS])
            self._known = time.monotonic()
        if position.epoch != self._epoch or position.partition >= self._partitions.get(topic, 0):
            return None
        if self._consumer is None:
            self._consumer = groupless_consumer(self._kafka, "tidegate-api")
        if not self._reaches(self._consumer, topic, position):
            return None
        record = self._records.first(topic, position.partition, position.offset, seconds=SECONDS)
        if record is None or record.offset != position.offset:
            return None
        if record.refused:  # unread: one reject, which names no fleet
            return "" if position.index == 0 else None
        return _fleet(record, position.index)

    def _reaches(self, consumer: Consumer, topic: str, position: Position) -> bool:
        """Whether the partition has the offset. Behind the end, the embedded broker answers no fetch."""
        if position.offset >= INT64:
            return False
        try:
            first, end = watermarks(consumer, topic, position.partition, seconds=SECONDS)
        except KafkaException as error:
            raise RetryLater(f"{topic}: {error.args[0].str()}") from error
        if position.offset >= end:  # of the last batch, that broker may have told the first record alone
            partition = TopicPartition(topic, position.partition)
            first, end = log_ends(self._kafka, [partition], seconds=SECONDS)[partition]
        return first <= position.offset < end


def _fleet(record: Found, index: int) -> str | None:
    lines = lines_of(record.value)
    if index >= len(lines):
        return None
    try:
        said = _DECODER.decode(lines[index]).fleet
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None  # a bare event, or nothing that can be read
    if said:
        return said
    return header_text(dict(record.headers).get("fleet") or b"")


def _away() -> Problem:
    return Problem("log_away", headers={"retry-after": str(round(AWAY_SECONDS))})
