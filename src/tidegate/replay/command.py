"""`tidegate replay`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console

from tidegate.contracts.rejects import Code, Kind
from tidegate.contracts.topics import STREAMS
from tidegate.replay.criteria import Criteria
from tidegate.replay.report import show
from tidegate.replay.run import dry_run, replay
from tidegate.settings import load
from tidegate.store.client import connect
from tidegate.telemetry import configure_logging

DAY = "%Y-%m-%d"
TELL_SECONDS = 2.0  # between lines that say where the run is


class Moment(click.ParamType):
    """A day or a moment, UTC, as microseconds since 1970; `end` of a day is the next one's begin."""

    name = "TIME"

    def __init__(self, *, end: bool = False) -> None:
        self._end = end

    def convert(self, value: str | int, param: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither YYYY-MM-DD nor an ISO 8601 time", param, context)
        if self._end and len(value) <= len("YYYY-MM-DD"):
            # The last day there is has no next one, and is a way to say that there is no end.
            moment = min(moment, datetime.max - timedelta(days=1)) + timedelta(days=1)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@click.command("replay")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([str(kind) for kind in Kind]))
@click.option("--code", "codes", multiple=True, type=click.Choice([str(code) for code in Code]))
@click.option("--fleet", "fleets", multiple=True, help="Fleet that the line says it is of.")
@click.option("--stream", "streams", multiple=True, type=click.Choice(STREAMS))
@click.option("--since", type=Moment(), help="Received at or after this day or ISO 8601 time, UTC.")
@click.option(
    "--until", type=Moment(end=True), help="Received before this ISO 8601 time, or on this day at the latest."
)
@click.option("--where", default="", metavar="SQL", help="A condition over the columns of table rejects.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at so many lines at most.")
@click.option("--again", is_flag=True, help="Also lines that were sent under this transform_version before.")
@click.option("--dry-run", "dry", is_flag=True, help="Say what would pass now, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def command(
    kinds: tuple[str, ...],
    codes: tuple[str, ...],
    fleets: tuple[str, ...],
    streams: tuple[str, ...],
    since: int | None,
    until: int | None,
    where: str,
    limit: int | None,
    again: bool,
    dry: bool,
    as_json: bool,
) -> None:
    """Bring refused lines back that would pass now, under their first id and received time.

    Chosen are the lines in table rejects that are not stored. Those that the present contract, lookups and
    token file take are sent into their raw topic; the others stay where they are. May be killed and run
    again: no line comes twice. Exit status 0: every chosen line passes and is stored; 1: some do not, or
    another replay is running; 2: wrong usage.
    """
    configure_logging("replay", "critical" if dry else "warning")
    settings = load()
    criteria = Criteria(kinds, codes, fleets, streams, since, until, where.strip(), again, limit)
    client = connect(settings)
    try:
        run = dry_run if dry else replay
        report = run(settings, client, criteria, _teller())
    finally:
        client.close()
    if as_json:
        click.echo(report.as_json().decode())
    else:
        show(report, Console())
    sys.exit(report.status)


def _teller() -> Callable[[str], None]:
    told = time.monotonic()

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            click.echo(text, err=True)

    return tell
