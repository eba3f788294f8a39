"""Kafka → ClickHouse: raw topics filled first, then worker and sink from a standing start.

    python -m benchmarks.pipeline --events 2000000

The clock runs from the worker's first frame until every event is in its table and its rollups. CPU is
that of each process over the same time.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import click

from benchmarks import workload
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock, machine, usage

STALL_SECONDS = 60.0


@dataclass(slots=True)
class Result:
    events: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, by process
    rss: dict[str, int] = field(default_factory=dict)  # bytes at the end, by process

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    def cpu_per_million(self) -> dict[str, float]:
        return {name: seconds * 1e6 / self.events for name, seconds in self.cpu.items()}

    def describe(self) -> str:
        cpu = self.cpu_per_million()
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in cpu.items())
        busy = sum(self.cpu.values()) / self.seconds
        return (
            f"{self.rate:,.0f} events/s ({self.events:,} in {self.seconds:.2f} s, {busy:.2f} cores busy); "
            f"CPU s per million: {parts}, all {sum(cpu.values()):.2f}"
        )


def measure(
    events: int,
    *,
    frame: int = workload.FRAME_EVENTS,
    seed: int = 1,
    workers: int = 1,
    keyed: bool = False,
    **settings: Any,
) -> Result:
    """One run on engines of its own. Keyword arguments are settings, e.g. sink_batch_rows=200_000."""
    with Stack(workers=workers, **settings) as stack:
        return measure_on(stack, events, frame=frame, seed=seed, keyed=keyed)


def measure_on(
    stack: Stack,
    events: int,
    *,
    frame: int = workload.FRAME_EVENTS,
    seed: int = 1,
    keyed: bool = False,
) -> Result:
    """One run on a fresh stack; worker and sink are stopped again behind it. `keyed`: each frame is a
    request under an Idempotency-Key."""
    frames = workload.frames(events, stack.settings.kafka_partitions, size=frame, seed=seed)
    loaded = workload.preload(stack.settings.kafka_bootstrap, workload.keyed(frames) if keyed else frames)
    stack.start("worker", "sink")
    while stack.metrics("worker").get("tidegate_worker_frames_total", 0.0) == 0.0:
        stack.check()
        time.sleep(0.01)
    begin, clock = time.monotonic(), CpuClock(stack.pids())
    await_stored(stack, loaded.events)
    result = Result(loaded.events, time.monotonic() - begin, clock.seconds())
    result.rss = {name: usage(pid).rss for name, pid in stack.pids().items()}
    stack.stop_roles()
    return result


def await_stored(stack: Stack, count: int) -> None:
    """Until the tables hold `count` rows. Raises RuntimeError when nothing moves for STALL_SECONDS."""
    stored, moved = -1, time.monotonic()
    while True:
        now = stack.stored()
        if now >= count:
            return
        if now != stored:
            stored, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALL_SECONDS:
            logs = "\n".join(f"{name}:\n{child.tail()}" for name, child in stack.roles.items())
            raise RuntimeError(f"stands at {stored:,} of {count:,} rows\n{logs}")
        stack.check()
        time.sleep(0.1)


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs)}


@click.command()
@click.option("--events", default=2_000_000, show_default=True)
@click.option("--frame", default=workload.FRAME_EVENTS, show_default=True, help="Events in a raw frame.")
@click.option("--repeat", default=1, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Worker processes, and partitions.")
@click.option("--keys", is_flag=True, help="Each run also with a key on each frame, in turn.")
@click.option("--set", "pairs", multiple=True, help="A setting, e.g. --set sink_batch_rows=200000.")
def main(events: int, frame: int, repeat: int, workers: int, keys: bool, pairs: tuple[str, ...]) -> None:
    """Measure Kafka → ClickHouse alone, for tuning."""
    click.echo(machine())
    ways = [False, True] if keys else [False]
    for seed, keyed in itertools.product(range(1, repeat + 1), ways):
        result = measure(events, frame=frame, seed=seed, workers=workers, keyed=keyed, **_settings(pairs))
        click.echo(("with keys: " if keyed else "") + result.describe())
        click.echo("RSS MiB: " + ", ".join(f"{name} {size >> 20}" for name, size in result.rss.items()))


if __name__ == "__main__":
    main()
