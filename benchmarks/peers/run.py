"""Start a peer on preloaded topics and measure it as the pipeline is measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import workload
from benchmarks.peers import with_java
from benchmarks.peers.models import DATABASE, TABLES, Table, columns, topic
from benchmarks.pipeline import Result
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock
from tidegate.local.child import Child

Peer = Literal["faust", "aiokafka", "java"]
LIMIT_SECONDS = 300.0


def measure(stack: Stack, peer: Peer, events: int, seed: int = 1) -> Result:
    """`events` records through the peer, from its first one until all are in its tables."""
    bootstrap = stack.settings.kafka_bootstrap
    _prepare(stack)
    count = _preload(bootstrap, events, seed, stack.settings.kafka_partitions)
    first = stack.folder / f"{peer}.first"
    first.unlink(missing_ok=True)
    child = Child(peer, _command(stack, peer, first), stack.folder / f"{peer}.log")
    child.start()
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        clock = None
        while (stored := _stored(stack)) < count:
            if clock is None and first.exists():
                clock = CpuClock({**stack.pids(), peer: child.pid or 0})
            if child.status is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{peer} stands at {stored:,} of {count:,} rows:\n{child.tail()}")
            time.sleep(0.02 if clock is None else 0.1)
        end = time.time()
        while not (begin := first.read_text()):  # a peer may store the little there is before it says so
            time.sleep(0.02)
        seconds = end - float(begin)
        return Result(count, seconds, clock.seconds() if clock is not None else {})
    finally:
        child.stop(5.0)


def _command(stack: Stack, peer: Peer, first: Path) -> list[str]:
    bootstrap, url = stack.settings.kafka_bootstrap, stack.settings.clickhouse_url
    if peer == "java":
        return with_java.command(stack.folder, bootstrap, url, first)
    return [sys.executable, "-m", f"benchmarks.peers.with_{peer}", bootstrap, url, str(first)]


def _records(events: int, seed: int) -> Iterator[tuple[Table, bytes]]:
    """Events of the forms that the peers know, which are nine of ten."""
    for event in workload.events(events, seed, ("connection_logs", "client_events")):
        if event.stream == "client_events":
            yield "client_events", event.body
        elif event.body.startswith(b'{"network_name"'):
            yield "connection_logs", event.body


def _prepare(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.settings.kafka_bootstrap})
    partitions = stack.settings.kafka_partitions
    stack.client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    names = [topic(table) for table in TABLES]
    for gone in admin.delete_topics(names).values():
        try:
            gone.result()
        except Exception:  # it was not there yet
            continue
    for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        made.result()
    for table in TABLES:
        stack.client.command(f"DROP TABLE IF EXISTS {DATABASE}.{table}")
        fields = ", ".join(f"`{name}` {type}" for name, type in columns(table).items())
        stack.client.command(
            f"CREATE TABLE {DATABASE}.{table} ({fields}) ENGINE = MergeTree ORDER BY tuple()"
        )


def _preload(bootstrap: str, events: int, seed: int, partitions: int) -> int:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    count = 0
    for table, body in _records(events, seed):
        while True:
            try:
                producer.produce(topic(table), body, partition=count % partitions)
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    producer.flush(60)
    return count


def _stored(stack: Stack) -> int:
    parts = " + ".join(f"(SELECT count() FROM {DATABASE}.{table})" for table in TABLES)
    return int(stack.client.query(f"SELECT {parts}").result_rows[0][0])
