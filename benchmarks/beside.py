"""This checkout beside another one, each by its own benchmarks, in turn: CPU an event, latency, the knee.

    git worktree add ../base COMMIT
    python -m benchmarks.beside ../base --repeat 3

The ratio of a line is the median over the turns of each turn's own ratio: what else the machine does falls
on both.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from benchmarks.pipeline import Result
from benchmarks.usage import machine

HERE = Path(__file__).parent.parent
RATES = (20_000, 30_000)
_PIPELINE = re.compile(r"([\d,]+) events/s .*CPU s per million: (.*), all ")
_STEP = re.compile(
    r"^([\d,]+)/s offered: ([\d,]+)/s acked.*: (sustained|not sustained); CPU s per million: (.*)$"
)
_LATENCY = re.compile(r"p50 (\d+) ms, p99 (\d+) ms")

Figures = dict[str, float]


def run(folder: Path, module: str, *arguments: str) -> str:
    """What a benchmark of the checkout in `folder` prints. Raises RuntimeError where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder.resolve() / "src")},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{folder}: benchmarks.{module}:\n{done.stdout}{done.stderr}")
    return done.stdout


def pipeline(folder: Path, events: int) -> Figures:
    """Kafka → ClickHouse: events/s, and CPU µs an event of each process."""
    found = _PIPELINE.search(run(folder, "pipeline", "--events", str(events)))
    assert found is not None
    return {"Kafka → ClickHouse, events/s": _number(found[1]), **_cpu("Kafka → ClickHouse", found[2])}


def result(folder: Path, events: int) -> Result:
    """The same as one run's result."""
    figures = pipeline(folder, events)
    what = "Kafka → ClickHouse, "
    rate = figures[f"{what}events/s"]
    cpu = {name.removeprefix(what): value for name, value in figures.items() if name.startswith(what)}
    for total in ("events/s", "CPU µs an event"):
        del cpu[total]
    return Result(events, events / rate, {name: value * events / 1e6 for name, value in cpu.items()})


def live(folder: Path, seconds: float) -> Figures:
    """HTTP → queryable at steady rates: CPU µs an event of each process but the load generator."""
    rates = ",".join(map(str, RATES))
    figures: Figures = {}
    for line in run(folder, "ingest", "--rates", rates, "--seconds", str(seconds)).splitlines():
        if found := _STEP.match(line):
            figures |= _cpu(f"HTTP at {found[1]}/s", found[4])
    return figures


def latency(folder: Path, seconds: float) -> Figures:
    """POST → queryable beside 20,000 events/s, ms."""
    found = _LATENCY.search(run(folder, "latency", "--seconds", str(seconds)))
    assert found is not None
    return {"POST → queryable, p50 ms": float(found[1]), "POST → queryable, p99 ms": float(found[2])}


def knee(folder: Path, seconds: float) -> Figures:
    """The highest rate that was sustained over HTTP, events/s."""
    best = 0.0
    for line in run(folder, "ingest", "--seconds", str(seconds)).splitlines():
        if (found := _STEP.match(line)) and found[3] == "sustained":
            best = _number(found[1])
    return {"highest sustained HTTP rate, events/s": best}


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _cpu(what: str, text: str) -> Figures:
    parts = dict(part.rsplit(" ", 1) for part in text.split(", "))
    parts.pop("load", None)
    values = {name: float(value) for name, value in parts.items()}
    return {
        f"{what}, CPU µs an event": sum(values.values()),
        **{f"{what}, {name}": value for name, value in values.items()},
    }


@click.command()
@click.argument("base", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--repeat", default=3, show_default=True)
@click.option("--events", default=600_000, show_default=True, help="Of a Kafka → ClickHouse run.")
@click.option("--seconds", default=12.0, show_default=True, help="Of a step over HTTP.")
@click.option("--only", default="pipeline,live,latency,knee", show_default=True)
def main(base: Path, repeat: int, events: int, seconds: float, only: str) -> None:
    """Measure this checkout beside BASE and print a Markdown table."""
    parts: Mapping[str, Callable[[Path], Figures]] = {
        "pipeline": lambda folder: pipeline(folder, events),
        "live": lambda folder: live(folder, seconds),
        "latency": lambda folder: latency(folder, 2 * seconds),
        "knee": lambda folder: knee(folder, seconds),
    }
    wanted = only.split(",")
    if unknown := set(wanted) - set(parts):
        raise click.UsageError(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(parts)}")
    turns: list[tuple[Figures, Figures]] = []
    for turn in range(repeat):
        mine, theirs = {}, {}
        for part in wanted:
            for folder, figures in ((HERE, mine), (base, theirs))[:: 1 if turn % 2 else -1]:
                figures |= parts[part](folder)
                click.echo(f"turn {turn + 1}: {part} of {folder.resolve().name}", err=True)
        turns.append((mine, theirs))
    click.echo(f"{machine()}; medians of {repeat}\n\n{table(turns)}")


def table(turns: Sequence[tuple[Figures, Figures]]) -> str:
    lines = ["| | this | base | ratio |", "| --- | ---: | ---: | ---: |"]
    for name in turns[0][0]:
        pairs = [(mine[name], theirs[name]) for mine, theirs in turns if name in mine and name in theirs]
        ratios = [one / other for one, other in pairs if other]
        if ratios:
            one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
            lines.append(f"| {name} | {one:,.1f} | {other:,.1f} | {statistics.median(ratios):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
