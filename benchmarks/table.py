"""The results as Markdown, for the terminal and for docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.asking import quantile
from benchmarks.beside import Figures
from benchmarks.beside import table as comparison
from benchmarks.ingest import LIMIT_SECONDS, Step
from benchmarks.insight import Insight, slowest
from benchmarks.keys import Cost
from benchmarks.latency import Latency
from benchmarks.memory import Memory
from benchmarks.pipeline import Result
from benchmarks.read import Read
from benchmarks.usage import machine

PIPELINE = "Tidegate, Kafka → ClickHouse"
TWO_WORKERS = "Tidegate, Kafka → ClickHouse, two workers"
KEYED = "Tidegate, Kafka → ClickHouse, a key on each batch of 500"
FAUST = "Faust, one event a record, pydantic"
AIOKAFKA = "aiokafka, one event a record, pydantic"
JAVA = "hand-written Java, one event a record, two threads, no rollups"
ENGINE_ROWS = "ClickHouse alone, JSONEachRow of Tidegate's rows, with rollups"
ENGINE_DOCUMENTS = "ClickHouse alone, JSONEachRow of the client events as sent, plain table"
HTTP = "Tidegate, HTTP → queryable, highest sustained rate"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
READ_BEGIN, READ_END = "<!-- reading: begin -->", "<!-- reading: end -->"
INSIGHT_BEGIN, INSIGHT_END = "<!-- insight: begin -->", "<!-- insight: end -->"


@dataclass(slots=True)
class Findings:
    """What a whole run found; lists hold one entry a repetition."""

    results: dict[str, list[Result]] = field(default_factory=dict)
    ladders: list[list[Step]] = field(default_factory=list)  # the knee's steps, a ladder a repetition
    latency: list[Latency] = field(default_factory=list)
    keys: list[Cost] = field(default_factory=list)
    beside: list[tuple[Figures, Figures]] = field(default_factory=list)  # this checkout, another; a turn each
    memory: Memory | None = None
    read: Read | None = None
    insight: Insight | None = None

    def add(self, name: str, result: Result) -> None:
        self.results.setdefault(name, []).append(result)


def median_cpu(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


def render(found: Findings) -> str:
    """Markdown: the machine, the table of speeds, the knee, latency and memory."""
    parts = [f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine()}; everything on the same cores."]
    parts += [_speeds(found)]
    if found.keys:
        parts.append(_keys(found.keys))
    if found.ladders:
        parts.append(_ladder(found.ladders))
    if found.latency:
        parts.append(_latency(found.latency))
    if found.beside:
        parts.append(f"Beside another commit, medians of {len(found.beside)}:")
        parts.append(comparison(found.beside))
    if found.memory is not None:
        parts.append(_memory(found.memory))
    return "\n\n".join(part for part in parts if part)


def reading(read: Read) -> str:
    """Markdown: the API beside SQL, the association file, and `tidegate verify`, on one store."""
    rows, load, file, verified = read.history.rows, read.load, read.file, read.verification
    inflow = "nothing flowed in meanwhile"
    if load is not None:
        inflow = f"while {load.acked / load.seconds:,.0f} events/s flowed in over HTTP"
    busy = ", ".join(f"{name} {cores:.2f}" for name, cores in read.cpu.items())
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine()}; everything on the same cores.",
        "",
        f"{rows:,} events of {read.history.days} days, {read.disk / 1e9:.1f} GB with rollups"
        f" ({read.disk / rows:.0f} bytes an event), in {read.parts} parts of client events."
        f" {read.clients} readers at once, each with its next question when the last is answered,"
        f" {inflow}. Cores busy: {busy}.",
        "",
        "| question | asked | API p50 | API p99 | SQL p50 | SQL p99 | the API adds at the median |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for answers in read.answers:
        times = [
            f"{quantile(side, part) * 1000:,.1f} ms"
            for side in (answers.api, answers.sql)
            for part in (0.5, 0.99)
        ]
        cells = [answers.name, f"{len(answers.api):,}", *times, f"{answers.added * 1000:+.1f} ms"]
        lines.append(f"| {' | '.join(cells)} |")
    if read.offered is not None:
        lines += ["", f"The same questions, {read.offered.name} ({inflow}): {read.offered_times()}."]
    if file is not None:
        api, sql = (file.rows / statistics.median(times) for times in (file.api, file.sql))
        lines += [
            "",
            f"Association data, a file of {file.rows:,} associations ({file.size / 1e6:.0f} MB of CSV),"
            f" both steps: {api:,.0f} rows/s; ClickHouse writing the same CSV over HTTP: {sql:,.0f} rows/s"
            f" ({api / sql:.2f} of it; medians of {len(file.api)}). The api process grew by"
            f" {file.api_rss >> 20} MiB.",
        ]
    if verified is not None:
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in verified.parts.items())
        lines += [
            "",
            f"`tidegate verify` over all days: {verified.seconds:.2f} s ({parts}); ClickHouse grew by"
            f" {verified.peak >> 20} MiB meanwhile.",
        ]
    return "\n".join(lines)


def insights(found: Insight) -> str:
    """Markdown: answers and pages, alone and beside what flows in, and the queries behind them."""
    beside = {one.name: one for one in found.beside}
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine()}; everything on the same cores.",
        "",
        f"{found.history.rows:,} events of {found.history.days} days."
        " Alone: one reader, nothing else under way.",
    ]
    if found.load is not None:
        flowed = found.load.acked / found.load.seconds
        lines[-1] += (
            f" Beside: {found.readers} readers without a pause while {flowed:,.0f} events/s flowed in."
        )
    lines += [
        "",
        "| answer or page | kB | CPU | alone p50 | alone p95 | beside p50 | beside p95 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found.answers:
        other = beside.get(one.name)
        cells = [one.name, f"{one.size / 1000:.0f}", f"{one.cpu * 1000:,.0f} ms"]
        for times in (one, other):
            cells += ["", ""] if times is None else [f"{times.ms(part):,.0f} ms" for part in (0.5, 0.95)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| query, where it takes longest | CPU | p50 | p95 |", "| --- | ---: | ---: | ---: |"]
    for one in slowest(found.queries):
        times = (one.cpu * 1000, one.ms(0.5), one.ms(0.95))
        lines.append(f"| {one.name} | {' | '.join(f'{ms:,.0f} ms' for ms in times)} |")
    if found.backtest is not None:
        lines += ["", f"{found.backtest.describe()[0].upper()}{found.backtest.describe()[1:]}."]
    return "\n".join(lines)


def sustained(ladder: Sequence[Step]) -> Step | None:
    """The highest step of a ladder that was sustained."""
    good = [step for step in ladder if step.sustained]
    return good[-1] if good else None


def _speeds(found: Findings) -> str:
    rows = []
    pipeline = found.results.get(PIPELINE)
    ours = statistics.median(result.rate for result in pipeline) if pipeline else None
    for name, results in found.results.items():
        rate = statistics.median(result.rate for result in results)
        ratio = f"{ours / rate:.2g} ×" if ours is not None and name != PIPELINE else ""
        cpu = median_cpu([result.cpu_per_million() for result in results])
        spread = f"{min(r.rate for r in results):,.0f}–{max(r.rate for r in results):,.0f}"
        rows.append((name, f"{rate:,.0f}", spread, ratio, cpu, len(results)))
    tops = [top for top in map(sustained, found.ladders) if top is not None]
    if tops:
        rates = [top.load.rate for top in tops]
        cpu = median_cpu([top.cpu for top in tops])
        spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
        rows.append((HTTP, f"{statistics.median(rates):,.0f}", spread, "", cpu, len(tops)))
    if not rows:
        return ""
    lines = [
        "| what | events/s | runs | Tidegate is | CPU s per million events |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, rate_text, spread, ratio, cpu, count in rows:
        detail = ", ".join(f"{process} {seconds:.2f}" for process, seconds in cpu.items())
        lines.append(
            f"| {name} | {rate_text} | {count}: {spread} | {ratio} | **{sum(cpu.values()):.1f}**: {detail} |"
        )
    return "\n".join(lines)


def _keys(costs: Sequence[Cost]) -> str:
    """Its own measure: whole runs differ by more than a key costs."""
    ratios = [ratio for cost in costs for ratio in cost.ratios]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"With a key on each batch of 500 the worker's main thread takes {middle:.3f} × the CPU, frame by"
        f" frame in turn ({len(ratios)} blocks of frames, half of them {low:.3f} to {high:.3f})."
    )


def _ladder(ladders: Sequence[Sequence[Step]]) -> str:
    lines = [
        "HTTP → queryable as the offered rate grows. Sustained: all acked, 99 of 100 posts answered within "
        f"{LIMIT_SECONDS:g} s, all queryable within {LIMIT_SECONDS:g} s of the last answer.",
        "",
        "| offered events/s | acked events/s | post p50 | post p99 | queryable after | sustained |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    offered = sorted({step.load.offered for ladder in ladders for step in ladder})
    for rate in offered:
        steps = [step for ladder in ladders for step in ladder if step.load.offered == rate]
        acked = statistics.median(step.load.rate for step in steps)
        p50 = statistics.median(step.load.quantile(0.5) for step in steps) * 1000
        p99 = statistics.median(step.load.quantile(0.99) for step in steps) * 1000
        behind = statistics.median(step.behind for step in steps)
        good = sum(step.sustained for step in steps)
        lines.append(
            f"| {rate:,.0f} | {acked:,.0f} | {p50:,.0f} ms | {p99:,.0f} ms | {behind:.2f} s "
            f"| {good} of {len(steps)} |"
        )
    return "\n".join(lines)


def _latency(runs: Sequence[Latency]) -> str:
    p50 = statistics.median(run.quantile(0.5) for run in runs) * 1000
    p99 = statistics.median(run.quantile(0.99) for run in runs) * 1000
    probes = sum(len(run.probes) for run in runs)
    missing = sum(run.missing for run in runs)
    tail = f"; {missing} never came" if missing else ""
    return (
        "POST of a single event → found by SQL, beside 20,000 events/s: "
        f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms ({probes} probes in {len(runs)} runs{tail})."
    )


def _memory(memory: Memory) -> str:
    lines = [
        f"Memory (RSS, MiB) in {memory.minutes:g} minutes at {memory.rate:,.0f} events/s over HTTP "
        f"({memory.events:,} events). The embedded broker keeps what it was given.",
        "",
        "| process | after a minute | at the end | highest |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, first in memory.first.items():
        lines.append(
            f"| {name} | {first >> 20:,} | {memory.last[name] >> 20:,} | {memory.highest[name] >> 20:,} |"
        )
    return "\n".join(lines)


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the result between the marks of a page; at its end where there are none."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    section = f"{begin}\n\n{text}\n\n{end}"
    if begin in page and end in page:
        head, _, rest = page.partition(begin)
        page = head + section + rest.partition(end)[2]
    else:
        page = page.rstrip() + "\n\n" + section + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
