"""`tidegate erase client` and `tidegate erase rollups`."""

from __future__ import annotations

import click

from tidegate.contracts.formats import parse_mac
from tidegate.erase.client import Eraser, finish
from tidegate.erase.rollups import Day, Rollups
from tidegate.errors import UsageError
from tidegate.settings import load
from tidegate.store.client import connect, infrastructure
from tidegate.store.migrate import require_newest
from tidegate.telemetry import configure_logging

_FLEET = click.option("--fleet", required=True, help="The fleet of the client.")


@click.group("erase")
def command() -> None:
    """Erase what is stored of a person's device."""


@command.command("client")
@click.argument("mac")
@_FLEET
@click.option("--dry-run", is_flag=True, help="Say how many rows there are, and change nothing.")
def client_(mac: str, fleet: str, dry_run: bool) -> None:
    """Take the rows of a client, MAC, out of every table, and its events out of the rollups.

    Every row of the fleet goes in which the MAC stands, in any spelling, or a pseudonym of it: events,
    refused lines, alerts, deliveries. Run it once more when it was broken off. What Kafka and backups still
    hold is in docs/privacy.md.
    """
    configure_logging("erase", "critical")
    try:
        canonical = parse_mac(mac)
    except ValueError:
        raise UsageError(f"mac: {mac!r} is no MAC address") from None
    loaded = load()
    with connect(loaded) as client:
        with infrastructure():
            require_newest(client, loaded)
        eraser = Eraser(client, loaded, fleet, canonical)
        if dry_run:
            for table, rows in eraser.find().items():
                click.echo(f"{table}: {rows:,} rows")
            return
        done = eraser.erase(click.echo)
    for table, rows in done.rows.items():
        click.echo(f"{table}: {rows:,} rows erased")
    _tell(done.rebuilt, done.left)
    click.echo(f"erasure {done.erasure} is in the audit log")


@command.command("rollups")
@_FLEET
def rollups(fleet: str) -> None:
    """Make the rollups anew of days with erased rows that were not over at the time."""
    configure_logging("erase", "critical")
    loaded = load()
    with connect(loaded) as client:
        _tell(*finish(Rollups(client, loaded, fleet), client, loaded.clickhouse_database, fleet))


def _tell(rebuilt: list[Day], left: list[Day]) -> None:
    for day in rebuilt:
        click.echo(f"rollups of {day.stream} of {day.day}: made anew")
    for day in left:
        click.echo(
            f"rollups of {day.stream} of {day.day}: counts without it; distinct clients and latencies still"
            " have it, since the day is not over (`tidegate erase rollups` tomorrow) or its events expire"
            " (then the hours of sites have it too)"
        )
