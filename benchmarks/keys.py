"""What a key on each frame costs the worker: the same frames with and without, one after the other.

    python -m benchmarks.keys --events 200000

Whole runs of the pipeline differ from one another by more than a key costs. Here both ways take turns
frame by frame, on the worker's own steps and producer, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks import workload
from benchmarks.stack import FLEET
from benchmarks.usage import machine
from tidegate import lookups, settings
from tidegate.contracts.topics import STREAMS
from tidegate.kafka.connection import Connection
from tidegate.kafka.topics import ensure_topics
from tidegate.local.broker import EmbeddedBroker
from tidegate.local.child import free_port
from tidegate.steps.frame import FrameSteps, Record
from tidegate.worker.dedup_window import DedupTable
from tidegate.worker.partition import PartitionState
from tidegate.worker.producer import Producer, count
from tidegate.worker.transform import Transform

BLOCK = 40  # frames, both ways, that make one ratio


class Cost(NamedTuple):
    """CPU of the worker's main thread, µs an event."""

    plain: float
    keyed: float
    ratios: list[float]  # keyed to plain, of each block of frames

    def describe(self) -> str:
        low, middle, high = statistics.quantiles(self.ratios, n=4)
        return (
            f"a key on each frame: {middle:.3f} × the CPU of the worker's main thread (half of the blocks"
            f" {low:.3f} to {high:.3f}; {self.plain:.2f} µs an event without keys, {self.keyed:.2f} with)"
        )


def measure(events: int, *, frame: int = workload.FRAME_EVENTS) -> Cost:
    """Transform and send each frame with and without a key, in turn, to an embedded broker."""
    frames = [one for one in workload.frames(events, 1, size=frame) if one.events == frame]
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker(f"127.0.0.1:{free_port()}", Path(folder) / "broker.log")
        broker.start()
        try:
            return _measure_on(broker.bootstrap, frames, frame)
        finally:
            broker.stop()


def _measure_on(bootstrap: str, frames: list[workload.Frame], frame: int) -> Cost:
    ours = settings.Settings(
        kafka_bootstrap=bootstrap, kafka_partitions=1, data_dir=tempfile.mkdtemp(prefix="tidegate-bench-")
    )
    epoch = ensure_topics(ours).epoch
    tables = lookups.load()
    producer = Producer(Connection(bootstrap))
    keys = DedupTable(
        {}, epoch, window_seconds=ours.idempotency_window_hours * 3600, limit=ours.worker_keys_bytes
    )
    keys.recovered({(stream, 0): 0 for stream in STREAMS})
    transforms = {
        stream: Transform(
            FrameSteps(
                stream,
                tables,
                epoch=epoch,
                transform_version="1",
                geohash_precision=ours.worker_geohash_precision,
                clock_skew_seconds=ours.worker_clock_skew_seconds,
                max_record_bytes=ours.kafka_max_record_bytes,
            )
        )
        for stream in STREAMS
    }
    states = {stream: PartitionState(stream, 0, 1) for stream in STREAMS}
    spent: dict[bool, list[int]] = {False: [], True: []}

    def work(one: workload.Frame, *, keyed: bool) -> None:
        state = states[one.stream]
        offset = state.expected
        now = time.time_ns() // 1000
        record = Record(0, offset, state.accept(offset), one.value, one.headers if keyed else (), now)
        begin = time.thread_time_ns()
        window = keys.window(one.stream, 0)
        window.advance(now)
        [outputs] = transforms[one.stream].many([record], {FLEET}, window)
        sent = state.send(offset, outputs=count(outputs), size=outputs.size)
        producer.send(one.stream, 0, sent, outputs)
        producer.poll()
        spent[keyed].append(time.thread_time_ns() - begin)
        assert bool(outputs.claims) == keyed and not outputs.duplicates

    rng = random.Random(1)
    for number, one in enumerate(workload.keyed(iter(frames))):
        for keyed in rng.sample((False, True), 2):
            work(one, keyed=keyed)
        if number % BLOCK == 0:
            producer.flush(60)
    producer.flush(60)
    plain, with_keys = spent[False][BLOCK:], spent[True][BLOCK:]  # what comes first warms up
    ratios = [
        sum(with_keys[at : at + BLOCK]) / sum(plain[at : at + BLOCK]) for at in range(0, len(plain), BLOCK)
    ]
    return Cost(_micros(plain, frame), _micros(with_keys, frame), ratios)


def _micros(nanoseconds: list[int], frame: int) -> float:
    return sum(nanoseconds) / len(nanoseconds) / frame / 1000


@click.command()
@click.option("--events", default=300_000, show_default=True)
@click.option("--frame", default=workload.FRAME_EVENTS, show_default=True, help="Events in a raw frame.")
def main(events: int, frame: int) -> None:
    """Measure what a key on each frame costs."""
    click.echo(machine())
    click.echo(measure(events, frame=frame).describe())


if __name__ == "__main__":
    main()
