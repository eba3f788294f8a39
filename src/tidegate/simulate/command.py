"""`tidegate simulate`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import uvloop

from tidegate import settings
from tidegate.contracts.rejects import Code
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import TidegateError, UsageError
from tidegate.kafka.connection import Connection, connection
from tidegate.simulate import fleet as topology
from tidegate.simulate import send_http, send_kafka
from tidegate.simulate.broken import HTTP_ONLY, KAFKA_ONLY
from tidegate.simulate.incidents import NAMES, NEGATIVES
from tidegate.simulate.pace import Pace
from tidegate.simulate.report import Ledger, Report
from tidegate.simulate.schedule import parse
from tidegate.simulate.simulation import Plan, Simulation
from tidegate.simulate.truth import TruthFile

QUIET_EVERY = 30.0  # seconds between lines of progress where there is no terminal


@click.command()
@click.option("--rate", default=200.0, show_default=True, help="Events per second; 0: as fast as possible.")
@click.option("--events", type=int, help="Stop after this many events.")
@click.option("--seconds", type=float, help="Stop after this many seconds.")
@click.option("--seed", default=1, show_default=True, help="Same seed and start: same events.")
@click.option(
    "--invalid", default=0.0, show_default=True, help="Share of broken events, of every reject kind."
)
@click.option("--http", "url", help="Gateway to send to, e.g. http://127.0.0.1:8080.")
@click.option("--token", help="Bearer token of the fleet.")
@click.option("--token-file", type=click.Path(path_type=Path), help="demo-tokens.json: uses its `ingest`.")
@click.option("--kafka", "bootstrap", help="Kafka to write to instead, host:port.")
@click.option("--fleet", default="demo", show_default=True, help="Fleet in Kafka's envelopes and in lookups.")
@click.option(
    "--batch",
    type=click.IntRange(0, 10_000),
    help="Events in a request (0, 1: single events, the default) or in a Kafka record (default 500).",
)
@click.option("--connections", default=64, show_default=True, help="HTTP connections.")
@click.option(
    "--idempotent", is_flag=True, help="Idempotency keys (HTTP) or the idempotent producer (Kafka)."
)
@click.option("--start", help="Simulated time of the first event, ISO 8601; default: now.")
@click.option("--speedup", default=1.0, show_default=True, help="Simulated seconds to a second.")
@click.option(
    "--incidents",
    default="all",
    show_default=True,
    help="List of all, negatives, none and NAME[:SITE][@AFTER[+LASTING]] in simulated seconds; all:"
    f" {', '.join(NAMES)}; negatives, which are none: {', '.join(NEGATIVES)}.",
)
@click.option("--sites", default=12, show_default=True, type=click.IntRange(1, 480), help="Number of sites.")
@click.option("--stream", "streams", multiple=True, type=click.Choice(STREAMS), help="Only these streams.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Append acked ids or positions to this file.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append what the incidents were to this file, a JSON line each, as they end.",
)
@click.option(
    "--write-lookups",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the fleet's sites.csv and approved_networks.csv into this folder; "
    "without --http or --kafka, that is all.",
)
def simulate(
    rate: float,
    events: int | None,
    seconds: float | None,
    seed: int,
    invalid: float,
    url: str | None,
    token: str | None,
    token_file: Path | None,
    bootstrap: str | None,
    fleet: str,
    batch: int | None,
    connections: int,
    idempotent: bool,
    start: str | None,
    speedup: float,
    incidents: str,
    sites: int,
    streams: tuple[Stream, ...],
    ledger: Path | None,
    truth: Path | None,
    write_lookups: Path | None,
) -> None:
    """A fleet to play with: sites, access points and clients that send telemetry.

    Sends over HTTP (--http and a token) or straight into Kafka (--kafka). Prints what was sent and acked.
    """
    try:
        if write_lookups is not None:
            plan = Plan(seed=seed, start=0, sites=sites)
            topology.write_lookups(write_lookups, fleet, Simulation(plan).sites)
            if url is None and bootstrap is None:
                return
        if (url is None) == (bootstrap is None):
            raise UsageError("give one of --http and --kafka")
        if not 0 <= invalid <= 1:
            raise UsageError("--invalid: a share from 0 to 1")
        if rate < 0:
            raise UsageError("--rate: 0 or more")
        simulation = Simulation(
            Plan(
                seed=seed,
                start=_start(start),
                rate=rate,
                speedup=speedup,
                sites=sites,
                streams=streams or STREAMS,
                invalid=invalid,
                codes=frozenset(Code) - (KAFKA_ONLY if url else HTTP_ONLY),
                incidents=parse(incidents),
            )
        )
        report, book, happened = Report(), Ledger(ledger), TruthFile(truth)
        begin = time.monotonic()
        pace = Pace(rate, begin, events)
        progress = _Progress(simulation, report, book, happened, begin)
        try:
            if url is not None:
                options = send_http.Options(
                    url=url,
                    token=_token(token, token_file),
                    connections=connections,
                    batch=batch or 0,
                    idempotent=idempotent,
                )
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(_over_http(options, simulation, report, book, pace, seconds, progress))
            else:
                assert bootstrap is not None
                _into_kafka(
                    send_kafka.Options(
                        kafka=_kafka(bootstrap),
                        fleet=fleet,
                        frame=500 if batch is None else batch,
                        idempotent=idempotent,
                    ),
                    simulation,
                    report,
                    book,
                    pace,
                    seconds,
                    progress,
                )
        finally:
            book.close()
            happened.write([*simulation.ended(), *simulation.unended()])
            happened.close()
            click.echo(report.summary(time.monotonic() - begin))
    except TidegateError as error:
        click.echo(f"tidegate simulate: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _kafka(bootstrap: str) -> Connection:
    """The broker of the option, by the settings' security."""
    return connection(settings.load(overrides={"kafka_bootstrap": bootstrap}))


async def _over_http(
    options: send_http.Options,
    simulation: Simulation,
    report: Report,
    ledger: Ledger,
    pace: Pace,
    seconds: float | None,
    tick: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    await send_http.Sender(options, simulation, report, ledger).run(pace, stop, tick)


def _into_kafka(
    options: send_kafka.Options,
    simulation: Simulation,
    report: Report,
    ledger: Ledger,
    pace: Pace,
    seconds: float | None,
    tick: Callable[[], None],
) -> None:
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop.append(number))
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    sender = send_kafka.Sender(options, simulation, report, ledger)
    sender.run(pace, lambda: bool(stop) or time.monotonic() >= end, tick)


class _Progress:
    """A line a second on a terminal, seldom elsewhere."""

    def __init__(
        self, simulation: Simulation, report: Report, ledger: Ledger, truth: TruthFile, begin: float
    ) -> None:
        self._simulation = simulation
        self._report = report
        self._ledger = ledger
        self._truth = truth
        self._begin = begin
        self._every = 1.0 if sys.stdout.isatty() else QUIET_EVERY
        self._last, self._acked = begin, 0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        acked = self._report.total("acked")
        rate = (acked - self._acked) / (now - self._last)
        self._last, self._acked = now, acked
        self._ledger.flush()
        self._truth.write(self._simulation.ended())
        click.echo(self._report.line(now - self._begin, rate, self._simulation.running()))


def _start(text: str | None) -> int:
    """Microseconds since 1970 UTC; a time without a zone is UTC."""
    if text is None:
        return time.time_ns() // 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--start: {text!r} is not an ISO 8601 time") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _token(token: str | None, file: Path | None) -> str:
    if token:
        return token
    if file is None:
        raise UsageError("--http needs --token or --token-file")
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["ingest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--token-file {file}: {error!r}") from error
