"""A worker process and what goes in and comes out of it, for tests: real broker, real process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import control_key
import metrics
import pyarrow as pa
import roles
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from waiting import PATIENCE, await_

from tidegate.contracts.frames import EnrichedHeaders, read_arrow, read_headers
from tidegate.contracts.topics import Stream, enriched, raw
from tidegate.kafka.topics import ensure_topics
from tidegate.local.child import free_port
from tidegate.settings import Settings

PARTITIONS = 3


class Enriched(NamedTuple):
    offset: int  # in the enriched topic
    partition: int
    head: EnrichedHeaders
    headers: dict[str, bytes]
    rows: pa.RecordBatch


class Rig:
    """A Kafka with Tidegate's topics and a worker on it, whose settings are its environment.

    The worker is started and stopped by the test; the exit ends one that a failed test left behind.
    """

    def __init__(self, bootstrap: str, folder: Path, *, bug: str = "", **settings: object) -> None:
        """`bug` is Python that runs in the worker's process before the worker does."""
        folder.mkdir(parents=True, exist_ok=True)
        self.listen = f"127.0.0.1:{free_port()}"
        values = {
            "kafka_bootstrap": bootstrap,
            "kafka_partitions": PARTITIONS,
            "data_dir": folder,
            "worker_listen": self.listen,
            **settings,
        }
        self.bootstrap = bootstrap
        self.epoch = ensure_topics(
            Settings(
                kafka_bootstrap=bootstrap,
                kafka_partitions=PARTITIONS,
                control_key_file=os.environ[control_key.VARIABLE],
            )
        ).epoch
        (folder / "tokens.json").write_text(json.dumps({"tokens": [], "fleets": ["demo"]}))
        self.worker = roles.role("worker", folder, values, prelude=bug)
        self.sent: dict[tuple[Stream, int], int] = {}  # the end of each raw partition
        self._producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 16_000_000})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.kill()
        self.worker.wait(10)

    # --- the process

    def start(self) -> None:
        self.worker.start()
        await_(self.ready, self.worker.tail)

    def ready(self) -> bool:
        assert self.worker.running, self.worker.tail()
        return self.get("/readyz") is not None

    def get(self, path: str) -> str | None:
        """The text of a page of the worker, None where it is not a 200."""
        status, text = roles.get(self.listen, path, seconds=5)
        return text if status == 200 else None

    def metric(self, line: str) -> float:
        """The value of a sample as it stands in /metrics, 0 if it is not there."""
        return metrics.sample(self.get("/metrics") or "", line)

    def done(self) -> float:
        """How many frames of client events this process has sent on."""
        return self.metric('tidegate_worker_frames_total{stream="client_events"}')

    def has_done(self, frames: float) -> bool:
        return self.done() > frames

    def stop(self) -> None:
        """A clean stop."""
        assert self.worker.stop(30) == 0, self.worker.tail()

    def kill(self) -> None:
        self.worker.kill()
        assert self.worker.wait(10) == -signal.SIGKILL

    # --- topics

    def send(
        self,
        stream: Stream,
        value: bytes | None,
        partition: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> int:
        """Write a raw record; returns its offset."""
        self.send_many(stream, [value], partition, headers)
        return self.sent[stream, partition] - 1

    def send_many(
        self,
        stream: Stream,
        values: Iterable[bytes | None],
        partition: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        def there(error: object, message: Message) -> None:
            assert error is None, error
            self.sent[stream, partition] = (message.offset() or 0) + 1

        for value in values:
            self._producer.produce(
                raw(stream), value, partition=partition, headers=headers or [], on_delivery=there
            )
        assert self._producer.flush(PATIENCE) == 0

    def read(self, topic: str) -> list[Message]:
        """Every record of a topic as it is now.

        To the end that a fetch tells: the embedded broker's answer to the question for the end leaves out
        all but the first record of the last batch.
        """
        missing = set(range(PARTITIONS))
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(topic, partition, 0) for partition in missing])
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE
        while missing:
            assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                missing.discard(message.partition() or 0)
        consumer.close()
        return found

    def frames(self, stream: Stream) -> list[Enriched]:
        """The enriched frames, in the order of their topic."""
        found = []
        for message in self.read(enriched(stream)):
            headers: dict[str, bytes] = dict(message.headers() or [])
            found.append(
                Enriched(
                    message.offset() or 0,
                    message.partition() or 0,
                    read_headers(headers.items()),
                    headers,
                    read_arrow(message.value() or b""),
                )
            )
        return found

    def await_frame(self, stream: Stream, partition: int, offset: int) -> Enriched:
        """The enriched frame of one raw record."""
        found: list[Enriched] = []

        def there() -> bool:
            assert self.worker.running, self.worker.tail()
            found[:] = [
                one
                for one in self.frames(stream)
                if one.partition == partition and one.head.source_offset == offset
            ]
            return bool(found)

        await_(there, self.worker.tail)
        return found[0]

    def await_end(self, stream: Stream) -> list[Enriched]:
        """All enriched frames, when every raw record has one."""
        wanted = [self.sent.get((stream, partition), 0) for partition in range(PARTITIONS)]
        found: list[Enriched] = []

        def there() -> bool:
            assert self.worker.running, self.worker.tail()
            found[:] = self.frames(stream)
            last = [-1] * PARTITIONS
            for one in found:
                last[one.partition] = max(last[one.partition], one.head.source_offset)
            return last == [end - 1 for end in wanted]

        await_(there, self.worker.tail)
        return found


def in_sequence(frames: Iterable[Enriched], partition: int) -> list[Enriched]:
    """The frames of a partition that the sink would take, by its rule: each continues the one before it,
    a repeat is dropped, and one beyond skipped offsets is let pass until the sequence goes on."""
    taken: list[Enriched] = []
    watermark = -1
    for frame in frames:
        head = frame.head
        if frame.partition != partition or head.source_offset <= watermark:
            continue
        if head.previous_offset <= watermark:
            assert head.previous_offset == watermark, f"{head} overlaps {watermark}"
            taken.append(frame)
            watermark = head.source_offset
    return taken
