"""Memory of each process under a steady load: after the first minute, and at the end.

python -m benchmarks.memory --minutes 10
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import click

from benchmarks.load import Generator
from benchmarks.stack import Stack
from benchmarks.usage import machine, usage

RATE = 20_000.0
FIRST_SECONDS = 60.0
ROLES = ("gateway", "worker", "sink")


@dataclass(slots=True)
class Memory:
    rate: float
    minutes: float
    first: dict[str, int] = field(default_factory=dict)  # RSS in bytes after the first minute, by process
    last: dict[str, int] = field(default_factory=dict)  # at the end
    highest: dict[str, int] = field(default_factory=dict)
    events: int = 0

    def describe(self) -> str:
        lines = [f"{self.events:,} events in {self.minutes:g} minutes at {self.rate:,.0f}/s; RSS in MiB:"]
        for name, first in self.first.items():
            lines.append(
                f"  {name:<11} after a minute {first >> 20:>6}, at the end {self.last[name] >> 20:>6}, "
                f"highest {self.highest[name] >> 20:>6}"
            )
        return "\n".join(lines)


def measure(
    *, minutes: float = 10.0, rate: float = RATE, tell: Callable[[str], None] = lambda text: None
) -> Memory:
    """On engines of its own, since what ran before would show."""
    memory = Memory(rate, minutes)
    with Stack() as stack:
        stack.start(*ROLES)
        stack.await_ready(*ROLES)
        generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token)
        try:
            begin = time.monotonic()
            generator.begin(rate, minutes * 60)
            first_at = min(FIRST_SECONDS, minutes * 30)
            while (elapsed := time.monotonic() - begin) < minutes * 60:
                stack.check()
                now = {name: usage(pid).rss for name, pid in stack.pids().items()}
                for name, size in now.items():
                    memory.highest[name] = max(size, memory.highest.get(name, 0))
                if not memory.first and elapsed >= first_at:
                    memory.first = now
                memory.last = now
                time.sleep(min(5.0, max(0.2, minutes * 60 - elapsed)))
                if int(elapsed) % 60 < 5:
                    tell(f"{elapsed / 60:.1f} min: " + ", ".join(f"{n} {s >> 20}" for n, s in now.items()))
            memory.events = generator.finish().acked
        finally:
            generator.close()
    return memory


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--rate", default=RATE, show_default=True)
def main(minutes: float, rate: float) -> None:
    """Measure memory alone."""
    click.echo(machine())
    click.echo(measure(minutes=minutes, rate=rate, tell=click.echo).describe())


if __name__ == "__main__":
    main()
