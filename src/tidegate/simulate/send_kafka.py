"""Straight into Kafka: frames of envelopes, a device's events in one partition."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tidegate.contracts import topics
from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import Stream
from tidegate.errors import RetryLater, UsageError
from tidegate.kafka.connection import Connection
from tidegate.simulate.pace import Pace
from tidegate.simulate.report import Ledger, Report
from tidegate.simulate.simulation import Event, Simulation

FRAME_AGE = 0.2  # seconds after which a frame goes off though it is not full
TICK = 0.01
UNKNOWN_FLEET = b'"nowhere"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    kafka: Connection
    fleet: str
    frame: int = 500  # events in a record; 0 or 1: one line a record
    idempotent: bool = False  # the idempotent producer, where the broker has it


@dataclass(slots=True)
class _Frame:
    opened: float
    lines: list[bytes] = field(default_factory=list)
    broken: int = 0


class Sender:
    """Writes frames straight to the raw topics, as a producer without the gateway does."""

    def __init__(self, options: Options, simulation: Simulation, report: Report, ledger: Ledger) -> None:
        self._options = options
        self._simulation = simulation
        self._report = report
        self._ledger = ledger
        self._fleet = json.dumps(options.fleet, ensure_ascii=False).encode()
        self._key_prefix = options.fleet.encode() + b"\0"
        self._producer = Producer(
            {
                **options.kafka.librdkafka(),
                "acks": "all",
                "compression.type": "zstd",
                "linger.ms": 5,
                "message.max.bytes": 16_777_216,
                "queue.buffering.max.kbytes": 131_072,
                "enable.idempotence": options.idempotent,
            }
        )
        self._partitions: dict[Stream, int] = {}
        self._frames: dict[tuple[Stream, int], _Frame] = {}

    def run(self, pace: Pace, stopped: Callable[[], bool], tick: Callable[[], None]) -> None:
        """Send until the pace is finished or `stopped`. Raises RetryLater when the broker does not answer."""
        slipped = 0.0
        self._find_partitions()
        while not stopped() and not pace.finished:
            now = time.monotonic()
            count = pace.due(now)
            if pace.slipped > slipped:
                self._simulation.skip(pace.slipped - slipped)
                slipped = pace.slipped
            received_at = time.time_ns() // 1000
            for event in self._simulation.take(count):
                self._add(event, received_at, now)
            for key, frame in list(self._frames.items()):
                if now - frame.opened > FRAME_AGE:
                    self._send(*key, frame)
                    del self._frames[key]
            self._producer.poll(0)
            tick()
            if count < pace.CHUNK:
                time.sleep(TICK)
        for key, frame in self._frames.items():
            self._send(*key, frame)
        self._frames.clear()
        self._producer.flush(30)

    def _find_partitions(self) -> None:
        try:
            # All of them: asking for one by name could create it, with the broker's number of partitions.
            found = self._producer.list_topics(timeout=10).topics
        except KafkaException as error:
            raise RetryLater(f"Kafka at {self._options.kafka} does not answer: {error}") from error
        for stream in topics.STREAMS:
            topic = found.get(topics.raw(stream))
            if topic is None or not topic.partitions:
                raise UsageError(f"no topic {topics.raw(stream)}: `tidegate topics` creates it")
            self._partitions[stream] = len(topic.partitions)

    def _add(self, event: Event, received_at: int, now: float) -> None:
        partition = crc32(self._key_prefix + event.device) % self._partitions[event.stream]
        if event.fault is Code.EMPTY_RECORD:
            self._report.broken[event.fault] += 1
            self._send(event.stream, partition, _Frame(now, [b""], 1))
            return
        key = (event.stream, partition)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = _Frame(now)
        frame.lines.append(self._line(event, received_at))
        if event.fault is not None:
            frame.broken += 1
            self._report.broken[event.fault] += 1
        if len(frame.lines) >= self._options.frame:
            del self._frames[key]
            self._send(event.stream, partition, frame)

    def _line(self, event: Event, received_at: int) -> bytes:
        if event.fault is None or event.fault not in _ENVELOPES:
            if event.stream == "connection_logs":
                return b'{"fleet":%b,"received_at":%d,"device":"%b","event":%b}' % (
                    self._fleet,
                    received_at,
                    event.device,
                    event.body,
                )
            return b'{"fleet":%b,"received_at":%d,"event":%b}' % (self._fleet, received_at, event.body)
        return _ENVELOPES[event.fault] % {b"fleet": self._fleet, b"at": received_at, b"event": event.body}

    def _send(self, stream: Stream, partition: int, frame: _Frame) -> None:
        lines, broken = len(frame.lines), frame.broken
        totals = self._report.streams[stream]

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                totals.acked += lines
                offset: Any = message.offset()
                self._ledger.position(stream, partition, int(offset), lines, broken)

        totals.sent += lines
        value = b"\n".join(frame.lines)
        while True:
            try:
                self._producer.produce(topics.raw(stream), value, partition=partition, on_delivery=delivered)
                return
            except BufferError:
                self._producer.poll(0.1)


_ENVELOPES: dict[Code, bytes] = {
    Code.BAD_ENVELOPE: b'{"fleet":%(fleet)b,"received_at":"soon","event":%(event)b}',
    Code.MISSING_FLEET: b'{"received_at":%(at)d,"event":%(event)b}',
    Code.UNKNOWN_FLEET: b'{"fleet":' + UNKNOWN_FLEET + b',"received_at":%(at)d,"event":%(event)b}',
}
"""Envelopes that are broken themselves."""
