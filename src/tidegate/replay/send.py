"""Frames into the raw topics, each sent at most once.

What is not acknowledged is not sent again here: it may be there. The caller begins anew with what is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tidegate.contracts.topics import Stream, raw
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.settings import Settings

Range = tuple[int, int]  # first and last offset


class Sender:
    """`hold` is called before anything is sent, and raises where this replay has lost the lock."""

    def __init__(self, settings: Settings, hold: Callable[[], None], send_seconds: float) -> None:
        self.offsets: dict[tuple[Stream, int], Range] = {}  # of what was acknowledged
        self.lines = 0  # acknowledged
        self._hold = hold
        self._error: KafkaError | None = None
        self._wait = send_seconds
        self._producer = Producer(
            {
                **connection(settings).librdkafka(),
                "client.id": "tidegate-replay",
                "acks": "all",
                "retries": 0,
                "message.timeout.ms": int(send_seconds * 1000),
                "message.max.bytes": settings.kafka_max_record_bytes,
                "compression.type": "zstd",
                "linger.ms": 5,
                "logger": logging.getLogger("tidegate.librdkafka"),
            }
        )

    def send(
        self, stream: Stream, partition: int, value: bytes, lines: int, headers: list[tuple[str, bytes]]
    ) -> None:
        """Send one frame; returns before it is acknowledged."""
        self._hold()

        def landed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._error = error
                return
            offset: Any = message.offset()
            first, last = self.offsets.get((stream, partition), (offset, offset))
            self.offsets[stream, partition] = min(first, offset), max(last, offset)
            self.lines += lines

        self._producer.produce(raw(stream), value, partition=partition, headers=headers, on_delivery=landed)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for every ack. Raises RetryLater where one did not come: those frames may be there or not."""
        missing = self._producer.flush(self._wait * 2)
        if missing or self._error is not None:
            reason = self._error.str() if self._error is not None else "no answer"
            self._error = None
            raise RetryLater(f"the broker did not acknowledge what was sent: {reason}")
