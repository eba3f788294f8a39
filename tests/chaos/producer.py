"""A fleet of its own process: sends over HTTP and straight into Kafka, and keeps a log of it.

It knows the gateway's address, the broker's, and a token; nothing of what is behind them. A request that
is not answered is sent again: with its `Idempotency-Key` if `--keys`, else as a new one, and then the old
one may have come through or not. SIGTERM ends it behind the answers that are under way.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from expected import Line

from chaos.events import DAY, make
from chaos.sent_log import SPACING, Acked, Sent, Writer
from tidegate.contracts.topics import STREAMS, Stream, raw

PATHS: dict[Stream, str] = {
    "connection_logs": "/api/v1/device_app_connection_log/",
    "client_events": "/api/v1/client_events/",
    "device_logs": "/api/v1/inventory_device_log/",
}
HTTP_THREADS = 3
HTTP_BATCH, KAFKA_BATCH = 60, 150  # most events
ANSWER_SECONDS = 20.0
RETRY_SECONDS = 0.5  # before a request is sent again
BAD = 0.01  # share of events that must be refused


class Fleet:
    """What the threads share: numbers, the log, and whether to stop."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sent_log = Writer(options.sent_log)
        self.numbers = itertools.count(1)
        self.stopped = threading.Event()

    def paced(self, events_per_second: float, random: Random, most: int) -> Iterator[int]:
        """Sizes of batches, each when its time has come. What is late is not made up for."""
        due = time.monotonic()
        while not self.stopped.is_set():
            size = random.randint(1, most)
            due = max(due + size / events_per_second, time.monotonic() - 1.0)
            self.stopped.wait(max(0.0, due - time.monotonic()))
            yield size


class Batch:
    """Events of one stream; entered into the log by `enter`."""

    def __init__(self, fleet: Fleet, way: str, size: int, random: Random) -> None:
        self.number = next(fleet.numbers)
        self.stream: Stream = random.choice(STREAMS)
        self.at = time.time_ns() // 1000
        self.bad = [index for index in range(size) if random.random() < BAD]
        # A record without ids cannot be sent again; but then fewer of its lines are judged one by one.
        self.with_ids = (
            way == "kafka" and fleet.options.keys and (fleet.options.idempotent or random.random() < 0.5)
        )
        self.events = [
            make(
                self.stream,
                self.number * SPACING + index,
                self.at,
                random,
                bad=index in self.bad,
                with_id=self.with_ids,
                clock_days=fleet.options.clock_days,
                incidents=fleet.options.incidents,
            )
            for index in range(size)
        ]
        self._sent_log, self._way = fleet.sent_log, way

    def enter(self, devices: list[str], received: list[int]) -> list[Line]:
        """Into the log, before it is sent."""
        sent = Sent(self.number, self.at, self._way, self.stream, self.events, devices, self.bad, received)
        self._sent_log.put(sent)
        return sent.lines()


# --- over HTTP


def over_http(fleet: Fleet, seed: int) -> None:
    random = Random(seed)
    host, port = fleet.options.gateway.split(":")
    connection: http.client.HTTPConnection | None = None
    for size in fleet.paced(fleet.options.rate * 0.6 / HTTP_THREADS, random, HTTP_BATCH):
        batch = Batch(fleet, "http", size, random)
        device = f"device-{batch.number % 50}"
        lines = [line.event for line in batch.enter([device] * size, [])]
        for attempt in itertools.count(1):
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_SECONDS)
                status, answer = _post(fleet, connection, batch, device, b"\n".join(lines))
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection, status, answer = None, 0, None
            if status in (201, 207, 422):
                # A 422 without ids: none of them is good.
                ids = answer["ids"] if answer is not None and "ids" in answer else [None] * size
                fleet.sent_log.put(Acked(batch.number, time.time_ns() // 1000, ids=ids, attempts=attempt))
                break
            if status and status < 500 and status not in (408, 429):
                sys.exit(f"the gateway answered {status}: {answer}")
            fleet.stopped.wait(RETRY_SECONDS)
            if not fleet.options.keys or fleet.stopped.is_set():
                break


def _post(
    fleet: Fleet, connection: http.client.HTTPConnection, batch: Batch, device: str, body: bytes
) -> tuple[int, Any]:
    headers = {
        "Authorization": f"Bearer {fleet.options.token}",
        "Content-Type": "application/x-ndjson",
        "X-Device-Id": device,
    }
    if fleet.options.keys:
        headers["Idempotency-Key"] = f"chaos-{batch.number}"
    connection.request("POST", PATHS[batch.stream], body, headers)
    answer = connection.getresponse()
    text = answer.read()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, None


# --- straight into Kafka


def into_kafka(fleet: Fleet, seed: int) -> None:
    random = Random(seed)
    topics = Records(fleet)
    for size in fleet.paced(fleet.options.rate * 0.4, random, KAFKA_BATCH):
        batch = Batch(fleet, "kafka", size, random)
        # Most came just now; a frame may hold lines of the day before, from a producer that was cut off.
        old = random.random() < 0.2 and not fleet.options.incidents
        received = [batch.at - (DAY if old and random.random() < 0.5 else 0) for _ in batch.events]
        devices = [f"device-{random.randrange(50)}" for _ in batch.events]
        lines = [line.envelope() for line in batch.enter(devices, received)]
        topics.send(batch, random.randrange(fleet.options.partitions), b"\n".join(lines))
    topics.flush(30)


class Records:
    """Writes batches as records. One that was not acknowledged is written again where its events have an
    `event_id` (`--keys`), into the same partition; else it is given up, and may be there or not.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._producer = _producer(fleet.options)
        self._open: dict[int, tuple[Batch, int, bytes, int]] = {}  # batch, partition, value, attempts
        self._failed: list[int] = []

    def send(self, batch: Batch, partition: int, value: bytes, attempts: int = 1) -> None:
        self._open[batch.number] = (batch, partition, value, attempts)

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed.append(batch.number)
                return
            at, offset = time.time_ns() // 1000, message.offset()
            assert offset is not None
            self._open.pop(batch.number, None)
            self._fleet.sent_log.put(
                Acked(batch.number, at, partition=partition, offset=offset, attempts=attempts)
            )

        try:
            self._producer.produce(raw(batch.stream), value, partition=partition, on_delivery=delivered)
            self._producer.poll(0)
        except (BufferError, KafkaException):
            # Full, or dead for good after an error: begin again. What it held may be there or not.
            self._producer.flush(5)
            self._producer = _producer(self._fleet.options)
            self._failed = list(self._open)
        self._send_again()

    def flush(self, seconds: float) -> None:
        self._producer.flush(seconds)

    def _send_again(self) -> None:
        failed, self._failed = self._failed, []
        for number in failed:
            batch, partition, value, attempts = self._open.pop(number)
            if batch.with_ids:
                self.send(batch, partition, value, attempts + 1)


def _producer(options: argparse.Namespace) -> Producer:
    # An idempotent producer that gives a record up takes a new epoch, and sends what was under way once more.
    own: dict[str, Any] = (
        {"enable.idempotence": True, "message.timeout.ms": 0}
        if options.idempotent
        # A broker without idempotence may take twice what is sent twice.
        else {"message.send.max.retries": 0, "message.timeout.ms": 20_000}
    )
    return Producer({"bootstrap.servers": options.bootstrap, "acks": "all", "log_level": 0, **own})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True, help="host:port")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--sent-log", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--idempotent", action="store_true", help="the broker has an idempotent producer")
    parser.add_argument("--keys", action="store_true", help="retry under an Idempotency-Key")
    parser.add_argument("--clock-days", type=int, default=0, help="device clocks are up to so far behind")
    parser.add_argument("--incidents", action="store_true", help="a site fails every other two minutes")
    fleet = Fleet(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: fleet.stopped.set())
    seed = fleet.options.seed * 100
    threads = [threading.Thread(target=over_http, args=(fleet, seed + 1 + n)) for n in range(HTTP_THREADS)]
    threads.append(threading.Thread(target=into_kafka, args=(fleet, seed)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
