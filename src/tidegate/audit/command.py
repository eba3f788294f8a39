"""`tidegate audit`: one line of JSON for each thing that was done, oldest first."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
import msgspec

from tidegate import audit_file
from tidegate.audit import sources
from tidegate.audit.sources import Entry
from tidegate.errors import RetryLater
from tidegate.kafka.connection import connection
from tidegate.settings import load
from tidegate.store.client import connect
from tidegate.telemetry import configure_logging


@click.command("audit")
@click.option(
    "--since", type=click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="From then on, UTC."
)
@click.option("--kind", "kinds", multiple=True, help="Such entries alone; may be given more than once.")
@click.option("--kafka/--no-kafka", default=True, help="Whether to read the control topic.")
def command(since: datetime | None, kinds: tuple[str, ...], kafka: bool) -> None:
    """Print what operators did, as NDJSON, oldest first.

    Tokens and keys from the audit file beside the token file of this machine; erasures, exports, accepted
    gaps, epochs and groups, and new versions of the lookups, from ClickHouse; pauses, acknowledgements,
    silences and new alert rules from the control topic. Status 1 where a source does not answer, or a line of
    the audit file was changed or is gone.
    """
    configure_logging("audit", "critical")
    loaded = load()
    path = audit_file.beside(loaded.tokens_path)
    found = audit_file.read(path)
    entries = list(sources.of_file(found))
    problems = [f"{path}: line {found.broken} does not follow the one before it"] if found.broken else []
    try:
        with connect(loaded) as client:
            entries += sources.of_store(client, loaded.clickhouse_database)
    except RetryLater as error:
        problems.append(str(error))
    if kafka:
        try:
            entries += sources.of_control(connection(loaded))
        except RetryLater as error:
            problems.append(str(error))
    first = since.replace(tzinfo=UTC).isoformat(timespec="microseconds") if since else ""
    for entry in sorted(entries, key=_order):
        if entry.at >= first and (not kinds or entry.kind in kinds):
            click.echo(msgspec.json.encode(entry).decode())
    for problem in problems:
        click.echo(f"tidegate: {problem}", err=True)
    sys.exit(1 if problems else 0)


def _order(entry: Entry) -> tuple[str, str]:
    return entry.at, entry.kind
