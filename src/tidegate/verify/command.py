"""`tidegate verify`: run it once, as JSON, or watch."""

from __future__ import annotations

import time
from datetime import date

from clickhouse_connect.driver.client import Client
from rich.console import Console

from tidegate.errors import RetryLater
from tidegate.settings import Settings
from tidegate.store.client import connect, infrastructure
from tidegate.topics import read_epoch
from tidegate.verify.books import SINCE, UNTIL, Books, read
from tidegate.verify.in_flight import InFlight, in_flight
from tidegate.verify.report import Report, show


def verify(
    client: Client, settings: Settings, *, since: date = SINCE, until: date = UNTIL, kafka: bool = True
) -> Report:
    """Compare the books with the tables for the received days `since` to `until`, both inclusive.

    Raises RetryLater while ClickHouse is away. `kafka` asks for what is in flight as well.
    """
    begun = time.monotonic()
    with infrastructure():
        books, findings, accepted_gaps = read(client, settings.clickhouse_database, since, until)
    flying = _in_flight(settings, books) if kafka else []
    return Report(since, until, books, flying, accepted_gaps, findings, time.monotonic() - begun)


def _in_flight(settings: Settings, books: list[Books]) -> list[InFlight]:
    try:
        epoch = read_epoch(settings.kafka_bootstrap, timeout_seconds=2.0)
        stored = {(row.stream, row.partition): row.last for row in books if row.epoch == epoch}
        return in_flight(settings.kafka_bootstrap, stored)
    except RetryLater:
        return []


def run(
    settings: Settings, *, since: date, until: date, as_json: bool, watch: float | None, kafka: bool
) -> int:
    """The command: report once, or every `watch` seconds until interrupted. Returns the exit status."""
    client = connect(settings)
    console = Console()
    try:
        while True:
            report = verify(client, settings, since=since, until=until, kafka=kafka)
            if as_json:
                print(report.as_json().decode())
            else:
                show(report, console)
            if watch is None:
                return 0 if report.balanced else 1
            time.sleep(watch)
    except KeyboardInterrupt:
        return 0
    finally:
        client.close()
