"""`make bench`: everything in one run, the contenders in turn, and one table.

python -m benchmarks [--quick] [--repeat 3] [--minutes 10] [--rows 100000000] [--data FOLDER]
[--only pipeline,…] [--base CHECKOUT] [--write]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import beside, engine, ingest, insight, keys, latency, memory, pipeline, read, table
from benchmarks.peers import run as peers
from benchmarks.peers import with_java
from benchmarks.stack import Stack
from benchmarks.table import Findings
from benchmarks.usage import machine

PARTS = ("pipeline", "keys", "engine", "peers", "ingest", "latency", "memory", "read", "insight")
ON_STORE = {"read", "insight"}  # parts that are measured once, on a store of their own
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@click.command()
@click.option("--repeat", default=3, show_default=True, help="Repetitions; the table shows medians.")
@click.option("--events", default=2_000_000, show_default=True, help="Events of a Kafka → ClickHouse run.")
@click.option("--minutes", default=10.0, show_default=True, help="Length of the memory run.")
@click.option("--rows", default=read.ROWS, show_default=True, help="Events of the store that is read.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of that store, kept and used again; {read.VARIABLE} names one too.",
)
@click.option("--quick", is_flag=True, help="One repetition of everything, about five minutes.")
@click.option("--only", default=",".join(PARTS), show_default=True, help="Parts to measure.")
@click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Another checkout of Tidegate, whose figures are measured in turn with this one's.",
)
@click.option("--write", is_flag=True, help="Write the table into docs/performance.md.")
def main(
    repeat: int,
    events: int,
    minutes: float,
    rows: int,
    data: Path | None,
    quick: bool,
    only: str,
    base: Path | None,
    write: bool,
) -> None:
    """Measure Tidegate beside what one would use instead."""
    wanted = set(only.split(","))
    if unknown := wanted - set(PARTS):
        raise click.UsageError(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    if quick:
        repeat, events, minutes = 1, min(events, 500_000), min(minutes, 1.0)
        rows = min(rows, 2_000_000)
    click.echo(machine())
    found = Findings()
    for number in range(1, repeat + 1 if wanted - ON_STORE else 1):
        click.echo(f"repetition {number} of {repeat}")
        _repetition(found, wanted, number, events, quick)
    if base is not None:
        click.echo("beside the other checkout")
        shorter: dict[str, Any] = dict(events=200_000, seconds=8.0, rows=300_000) if quick else {}
        found.beside = beside.compare(
            base, repeat=repeat, tell=lambda text: click.echo(f"  {text}"), **shorter
        )
    if "memory" in wanted:
        click.echo(f"memory, {minutes:g} minutes")
        found.memory = memory.measure(minutes=minutes, tell=lambda text: click.echo(f"  {text}"))
    if "read" in wanted:
        click.echo(f"reading, {rows:,} events")
        found.read = read.measure(rows=rows, data=data, tell=lambda text: click.echo(f"  {text}"))
    if "insight" in wanted:
        click.echo(f"insight, {rows:,} events")
        found.insight = insight.measure(
            rows=rows, data=data, rate=read.RATE, tell=lambda text: click.echo(f"  {text}")
        )
    text = table.render(found) if wanted - ON_STORE or base is not None else ""
    asked = table.reading(found.read) if found.read is not None else ""
    seen = table.insights(found.insight) if found.insight is not None else ""
    click.echo(f"\n{text}\n\n{asked}\n\n{seen}")
    if write:
        if text:
            table.write(PAGE, text)
        if asked:
            table.write(PAGE, asked, table.READ_BEGIN, table.READ_END)
        if seen:
            table.write(PAGE, seen, table.INSIGHT_BEGIN, table.INSIGHT_END)
        click.echo(f"\nwritten to {PAGE}")


def _repetition(found: Findings, wanted: set[str], number: int, events: int, quick: bool) -> None:
    """Each contender once."""
    if wanted & {"pipeline", "engine", "peers"}:
        with Stack() as stack:
            if wanted & {"pipeline", "engine"}:
                _add(found, table.PIPELINE, pipeline.measure_on(stack, events, seed=number))
            if "engine" in wanted:
                _add(found, table.ENGINE_ROWS, engine.rows(stack))
                _add(found, table.ENGINE_DOCUMENTS, engine.documents(stack, events // 2, number))
            if "peers" in wanted:
                _add(found, table.FAUST, peers.measure(stack, "faust", events // 25, number))
                _add(found, table.AIOKAFKA, peers.measure(stack, "aiokafka", events // 4, number))
                if missing := with_java.why_not_here():
                    click.echo(f"  {table.JAVA}: not measured, {missing}")
                else:
                    _add(found, table.JAVA, peers.measure(stack, "java", events // 3, number))
    if "pipeline" in wanted:
        _add(found, table.TWO_WORKERS, pipeline.measure(events, seed=number, workers=2))
    if "keys" in wanted:
        if not wanted & {"pipeline", "engine"}:
            _add(found, table.PIPELINE, pipeline.measure(events, seed=number))
        _add(found, table.KEYED, pipeline.measure(events, seed=number, keyed=True))
        cost = keys.measure(events // 8)
        click.echo(f"  {cost.describe()}")
        found.keys.append(cost)
    if "ingest" in wanted:
        ladder = []
        with Stack() as stack:
            for step in ingest.knee(stack, seconds=8.0 if quick else ingest.SECONDS):
                click.echo(f"  {step.describe()}")
                ladder.append(step)
        found.ladders.append(ladder)
    if "latency" in wanted:
        with Stack() as stack:
            stack.start("gateway", "worker", "sink")
            stack.await_ready("gateway", "worker", "sink")
            one = latency.measure(stack, seconds=10.0 if quick else 30.0)
            click.echo(f"  POST → queryable: {one.describe()}")
            found.latency.append(one)


def _add(found: Findings, name: str, result: pipeline.Result) -> None:
    click.echo(f"  {name}: {result.describe()}")
    found.add(name, result)


if __name__ == "__main__":
    main()
