"""The insight calls and the dashboard on a store of a month: each query, each answer, each page.

    python -m benchmarks.insight --rows 5000000
    python -m benchmarks.insight --rows 100000000 --data FOLDER --rate 20000

The store is that of `benchmarks.read`. One reader asks first, with nothing else under way; then several at
once, while events flow in, each its next question when the last is answered. A backtest folds all days.
"""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import click
import httpx

from benchmarks.asking import quantile
from benchmarks.history import History
from benchmarks.load import Generator, Load
from benchmarks.read import VARIABLE, opened
from benchmarks.stack import FLEET, Stack
from benchmarks.usage import CpuClock, machine
from tidegate.alerts import backtest, recount
from tidegate.contracts.counts import MINUTE
from tidegate.lookups import alert_rules
from tidegate.tokens import TokenFile

ROWS = 5_000_000
REPEAT = 20
READERS = 8
SECONDS = 60.0
PAGE_SECONDS = 1.1  # a page's figures are remembered for a second
INCIDENT = timedelta(hours=8, minutes=40)  # of the day: RADIUS fails at a site (history.INCIDENTS)

Tell = Callable[[str], None]


class Question(NamedTuple):
    name: str
    path: str
    page: bool = False


@dataclass(slots=True)
class Times:
    """Of one question or query, in seconds."""

    name: str
    taken: list[float] = field(default_factory=list)
    size: int = 0  # bytes of the largest answer
    cpu: float = 0.0  # seconds of ClickHouse and the API for one, which a busy machine does not stretch

    def ms(self, part: float) -> float:
        return quantile(sorted(self.taken), part) * 1000


@dataclass(slots=True)
class Backtest:
    """The product's rules folded over all days of the store."""

    site_minutes: int
    alerts: int
    seconds: float
    cpu: float  # seconds, of the folding processes
    clickhouse: float  # CPU seconds

    def describe(self) -> str:
        each = 1e6 / max(self.site_minutes, 1)
        month = (self.cpu + self.clickhouse) / max(self.site_minutes, 1) * 30 * 1440 * 100
        return (
            f"backtest, {self.site_minutes:,} site-minutes: {self.alerts} alerts in {self.seconds:.1f} s, CPU"
            f" {self.cpu * each:.1f} µs a site-minute and {self.clickhouse * each:.1f} of ClickHouse,"
            f" {month:.0f} s for 30 days of 100 sites"
        )


@dataclass(slots=True)
class Insight:
    """What one run found."""

    history: History
    queries: list[Times] = field(default_factory=list)  # of ClickHouse, one reader
    answers: list[Times] = field(default_factory=list)  # one reader
    beside: list[Times] = field(default_factory=list)  # several readers, events flow in
    readers: int = 0
    load: Load | None = None
    backtest: Backtest | None = None

    def describe(self) -> str:
        lines = [f"{self.history.rows:,} events of {self.history.days} days"]
        for title, group in (("query", self.queries), ("alone", self.answers), ("beside", self.beside)):
            lines += [
                f"{title} {one.name}: p50 {one.ms(0.5):.0f} p95 {one.ms(0.95):.0f} ms"
                f" ({len(one.taken)}, {one.size / 1000:.0f} kB"
                + (f", {one.cpu * 1000:.0f} ms of CPU each)" if one.cpu else ")")
                for one in group
            ]
        if self.backtest is not None:
            lines.append(self.backtest.describe())
        if self.load is not None:
            lines.append(f"meanwhile {self.load.acked / self.load.seconds:,.0f} events/s acked")
        return "\n".join(lines)


def measure(
    *,
    rows: int = ROWS,
    data: Path | None = None,
    rate: float = 0.0,
    readers: int = READERS,
    seconds: float = SECONDS,
    repeat: int = REPEAT,
    tell: Tell = lambda text: None,
) -> Insight:
    """Fill the store unless `data` has one, then measure. `rate` 0: one reader alone."""
    with opened(rows, data, tell) as (stack, filled):
        found = Insight(filled)
        stack.start("api")
        stack.await_ready("api")
        token = TokenFile(stack.settings.tokens_path).create("reader", fleet=FLEET, role="viewer")
        last = datetime.fromisoformat(filled.first_day).replace(tzinfo=UTC) + timedelta(days=filled.days - 1)
        asked = questions(stack, last)
        with closing(reader(stack, token)) as client:
            found.queries = queries(stack, client, asked, repeat)
            tell(f"{len(found.queries)} queries")
            found.answers = [alone(stack, client, question, repeat) for question in asked]
        found.backtest = backtest_of(stack)
        if rate:
            _beside(found, stack, token, asked, rate, readers, seconds)
        return found


def questions(stack: Stack, day: datetime) -> list[Question]:
    """Calls at an incident of a day, over two hours and a day, and the pages as they open."""
    until = day + INCIDENT
    [(site,)] = stack.client.query(
        "SELECT site FROM site_minutes WHERE fleet = {fleet:String} AND outcome = 'failure'"
        " AND minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}"
        " GROUP BY site ORDER BY sum(events) DESC LIMIT 1",
        parameters={
            "fleet": FLEET,
            "since": f"{until - timedelta(minutes=30):%Y-%m-%d %H:%M:%S}",
            "until": f"{until:%Y-%m-%d %H:%M:%S}",
        },
    ).result_rows
    [(mac,)] = stack.client.query(
        "SELECT mac FROM client_events WHERE fleet = {fleet:String} AND site = {site:String}"
        " AND toDate(received_at) = {day:Date} GROUP BY mac ORDER BY count() DESC, mac LIMIT 1",
        parameters={"fleet": FLEET, "site": site, "day": day.date()},
    ).result_rows
    place = quote(str(site), safe="")
    found = [Question("overview", _call("overview", to=until))]
    for name, length in (("2 h", timedelta(hours=2)), ("1 day", timedelta(days=1))):
        span = {"from": until - length, "to": until}
        found += [
            Question(f"sle, {name}", _call("sle", **span)),
            Question(f"site, {name}", _call(f"sites/{place}", **span)),
            Question(f"client, {name}", _call(f"clients/{mac}", **span)),
            Question(f"contrast of a site, {name}", _call("contrast", site=str(site), stage="aaa", **span)),
            Question(f"changes of a site, {name}", _call("changes", site=str(site), **span)),
        ]
    found += [
        Question("page: overview", "/", page=True),
        Question("page: site", f"/sites/{place}", page=True),
        Question("page: client", f"/clients/{mac}", page=True),
    ]
    return found


def _call(path: str, **parameters: datetime | str) -> str:
    texts = {
        name: value if isinstance(value, str) else f"{value:%Y-%m-%dT%H:%M:%SZ}"
        for name, value in parameters.items()
    }
    return f"/api/v1/insight/{path}?{urlencode(texts)}"


def reader(stack: Stack, token: str) -> httpx.Client:
    """Logged in, as a browser is, and with the token for the calls."""
    url = f"http://{stack.settings.api_listen}"
    client = httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
    answer = client.post("/login", data={"token": token}, headers={"Origin": url})
    if answer.status_code != 303:
        raise RuntimeError(f"the login was answered {answer.status_code}")
    return client


def get(client: httpx.Client, question: Question) -> httpx.Response:
    answer = client.get(question.path)
    if answer.status_code != 200:
        raise RuntimeError(f"{question.path} was answered {answer.status_code}: {answer.text[:500]}")
    return answer


def queries(stack: Stack, client: httpx.Client, asked: Sequence[Question], repeat: int) -> list[Times]:
    """Each query behind each answer, by itself."""
    found = []
    for question in asked:
        if question.page:
            continue
        for query in get(client, question).json()["sql"]:
            times = Times(f"{question.name}: {query['name']}")
            clock = CpuClock(stack.pids())
            for _ in range(repeat):
                begin = time.perf_counter()
                result = stack.client.raw_query(query["text"], query["parameters"], fmt="Native")
                times.taken.append(time.perf_counter() - begin)
                times.size = len(result)
            times.cpu = clock.seconds()["clickhouse"] / repeat
            found.append(times)
    return found


def alone(stack: Stack, client: httpx.Client, question: Question, repeat: int) -> Times:
    times = Times(question.name)
    clock = CpuClock(stack.pids())
    for _ in range(repeat):
        if question.page:
            time.sleep(PAGE_SECONDS)
        begin = time.perf_counter()
        answer = get(client, question)
        times.taken.append(time.perf_counter() - begin)
        times.size = max(times.size, len(answer.content))
    used = clock.seconds()
    times.cpu = (used["clickhouse"] + used["api"]) / repeat
    return times


def backtest_of(stack: Stack) -> Backtest:
    """Fold what the store holds by the product's own rules."""
    [(sites, first, last)] = stack.client.query(
        "SELECT uniq(fleet, site), toUnixTimestamp(min(minute)), toUnixTimestamp(max(minute))"
        " FROM site_minutes"
    ).result_rows
    since, until = (recount.HOUR * (1_000_000 * int(at) // recount.HOUR) for at in (first, last))
    clock = CpuClock(stack.pids())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    changes = backtest.changes(stack.settings, alert_rules.load(""), since, until)
    alerts = sum(change.sequence == 1 for change in changes)
    taken = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    minutes = int(sites) * (until - since) // MINUTE
    return Backtest(minutes, alerts, taken, cpu, clock.seconds()["clickhouse"])


def _beside(
    found: Insight,
    stack: Stack,
    token: str,
    asked: Sequence[Question],
    rate: float,
    readers: int,
    seconds: float,
) -> None:
    """Several readers while events flow in."""
    found.readers = readers
    times = {question: Times(question.name) for question in asked}
    failed: list[Exception] = []
    stack.start("gateway", "worker", "sink")
    stack.await_ready("gateway", "worker", "sink")
    generator = Generator(f"http://{stack.settings.gateway_listen}", stack.token)
    try:
        generator.begin(rate, seconds + 5.0)
        time.sleep(4.0)  # until the flow is a steady one
        end = time.monotonic() + seconds

        def read(number: int) -> None:
            pick = random.Random(number)
            try:
                with closing(reader(stack, token)) as client:
                    while time.monotonic() < end:
                        question = pick.choice(asked)
                        begin = time.perf_counter()
                        answer = get(client, question)
                        times[question].taken.append(time.perf_counter() - begin)
                        times[question].size = max(times[question].size, len(answer.content))
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        found.load = generator.finish()
    finally:
        generator.close()
    found.beside = [one for one in times.values() if one.taken]


def slowest(queries: Sequence[Times]) -> list[Times]:
    """One of each name: where it took longest."""
    worst: dict[str, Times] = {}
    for one in queries:
        name = one.name.rpartition(": ")[2]
        if name not in worst or one.ms(0.95) > worst[name].ms(0.95):
            worst[name] = one
    return sorted(worst.values(), key=lambda one: -one.ms(0.95))


@click.command()
@click.option("--rows", default=ROWS, show_default=True, help="Events of the store.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of the store, kept; {VARIABLE} names one too.",
)
@click.option(
    "--rate", default=0.0, show_default=True, help="Events per second for the second part; 0: none."
)
@click.option("--readers", default=READERS, show_default=True, help="Readers at once in it.")
@click.option("--seconds", default=SECONDS, show_default=True)
@click.option("--repeat", default=REPEAT, show_default=True)
def main(**options: Any) -> None:
    """Measure the insight calls and the dashboard alone."""
    click.echo(machine())
    click.echo(measure(**options, tell=click.echo).describe())


if __name__ == "__main__":
    main()
