"""ClickHouse away under load: does the gateway go on answering 201, and how fast does the sink catch up?

    python -m benchmarks.outage --rate 20000 --before 30 --away 600 --after 60

Load at a steady rate all the time. ClickHouse's process is killed with -9, stays away, and is started
again. Told are the posts answered and not, what was stored at each moment, the rate of catching up beside
the rate of arrival, and the memory of each process before, during and after. At the end the ledger must
balance: `tidegate verify`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from benchmarks.load import Generator, Load
from benchmarks.stack import Stack
from benchmarks.usage import machine, usage

RATE = 20_000.0
ROLES = ("gateway", "worker", "sink")
STEP_SECONDS = 1.0
PATIENCE_SECONDS = 1800.0


@dataclass(slots=True)
class Outage:
    """What one outage was like. Times in seconds, sizes in bytes."""

    rate: float  # events per second offered
    away: float
    load: Load | None = None
    backlog: int = 0  # events acked and not stored when ClickHouse was back
    caught_up_after: float = 0.0  # from ClickHouse's answer until the sink kept up again
    stored_meanwhile: int = 0
    rss: dict[str, dict[str, int]] = field(default_factory=dict)  # before, highest while away, after
    balanced: bool = False

    @property
    def catch_up(self) -> float:
        """Events per second that were stored while the sink caught up."""
        return self.stored_meanwhile / self.caught_up_after if self.caught_up_after else 0.0

    def describe(self) -> str:
        load = self.load
        assert load is not None
        lines = [
            f"{self.rate:,.0f} events/s, ClickHouse away for {self.away:,.0f} s:",
            f"  posts: {load.acked:,} events answered 201, {load.refused:,} otherwise, {load.lost:,} not at"
            f" all; p50 {load.quantile(0.5) * 1000:.0f} ms, p99 {load.quantile(0.99) * 1000:.0f} ms",
            f"  backlog of {self.backlog:,} events; the sink kept up again {self.caught_up_after:.1f} s after"
            f" ClickHouse was back: {self.catch_up:,.0f} events/s stored, {self.catch_up / self.rate:.1f}"
            " times the rate of arrival",
            f"  ledger: {'balanced' if self.balanced else 'NOT BALANCED'}",
            "  RSS in MiB (before, highest while away, highest while catching up, at the end):",
        ]
        for name, sizes in self.rss.items():
            lines.append(f"    {name:<11}" + "".join(f"{sizes.get(when, 0) >> 20:>7}" for when in MOMENTS))
        return "\n".join(lines)


MOMENTS = ("before", "away", "catching up", "end")


class MemoryWatch:
    """The highest RSS of each process in each phase, looked at every second in a thread."""

    def __init__(self, pids: Callable[[], dict[str, int]]) -> None:
        self.phase = MOMENTS[0]
        self.highest: dict[str, dict[str, int]] = {}
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(STEP_SECONDS):
            for name, pid in self._pids().items():
                try:
                    size = usage(pid).rss
                except Exception:  # it is dead at this moment
                    continue
                sizes = self.highest.setdefault(name, {})
                sizes[self.phase] = max(sizes.get(self.phase, 0), size)


def measure(
    *,
    rate: float = RATE,
    before: float = 30.0,
    away: float = 600.0,
    after: float = 60.0,
    kafka: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Outage:
    """One outage on engines of its own. `after` is how long the load lasts behind ClickHouse's return, at
    least; it ends when the sink has caught up under load, or at the latest with `away` once more.
    """
    found = Outage(rate, away)
    with Stack(on_kafka=kafka) as stack:
        stack.start(*ROLES)
        stack.await_ready(*ROLES)
        generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token)
        memory = MemoryWatch(stack.pids)
        try:
            begun = time.monotonic()
            generator.begin(rate, before + away + max(after, away / 2))
            time.sleep(before)
            memory.phase = MOMENTS[1]
            stack.clickhouse.child.kill()
            stack.clickhouse.child.wait(10.0)
            tell(f"ClickHouse killed after {before:g} s")
            while time.monotonic() - begun < before + away:
                stack.check()
                time.sleep(STEP_SECONDS)
            stack.clickhouse.start()
            memory.phase = MOMENTS[2]
            back = time.monotonic()
            first = stack.stored()
            found.backlog = round((back - begun) * rate) - first
            tell(f"ClickHouse back, {found.backlog:,} events behind")
            quiet = 0
            while quiet < 3:
                stack.check()
                if time.monotonic() - back > PATIENCE_SECONDS:
                    raise TimeoutError("the sink does not catch up")
                time.sleep(STEP_SECONDS)
                offered = min(time.monotonic() - begun, before + away + max(after, away / 2)) * rate
                stored = stack.stored()
                behind = offered - stored
                tell(f"  {time.monotonic() - back:.0f} s: {stored:,} stored, {max(behind, 0):,.0f} behind")
                if behind < 2 * rate:
                    if not quiet:
                        found.caught_up_after = time.monotonic() - back
                        found.stored_meanwhile = stored - first
                    quiet += 1
                else:
                    quiet = 0
            memory.phase = MOMENTS[3]
            found.load = generator.finish()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while stack.stored() < found.load.acked and time.monotonic() < deadline:
                stack.check()
                time.sleep(STEP_SECONDS)
            time.sleep(2 * STEP_SECONDS)
            found.balanced = balanced(stack)
        finally:
            memory.stop()
            generator.close()
        found.rss = memory.highest
    return found


def balanced(stack: Stack) -> bool:
    """The product's own word."""
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "verify"], env=stack.environment, capture_output=True, text=True
    )
    return done.returncode == 0


@click.command()
@click.option("--rate", default=RATE, show_default=True, help="Events per second.")
@click.option("--before", default=30.0, show_default=True, help="Seconds of load before the outage.")
@click.option("--away", default=600.0, show_default=True, help="Seconds without ClickHouse.")
@click.option("--after", default=60.0, show_default=True, help="Seconds of load behind it, at least.")
@click.option("--kafka", is_flag=True, help="On Apache Kafka instead of the embedded broker.")
def main(rate: float, before: float, away: float, after: float, kafka: bool) -> None:
    """Measure one outage of ClickHouse. Status 1 where a post was refused, or the ledger does not balance."""
    click.echo(machine())
    found = measure(rate=rate, before=before, away=away, after=after, kafka=kafka, tell=click.echo)
    click.echo(found.describe())
    assert found.load is not None
    sys.exit(0 if found.balanced and found.load.acked == found.load.sent else 1)


if __name__ == "__main__":
    main()
