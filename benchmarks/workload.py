"""The events: the simulator's everyday mix, as raw frames, request bodies or single records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.stack import FLEET
from tidegate.contracts import keys, topics
from tidegate.contracts.topics import STREAMS, Stream, StreamPartition
from tidegate.simulate.schedule import parse
from tidegate.simulate.simulation import Event, Plan, Simulation

FRAME_EVENTS = 500
CHUNK = 20_000
SITES = 12
INCIDENTS = "radius,dhcp,dns,psk,flapping,clocks"  # the mix stays as it was while the simulator learns others


class Frame(NamedTuple):
    stream: Stream
    partition: int
    value: bytes
    events: int
    headers: tuple[tuple[str, bytes], ...] = ()


def simulation(seed: int = 1, streams: tuple[Stream, ...] = STREAMS, sites: int = SITES) -> Simulation:
    """Incidents included: failures are part of the work."""
    start = time.time_ns() // 1000 - 60_000_000
    return Simulation(Plan(seed=seed, start=start, incidents=parse(INCIDENTS), streams=streams, sites=sites))


def events(
    count: int, seed: int = 1, streams: tuple[Stream, ...] = STREAMS, sites: int = SITES
) -> Iterator[Event]:
    source = simulation(seed, streams, sites)
    while count > 0:
        yield from source.take(min(CHUNK, count))
        count -= CHUNK


def envelope(event: Event, received_at: int) -> bytes:
    if event.stream == "connection_logs":
        return b'{"fleet":"%b","received_at":%d,"device":"%b","event":%b}' % (
            FLEET.encode(),
            received_at,
            event.device,
            event.body,
        )
    return b'{"fleet":"%b","received_at":%d,"event":%b}' % (FLEET.encode(), received_at, event.body)


def frames(
    count: int,
    partitions: int,
    *,
    size: int = FRAME_EVENTS,
    seed: int = 1,
    streams: tuple[Stream, ...] = STREAMS,
) -> Iterator[Frame]:
    """`count` events as raw frames of `size`, a device's events in one partition as the gateway does it."""
    key = FLEET.encode() + b"\0"
    open_frames: dict[StreamPartition, list[bytes]] = {}
    for event in events(count, seed, streams):
        partition = StreamPartition(event.stream, crc32(key + event.device) % partitions)
        lines = open_frames.setdefault(partition, [])
        lines.append(envelope(event, time.time_ns() // 1000))
        if len(lines) == size:
            yield Frame(*partition, b"\n".join(lines), size)
            lines.clear()
    for partition, lines in open_frames.items():
        if lines:
            yield Frame(*partition, b"\n".join(lines), len(lines))


def keyed(source: Iterator[Frame]) -> Iterator[Frame]:
    """The frames, each as one request under a key of its own."""
    for number, frame in enumerate(source):
        piece = keys.Piece(
            keys.request_key(FLEET, b"%d" % number), keys.digest(b"%d" % number), 0, frame.events
        )
        yield frame._replace(headers=((keys.HEADER, keys.write_pieces([piece])),))


class Preloaded(NamedTuple):
    events: int
    records: int
    bytes: int  # before compression


def preload(bootstrap: str, source: Iterator[Frame]) -> Preloaded:
    """Write frames into the raw topics and wait for the acks. Raises RuntimeError when one is refused."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "compression.level": 1,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "message.max.bytes": 16_777_216,
            "queue.buffering.max.kbytes": 262_144,
        }
    )
    errors: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(str(error))

    count = records = size = 0
    for frame in source:
        while True:
            try:
                producer.produce(
                    topics.raw(frame.stream),
                    frame.value,
                    partition=frame.partition,
                    headers=list(frame.headers),
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
        count += frame.events
        records += 1
        size += len(frame.value)
    producer.flush(60)
    if errors:
        raise RuntimeError(f"preloading failed: {errors[0]}")
    return Preloaded(count, records, size)
