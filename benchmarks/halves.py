"""Two settings of Tidegate beside each other on the same engines: of each role two processes, one of each.

The gateways are posted to in turn, in short rounds. What they wrote is then taken by two workers, a partition
each, and what these wrote by two sinks, at the same time. A ratio of rounds is the median of each round's
own: whatever else the machine does hits both sides.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.load import Generator
from benchmarks.pipeline import await_stored
from benchmarks.stack import Stack
from benchmarks.usage import CpuClock

TAKEN = {"worker": "tidegate_worker_lines_total", "sink": "tidegate_sink_rows_total"}


def compare(
    stack: Stack, names: tuple[str, str], *, rounds: int, rate: float, seconds: float, batch: int = 500
) -> str:
    """A Markdown table. `rate`: events/s offered to a gateway; more than it takes measures its speed."""
    rows: list[tuple[str, float, float, float]] = []
    with stack:
        stack.start("gateway")
        stack.await_ready("gateway")
        generators = [
            Generator(stack.url("gateway", number), stack.token, batch=batch, unique=60_000)
            for number in (0, 1)
        ]
        acked, found = 0, []
        try:
            for round in range(rounds + 1):
                sides = [{}, {}]
                for number in (0, 1) if round % 2 else (1, 0):
                    sides[number], count = _post(stack, generators[number], number, rate, seconds)
                    acked += count
                found.append(sides)
        finally:
            for generator in generators:
                generator.close()
        for what in found[0][0]:
            pairs = [(sides[0][what], sides[1][what]) for sides in found[1:]]  # the first warms up
            medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
            ratio = statistics.median(other / one for one, other in pairs)
            rows.append((what, medians[0], medians[1], ratio))
        for role in ("worker", "sink"):
            one, other = _take(stack, role, acked)
            rows.append((f"{role}, CPU µs an event", one, other, other / one))
    lines = [f"| | {names[0]} | {names[1]} | ratio |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {what} | {one:,.1f} | {other:,.1f} | {ratio:.2f} |" for what, one, other, ratio in rows]
    return "\n".join(lines)


def _post(
    stack: Stack, generator: Generator, number: int, rate: float, seconds: float
) -> tuple[dict[str, float], int]:
    """One round at one gateway: what it took, and how many events were acknowledged."""
    name = "gateway-2" if number else "gateway"
    pids = stack.pids()
    clock = CpuClock({"gateway": pids[name], "broker": pids["broker"]})
    generator.begin(rate, seconds)
    load = generator.finish()
    if load.acked != load.sent:
        raise RuntimeError(
            f"{name}: {load.refused} events refused, {load.lost} lost\n{stack.roles[name].tail()}"
        )
    cpu = {name: used * 1e6 / load.acked for name, used in clock.seconds().items()}
    return {
        "HTTP → Kafka, events/s": load.rate,
        "post p50, ms": load.quantile(0.5) * 1000,
        "gateway, CPU µs an event": cpu["gateway"],
        "broker while it writes, CPU µs an event": cpu["broker"],
    }, load.acked


def _take(stack: Stack, role: str, events: int) -> tuple[float, float]:
    """CPU µs an event of the role's two processes, until all events have been taken."""
    stack.start(role)
    stack.await_ready(role)
    pids = stack.pids()
    clock = CpuClock({name: pids[name] for name in (role, f"{role}-2")})
    if role == "worker":
        while stack.metrics(role).get(TAKEN[role], 0.0) < events:
            stack.check()
            time.sleep(0.05)
    else:
        await_stored(stack, events)
    used = clock.seconds()
    taken = [stack.metrics(role, number)[TAKEN[role]] for number in (0, 1)]
    return used[role] * 1e6 / taken[0], used[f"{role}-2"] * 1e6 / taken[1]
