"""Reading a store that holds a month of events: the API beside SQL, association files, and `tidegate verify`.

    python -m benchmarks.read --rows 100000000 --data FOLDER
    python -m benchmarks.read --rows 5000000 --rate 0

The store is filled first, unless the folder has one; a folder that is named is kept.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import click
import uvloop
from clickhouse_connect.driver.binding import bind_query

from benchmarks import history
from benchmarks.asking import Answers, Subjects, ask, ask_at, quantile
from benchmarks.history import History
from benchmarks.load import Generator, Load
from benchmarks.stack import FLEET, Stack
from benchmarks.usage import CpuClock, machine, usage
from tidegate.api.associations import DAY_MICROS
from tidegate.lookups import load as load_lookups
from tidegate.store.associations import STREAMING, Associations, associations
from tidegate.store.client import plain
from tidegate.tokens import TokenFile
from tidegate.verify import balance

ROWS = 100_000_000
RATE = 20_000.0
CLIENTS = 8
SECONDS = 60.0
PER_SECOND = 10.0
ASSOCIATIONS = 1_000_000
VARIABLE = "TIDEGATE_BENCH_DATA"
PIECE = 1 << 20

Tell = Callable[[str], None]


@dataclass(slots=True)
class File:
    """The association file of a period, from the API and from ClickHouse itself."""

    rows: int
    size: int  # bytes
    api: list[float]  # seconds, one a fetch
    sql: list[float]
    api_rss: int  # bytes that the api process grew by, at most


@dataclass(slots=True)
class Verification:
    seconds: float
    parts: dict[str, float]  # seconds of each query
    peak: int  # bytes that the ClickHouse process grew by, at most
    findings: int


@dataclass(slots=True)
class Read:
    """What one run found."""

    history: History
    disk: int  # bytes of the tables with their rollups
    parts: int  # of client events
    rate: float  # events per second that flowed in meanwhile
    clients: int
    load: Load | None = None
    answers: list[Answers] = field(default_factory=list)
    offered: Answers | None = None  # asked at a steady rate, beside the same flow
    cpu: dict[str, float] = field(default_factory=dict)  # cores busy by process while readers asked
    file: File | None = None
    verification: Verification | None = None

    def describe(self) -> str:
        rows = self.history.rows
        lines = [
            f"{rows:,} rows of {self.history.days} days, {self.disk / rows:.0f} bytes a row with rollups"
        ]
        if self.load is not None:
            load = self.load
            lines.append(f"meanwhile {load.acked / load.seconds:,.0f} events/s acked, {load.refused} refused")
        lines += [answers.describe() for answers in self.answers]
        if self.offered is not None:
            lines.append(f"{self.offered.name}: {self.offered_times()}")
        lines.append("cores busy: " + ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu.items()))
        if self.file is not None:
            file = self.file
            api, sql = (file.rows / min(times) for times in (file.api, file.sql))
            lines.append(
                f"associationdata, {file.rows:,} associations, {file.size >> 20} MiB of CSV: API {api:,.0f}"
                f" rows/s, ClickHouse {sql:,.0f} rows/s, {api / sql:.2f} of it;"
                f" the api process grew by {file.api_rss >> 20} MiB"
            )
        if self.verification is not None:
            one = self.verification
            parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in one.parts.items())
            lines.append(
                f"verify: {one.seconds:.2f} s ({parts}), ClickHouse grew by {one.peak >> 20} MiB,"
                f" {one.findings} findings"
            )
        return "\n".join(lines)

    def offered_times(self) -> str:
        """Of the answers to questions at a steady rate."""
        assert self.offered is not None
        p50, p99 = (quantile(self.offered.api, part) * 1000 for part in (0.5, 0.99))
        return f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms ({len(self.offered.api)} asked)"


def measure(
    *,
    rows: int = ROWS,
    data: Path | None = None,
    rate: float = RATE,
    clients: int = CLIENTS,
    per_second: float = PER_SECOND,
    seconds: float = SECONDS,
    tell: Tell = lambda text: None,
) -> Read:
    """Fill the store unless `data` has one, then measure. `rate` 0: nothing flows in meanwhile, and no
    questions are asked at a steady rate; nor with `per_second` 0."""
    with opened(rows, data, tell) as (stack, filled):
        return _measure_on(
            stack, filled, rate=rate, clients=clients, per_second=per_second, seconds=seconds, tell=tell
        )


@contextmanager
def opened(rows: int, data: Path | None, tell: Tell) -> Iterator[tuple[Stack, History]]:
    """The engines on a store of `rows` events, which is filled unless the folder `data` has one."""
    with _folder(data) as folder:
        history.lookups_folder(folder).mkdir(parents=True, exist_ok=True)
        forever: dict[str, Any] = {
            f"ttl_{name}_days": 0
            for name in (
                *("connection_logs", "client_events", "device_logs"),
                *("rollups_1m", "rollups_1h", "site_events"),
            )
        }
        filled = history.find(folder)
        if filled is None:
            with Stack(store=folder / "clickhouse", **forever) as stack:
                filled = history.fill(stack.client, folder, rows, tell)
        lookups = str(history.lookups_folder(folder))
        with Stack(store=folder / "clickhouse", lookups_dir=lookups, **forever) as stack:
            history.copy_days(stack.client, tell)
            history.merge_days(stack.client, tell)
            yield stack, filled


def _measure_on(
    stack: Stack,
    filled: History,
    *,
    rate: float,
    clients: int,
    per_second: float,
    seconds: float,
    tell: Tell,
) -> Read:
    [(disk, parts)] = stack.client.query(
        "SELECT sum(bytes_on_disk), countIf(table = 'client_events') FROM system.parts"
        " WHERE active AND database = currentDatabase()"
    ).result_rows
    read = Read(filled, int(disk), int(parts), rate, clients)
    stack.start("api")
    stack.await_ready("api")
    token = TokenFile(stack.settings.tokens_path).create("reader", fleet=FLEET, role="viewer")
    read.verification = verification(stack)
    tell(f"verify: {read.verification.seconds:.2f} s")
    read.file = association_file(stack, filled, token)
    tell(f"association file of {read.file.rows:,} rows")
    subjects = _subjects(stack, filled)
    generator: Generator | None = None
    try:
        if rate:
            stack.start("gateway", "worker", "sink")
            stack.await_ready("gateway", "worker", "sink")
            generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token)
            generator.begin(rate, 2 * seconds + 5.0 if per_second else seconds + 5.0)
            time.sleep(4.0)  # until the flow is a steady one
        api = f"http://{stack.settings.api_listen}"
        if generator is not None and per_second:  # first: a crowd leaves a backlog
            read.offered = uvloop.run(ask_at(api, token, subjects, rate=per_second, seconds=seconds))
            tell(f"{read.offered.name}: {read.offered_times()}")
        clock = CpuClock(stack.pids())
        read.answers = uvloop.run(
            ask(
                api,
                token,
                stack.settings.clickhouse_url,
                subjects,
                clients=clients,
                seconds=seconds,
            )
        )
        read.cpu = {name: cpu / seconds for name, cpu in clock.seconds().items()}
        if generator is not None:
            read.load = generator.finish()
    finally:
        if generator is not None:
            generator.close()
    return read


def verification(stack: Stack) -> Verification:
    """Time each query of `tidegate verify`, over all days."""
    client, database = stack.client, stack.settings.clickhouse_database
    period = balance.SINCE, balance.UNTIL
    parts: dict[str, float] = {}
    begin = time.monotonic()
    with _growth(stack.pids()["clickhouse"]) as growth:
        _, findings, _ = balance.read(client, database, *period)
    whole = time.monotonic() - begin
    days = f"(since = '{balance.SINCE}', until = '{balance.UNTIL}')"
    for name, view in (
        ("partitions", f"verify_partitions{days}"),
        ("gaps", "verify_gaps"),
        ("rollups", f"verify_rollups{days}"),
    ):
        begin = time.monotonic()
        client.query(f"SELECT * FROM {view}")
        parts[name] = time.monotonic() - begin
    return Verification(whole, parts, growth.peak, len(findings))


def association_file(stack: Stack, filled: History, token: str, *, repeat: int = 3) -> File:
    """Fetch the file of the last days that have ASSOCIATIONS of them, from both in turn."""
    end = datetime.fromisoformat(filled.first_day).replace(tzinfo=UTC) + timedelta(days=filled.days)
    wanted, start = ASSOCIATIONS, end
    per_day = stack.client.query(
        "SELECT received_day, sum(events) FROM client_events_1d WHERE outcome = 'success'"
        " AND received_day < {end:Date} GROUP BY received_day ORDER BY received_day DESC",
        parameters={"end": end.date()},
    ).result_rows
    for day, events in per_day:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        wanted -= int(events)
        if wanted <= 0:
            break
    since = int(start.timestamp()) * 1_000_000
    until = int(end.timestamp()) * 1_000_000 - 1
    api = urlsplit(f"http://{stack.settings.api_listen}")
    url, signed = plain(stack.settings.clickhouse_url)
    clickhouse = urlsplit(url)
    query = associations(
        Associations(fleet=FLEET, since=since, until=until, made_at=time.time_ns() // 1000), _zones(stack)
    )
    text, bound = bind_query(query.sql, dict(query.parameters))
    parameters = {**bound, **STREAMING, "database": stack.settings.clickhouse_database}
    file = File(0, 0, [], [], 0)
    pid = stack.pids()["api"]
    for _ in range(repeat):
        begin = time.monotonic()
        _, named = _fetch(
            api.netloc,
            f"/V2/analytics/associationdata/{start:%Y-%m-%d}/{end - timedelta(days=1):%Y-%m-%d}",
            token=token,
            keep=True,
        )
        with _growth(pid) as growth:
            (lines, size), _ = _fetch(api.netloc, named.decode(), token=token)
        if file.api:  # the first one also reads the lookups
            file.api_rss = max(file.api_rss, growth.peak)
        file.api.append(time.monotonic() - begin)
        file.rows, file.size = lines - 1, size
        begin = time.monotonic()
        body = f"{text} FORMAT CSV" if isinstance(text, str) else text.decode() + " FORMAT CSV"
        (lines, _), _ = _fetch(
            clickhouse.netloc, f"/?{urlencode(parameters)}", body=body.encode(), headers=signed
        )
        file.sql.append(time.monotonic() - begin)
        if lines != file.rows:
            raise RuntimeError(f"the API's file has {file.rows} rows, ClickHouse's {lines}")
    return file


def _zones(stack: Stack) -> dict[tuple[str, int], str]:
    sites = load_lookups(stack.settings.lookups_dir).sites
    return {place: site.timezone for place, site in sites.by_location.items() if site.timezone}


def _fetch(
    address: str,
    path: str,
    *,
    token: str = "",
    body: bytes | None = None,
    keep: bool = False,
    headers: Mapping[str, str] | None = None,
) -> tuple[tuple[int, int], bytes]:
    """The lines and bytes of an answer, and the answer itself where it is to be kept."""
    connection = http.client.HTTPConnection(address, timeout=600)
    sent = {"Authorization": f"Bearer {token}"} if token else dict(headers or {})
    connection.request("POST" if body is not None else "GET", path, body, sent)
    answer = connection.getresponse()
    lines = size = 0
    kept = b""
    while piece := answer.read1(PIECE):
        lines += piece.count(b"\n")
        size += len(piece)
        if keep or answer.status != 200:
            kept += piece
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path[:200]} was answered {answer.status}: {kept[:500]!r}")
    return (lines, size), kept


def _subjects(stack: Stack, filled: History) -> Subjects:
    """Clients and devices of the last day, picked by hash."""
    last = datetime.fromisoformat(filled.first_day).replace(tzinfo=UTC) + timedelta(days=filled.days - 1)
    picked = [
        [
            str(value)
            for (value,) in stack.client.query(
                f"SELECT DISTINCT {column} FROM {table} WHERE fleet = {{fleet:String}}"
                f" AND toDate(received_at) = {{day:Date}} ORDER BY cityHash64({column}) LIMIT 5000",
                parameters={"fleet": FLEET, "day": last.date()},
            ).result_rows
        ]
        for table, column in (("client_events", "mac"), ("device_logs", "device_id"))
    ]
    return Subjects(FLEET, picked[0], picked[1], int(last.timestamp() * 1e6) // DAY_MICROS * DAY_MICROS)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder of the history: the one that is named, or one that goes afterwards."""
    named = data or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        yield named
        return
    folder = Path(tempfile.mkdtemp(prefix="tidegate-read-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Growth:
    peak: int = 0


@contextmanager
def _growth(pid: int) -> Iterator[_Growth]:
    """How far a process grows above where it stood."""
    found, done, begin = _Growth(), threading.Event(), usage(pid).rss

    def watch() -> None:
        while not done.wait(0.02):
            with contextlib.suppress(Exception):
                found.peak = max(found.peak, usage(pid).rss - begin)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@click.command()
@click.option("--rows", default=ROWS, show_default=True, help="Events of the history.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of the history, kept; {VARIABLE} names one too.",
)
@click.option("--rate", default=RATE, show_default=True, help="Events per second that flow in; 0 for none.")
@click.option("--clients", default=CLIENTS, show_default=True, help="Readers at once.")
@click.option(
    "--per-second",
    default=PER_SECOND,
    show_default=True,
    help="Questions at a steady rate beside the flow, before the readers; 0 for none.",
)
@click.option("--seconds", default=SECONDS, show_default=True, help="Of either.")
def main(**options: Any) -> None:
    """Measure reading alone."""
    click.echo(machine())
    click.echo(measure(**options, tell=click.echo).describe())


if __name__ == "__main__":
    main()
