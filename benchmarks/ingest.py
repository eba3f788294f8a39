"""HTTP → queryable: the load generator beside everything else on the same cores, and the knee.

    python -m benchmarks.ingest --rates 80000,120000,160000 --seconds 15

A rate is sustained when it is acked in full, 99 of 100 posts are answered within LIMIT_SECONDS of being
due, and the last event is queryable within LIMIT_SECONDS of the last answer: no backlog has grown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from benchmarks.load import Generator, Load
from benchmarks.pipeline import await_stored
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock, machine

LIMIT_SECONDS = 2.0
RATES = (30_000, 40_000, 50_000, 60_000, 80_000, 100_000, 120_000, 140_000, 160_000, 180_000, 200_000)
SECONDS = 15.0


@dataclass(slots=True)
class Step:
    load: Load
    behind: float  # seconds from the last answer until everything acked was queryable
    cpu: dict[str, float]  # seconds per million events, by process
    seconds: float  # from the first post until everything was queryable

    @property
    def rate(self) -> float:
        """Events per second from the first post until the last was queryable."""
        return self.load.acked / self.seconds

    @property
    def sustained(self) -> bool:
        load = self.load
        return (
            load.acked == load.sent and load.quantile(0.99) <= LIMIT_SECONDS and self.behind <= LIMIT_SECONDS
        )

    def describe(self) -> str:
        load = self.load
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.cpu.items())
        verdict = "sustained" if self.sustained else "not sustained"
        trouble = f", {load.refused:,} refused, {load.lost:,} lost" if load.refused or load.lost else ""
        return (
            f"{load.offered:,.0f}/s offered: {load.rate:,.0f}/s acked{trouble}, post p50 "
            f"{load.quantile(0.5) * 1000:.0f} ms p99 {load.quantile(0.99) * 1000:.0f} ms, queryable "
            f"{self.behind:.2f} s after the last answer: {verdict}; CPU s per million: {parts}"
        )


def step(stack: Stack, generator: Generator, rate: float, seconds: float) -> Step:
    """Offer `rate` events per second for `seconds`, then wait until all are queryable."""
    before = stack.stored()
    clock = CpuClock({**stack.pids(), "load": generator.pid})
    begin = time.monotonic()
    generator.begin(rate, seconds)
    load = generator.finish()
    answered = time.monotonic()
    await_stored(stack, before + load.acked)
    end = time.monotonic()
    cpu = {name: used * 1e6 / max(load.acked, 1) for name, used in clock.seconds().items()}
    return Step(load, end - answered, cpu, end - begin)


def knee(stack: Stack, rates: Sequence[float] = RATES, seconds: float = SECONDS) -> Iterator[Step]:
    """Steps of a growing rate, up to the first that is not sustained."""
    stack.start("gateway", "worker", "sink")
    stack.await_ready("gateway", "worker", "sink")
    generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token)
    try:
        step(stack, generator, 20_000, 3.0)  # everything has run once
        for rate in rates:
            one = step(stack, generator, rate, seconds)
            yield one
            if not one.sustained:
                return
    finally:
        generator.close()


@click.command()
@click.option("--rates", default=",".join(map(str, RATES)), show_default=True)
@click.option("--seconds", default=SECONDS, show_default=True, help="Length of each step.")
@click.option("--set", "pairs", multiple=True, help="A setting, e.g. --set sink_batch_rows=200000.")
def main(rates: str, seconds: float, pairs: tuple[str, ...]) -> None:
    """Measure HTTP → queryable alone, for tuning."""
    click.echo(machine())
    settings: dict[str, Any] = {name: value for name, value in (pair.split("=", 1) for pair in pairs)}
    with Stack(**settings) as stack:
        for one in knee(stack, [float(rate) for rate in rates.split(",")], seconds):
            click.echo(one.describe())


if __name__ == "__main__":
    main()
