"""`tidegate verify`: run it once, as JSON, or watch."""

from __future__ import annotations

import sys
import time
from datetime import date, datetime
from functools import partial

import click
from clickhouse_connect.driver.client import Client

from tidegate.contracts.topics import StreamPartition
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.kafka.topics import read_epoch
from tidegate.settings import Settings, load
from tidegate.store.client import connect, infrastructure
from tidegate.telemetry import configure_logging
from tidegate.verify.alerts import findings as alert_findings
from tidegate.verify.balance import SINCE, UNTIL, PartitionBalance, read
from tidegate.verify.in_flight import InFlight, committed, in_flight
from tidegate.verify.period import kept_since
from tidegate.verify.report import Report, show, show_findings, width_of
from tidegate.verify.watch import away, line


def verify(
    client: Client,
    settings: Settings,
    *,
    since: date = SINCE,
    until: date = UNTIL,
    kafka: bool = True,
    alerts: bool = False,
) -> Report:
    """Compare the ledger with the tables for the received days `since` to `until`, both inclusive: those of
    them that no table has begun to let go.

    Raises RetryLater while ClickHouse is away. `kafka` asks for what is in flight as well; `alerts` holds the
    alerts against the events that are stored.
    """
    begun = time.monotonic()
    ask = partial(_committed, settings, _epoch(settings)) if kafka else _unknown
    with infrastructure():
        since = max(since, kept_since(client, settings.clickhouse_database) or SINCE)
        partitions, findings, accepted_gaps = read(
            client, settings.clickhouse_database, since, until, committed=ask
        )
    if alerts:
        findings = [*findings, *alert_findings(client, settings, kafka=kafka)]
    flying = _in_flight(settings, partitions) if kafka else []
    seconds = time.monotonic() - begun
    return Report(since, until, partitions, flying or [], flying is None, accepted_gaps, findings, seconds)


def _unknown(row: PartitionBalance) -> int | None:
    return None


def _epoch(settings: Settings) -> str:
    try:
        return read_epoch(connection(settings), timeout_seconds=5.0)
    except RetryLater:
        return ""


def _committed(settings: Settings, epoch: str, row: PartitionBalance) -> int | None:
    """How far the sink is with a partition; None where Kafka is away or in another epoch."""
    if row.epoch != epoch:
        return None
    try:
        partition = StreamPartition(row.stream, row.partition)
        return committed(connection(settings), settings.sink_group, [partition])[partition]
    except RetryLater:
        return None


def _in_flight(settings: Settings, partitions: list[PartitionBalance]) -> list[InFlight] | None:
    try:
        epoch = read_epoch(connection(settings), timeout_seconds=5.0)
        stored = {(row.stream, row.partition): row.last for row in partitions if row.epoch == epoch}
        return in_flight(connection(settings), stored)
    except RetryLater:
        return None


_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command("verify")
@click.option(
    "--since", type=_DAY, help="First received day, YYYY-MM-DD  [default: all that every table keeps]"
)
@click.option("--until", type=_DAY, help="Last received day, inclusive  [default: all that is there]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
@click.option("--watch", is_flag=True, help="A line a look, until interrupted.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds, for --watch."
)
@click.option("--alerts", is_flag=True, help="Fold the stored events again, and compare the alerts.")
@click.option("--kafka/--no-kafka", default=True, help="Whether to ask the broker for what is in flight.")
def command(
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
    watch: bool,
    every: float,
    alerts: bool,
    kafka: bool,
) -> None:
    """Compare the ledger with the tables and their rollups. Exit status 1 where they do not balance."""
    configure_logging("verify", "critical")
    loaded = load()
    client = connect(loaded)
    status = 0
    try:
        while True:
            try:
                report = verify(
                    client,
                    loaded,
                    since=since.date() if since else SINCE,
                    until=until.date() if until else UNTIL,
                    kafka=kafka,
                    alerts=alerts,
                )
            except RetryLater as error:
                if not watch:
                    raise
                click.echo(away(error, datetime.now()), err=as_json)
            else:
                status = 0 if report.balanced else 1
                if as_json:
                    click.echo(report.as_json().decode())
                elif watch:
                    click.echo(line(report, datetime.now()))
                    show_findings(report, click.echo)
                else:
                    show(report, click.echo, width=width_of(sys.stdout))
            if not watch:
                break
            time.sleep(every)
    except KeyboardInterrupt:
        pass
    finally:
        client.close()
    sys.exit(status)
