"""This checkout beside another one, each by its own benchmarks, in turn: CPU an event, latency, the knee,
reading.

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
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from benchmarks.usage import machine

HERE = Path(__file__).parent.parent
RATES = (20_000, 30_000)
_PIPELINE = re.compile(r"([\d,]+) events/s .*CPU s per million: (.*), all ")
_STEP = re.compile(
    r"^([\d,]+)/s offered: ([\d,]+)/s acked.*: (sustained|not sustained); CPU s per million: (.*)$"
)
_LATENCY = re.compile(r"p50 (\d+) ms, p99 (\d+) ms")
_READ = re.compile(r"^(.*): API p50 ([\d.]+) p99 ", re.MULTILINE)
_BYTES = re.compile(r"([\d,]+) bytes a row with rollups")

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


def reading(folder: Path, rows: int, store: Path) -> Figures:
    """One reader of a store of a month, with nothing else under way: ms at the median, and bytes on disk.

    `store` is a folder for it, one a checkout: the schemas differ."""
    said = run(
        folder,
        *("read", "--rows", str(rows), "--data", str(store), "--rate", "0", "--clients", "1"),
        *("--seconds", "20"),
    )
    found = _BYTES.search(said)
    assert found is not None
    return {
        **{f"{name}, p50 ms": _number(p50) for name, p50 in _READ.findall(said)},
        "bytes on disk an event": _number(found[1]),
    }


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


PARTS = ("pipeline", "live", "latency", "knee", "read")


def compare(
    base: Path,
    *,
    repeat: int,
    events: int = 600_000,
    seconds: float = 12.0,
    rows: int = 3_000_000,
    only: Sequence[str] = PARTS,
    tell: Callable[[str], None] = lambda text: None,
) -> list[tuple[Figures, Figures]]:
    """The figures of this checkout and of `base`, a pair a turn; who goes first changes with the turn."""
    turns: list[tuple[Figures, Figures]] = []
    with tempfile.TemporaryDirectory(prefix="tidegate-beside-") as stores:
        parts: Mapping[str, Callable[[Path], Figures]] = {
            "pipeline": lambda folder: pipeline(folder, events),
            "live": lambda folder: live(folder, seconds),
            "latency": lambda folder: latency(folder, 2 * seconds),
            "knee": lambda folder: knee(folder, seconds),
            "read": lambda folder: reading(
                folder, rows, Path(stores) / ("this" if folder == HERE else "base")
            ),
        }
        for turn in range(repeat):
            mine: Figures = {}
            theirs: Figures = {}
            for part in only:
                for folder, figures in ((HERE, mine), (base, theirs))[:: 1 if turn % 2 else -1]:
                    figures |= parts[part](folder)
                    tell(f"turn {turn + 1}: {part} of {folder.resolve().name}")
            turns.append((mine, theirs))
    return turns


@click.command()
@click.argument("base", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--repeat", default=3, show_default=True)
@click.option("--events", default=600_000, show_default=True, help="Of a Kafka → ClickHouse run.")
@click.option("--seconds", default=12.0, show_default=True, help="Of a step over HTTP.")
@click.option("--rows", default=3_000_000, show_default=True, help="Of the store that is read.")
@click.option("--only", default=",".join(PARTS), show_default=True)
def main(base: Path, repeat: int, events: int, seconds: float, rows: int, only: str) -> None:
    """Measure this checkout beside BASE and print a Markdown table."""
    wanted = only.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise click.UsageError(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    turns = compare(
        base,
        repeat=repeat,
        events=events,
        seconds=seconds,
        rows=rows,
        only=wanted,
        tell=lambda text: click.echo(text, err=True),
    )
    click.echo(f"{machine()}; medians of {repeat}\n\n{table(turns)}")


def table(turns: Sequence[tuple[Figures, Figures]]) -> str:
    """Markdown: the medians of each side, and the median of the turns' ratios."""
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
