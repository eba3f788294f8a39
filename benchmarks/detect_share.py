"""What detection takes of the worker's CPU under a steady flow.

    python -m benchmarks.detect_share --sites 12,100,1000 --minutes 3

Detection's own time is that of `tidegate_worker_detect_seconds_total`: it reads the minutes of the health
topic, folds them and writes down the units. The worker's is all that the process uses.
"""

from __future__ import annotations

import time

import click

from benchmarks.load import Generator
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock, machine

RATE = 20_000.0
WARM_SECONDS = 75.0  # until minutes are complete and folded
LINES = "tidegate_worker_lines_total"
DETECTING = "tidegate_worker_detect_seconds_total"


def measure(sites: int, rate: float, minutes: float) -> str:
    """One run on engines of its own."""
    with Stack() as stack:
        stack.start("gateway", "worker")
        stack.await_ready("gateway", "worker")
        generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token, sites=sites)
        try:
            generator.begin(rate, WARM_SECONDS + minutes * 60 + 5.0)
            time.sleep(WARM_SECONDS)
            before, clock = stack.metrics("worker"), CpuClock({"worker": stack.pids()["worker"]})
            time.sleep(minutes * 60)
            after, cpu = stack.metrics("worker"), clock.seconds()["worker"]
            stack.check()
            generator.finish()
        finally:
            generator.close()
    events = after[LINES] - before[LINES]
    detecting = after[DETECTING] - before[DETECTING]
    each, share = 1e6 * cpu / events, 100 * detecting / cpu
    return (
        f"{sites:,} sites, {events / minutes / 60:,.0f} events/s: the worker takes {each:.1f} µs of CPU an"
        f" event, of it detection {each * share / 100:.3f} µs: {share:.2f} %"
        f" ({1000 * detecting / minutes:.0f} ms a minute)"
    )


@click.command()
@click.option(
    "--sites", default="12,100,1000", show_default=True, help="Of the fleet, a run for each number."
)
@click.option("--rate", default=RATE, show_default=True, help="Events per second.")
@click.option("--minutes", default=3.0, show_default=True, help="Length of each run.")
def main(sites: str, rate: float, minutes: float) -> None:
    """Measure detection's share of the worker."""
    click.echo(machine())
    for number in map(int, sites.split(",")):
        click.echo(measure(number, rate, minutes))


if __name__ == "__main__":
    main()
