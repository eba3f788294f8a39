"""The command line: one thin command for each role and tool. What a command needs is imported when it runs.

Exit status: 0 done, 1 the check found something wrong or the work could not go on, 2 wrong usage or settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tidegate import __version__, settings
from tidegate.errors import TidegateError, UsageError
from tidegate.telemetry import configure_logging


class Commands(click.Group):
    """A group whose errors end in a message and a status, and whose members may live in other modules."""

    elsewhere: dict[str, str] = {}  # command -> module:attribute

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self.elsewhere})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        place = self.elsewhere.get(name)
        if place is None:
            return super().get_command(context, name)
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TidegateError as error:
            click.echo(f"tidegate: {error}", err=True)
            sys.exit(2 if isinstance(error, UsageError) else 1)


class Tidegate(Commands):
    elsewhere = {
        "fleet": "tidegate.pauses.command:command",
        "replay": "tidegate.replay.command:command",
        "simulate": "tidegate.simulate.command:simulate",
        "verify": "tidegate.verify.command:command",
    }


class Sink(Commands):
    elsewhere = {
        "accept-epoch": "tidegate.sink.command:accept_epoch",
        "accept-gap": "tidegate.sink.command:accept_gap",
        "accept-group": "tidegate.sink.command:accept_group",
    }


@click.group(cls=Tidegate, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
def main() -> None:
    """Exactly-once connection telemetry of device fleets: HTTP and Kafka in, ClickHouse and topics out.

    Settings come from tidegate.toml and from environment variables TIDEGATE_…; `tidegate check` shows them.
    """


def _run(role: str, place: str) -> None:
    """Load the settings, set up the logs, run the role to its end."""
    loaded = settings.load()
    configure_logging(role, loaded.log_level)
    module, _, attribute = place.partition(":")
    run: Callable[[settings.Settings], int] = getattr(import_module(module), attribute)
    sys.exit(run(loaded))


@main.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder for all state  [default: data_dir]")
@click.option(
    "--broker",
    type=click.Choice(["embedded", "kafka"]),
    default="embedded",
    show_default=True,
    help="embedded: in memory, starts at once; kafka: Apache Kafka from its jars, keeps its log on disk.",
)
@click.option(
    "--simulate",
    "rate",
    type=click.FloatRange(min=0),
    default=200,
    show_default=True,
    metavar="EVENTS_PER_SECOND",
    help="Rate of the simulated fleet; 0: none.",
)
def up(data: Path | None, broker: str, rate: float) -> None:
    """Run all of Tidegate on this machine: broker, ClickHouse, every role, and a simulated fleet."""
    from tidegate.local import supervisor

    loaded = settings.load(overrides={"data_dir": str(data) if data else None})
    sys.exit(supervisor.run(loaded, broker=broker, rate=rate))


@main.command()
def gateway() -> None:
    """Take events in over HTTP and write them to Kafka."""
    _run("gateway", "tidegate.gateway.server:run")


@main.command()
def worker() -> None:
    """Decode and enrich raw frames, from Kafka to Kafka."""
    _run("worker", "tidegate.worker:run")


@main.group(cls=Sink, invoke_without_command=True)
@click.pass_context
def sink(context: click.Context) -> None:
    """Store enriched frames in ClickHouse, exactly once."""
    if context.invoked_subcommand is None:
        _run("sink", "tidegate.sink.role:run")


@main.command()
def api() -> None:
    """Answer queries over HTTP."""
    _run("api", "tidegate.api.server:run")


@main.command()
def topics() -> None:
    """Create the Kafka topics and mint their epoch; safe to run again."""
    _run("topics", "tidegate.kafka.topics:run")


@main.command()
def migrate() -> None:
    """Bring the ClickHouse database to this version's schema; safe to run again."""
    _run("migrate", "tidegate.store.migrate:run")


@main.command()
def check() -> None:
    """Print the settings in force, secrets masked, and check what the guarantee rests on.

    Tries each connection, and looks at the topics, the schema, the settings of ClickHouse that keep an
    insert from doubling, the epoch and the clocks. Each line is ok, a warning or wrong, with what to do
    about it; status 1 where anything is wrong. Nothing is changed.
    """
    from tidegate.inspection import check as checks

    configure_logging("check", "critical")  # what fails is printed; the libraries need not say it too
    sys.exit(checks.run(settings.load(), click.echo))


@main.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def lookups(folder: Path | None) -> None:
    """List the lookup files in force and check them; FOLDER instead of `lookups_dir` to try one out."""
    from tidegate.lookups import FILES, BadLookup, load, table

    where = folder or Path(settings.load().lookups_dir or "")
    directory = where if where != Path("") else None
    try:
        tables = load(str(directory or ""))
    except BadLookup as error:
        click.echo(f"tidegate: {error}", err=True)
        sys.exit(1)
    for name, (required, optional) in FILES.items():
        path = table.find(name, directory)
        rows, _ = table.read(path, required, optional)
        shipped = "shipped" if directory is None or directory not in path.parents else str(path)
        click.echo(f"{name:32} {len(rows):>7} rows  {shipped}")
    click.echo(f"digest {tables.digest}")


@main.group(cls=Commands)
def token() -> None:
    """Bearer tokens: create, list, revoke. Running roles see a change at once."""


@token.command("create")
@click.argument("name")
@click.option("--fleet", required=True, help="The fleet whose events it writes or reads.")
@click.option("--role", required=True, help="ingest, viewer, operator, administrator or superuser.")
@click.option("--rate", type=click.FloatRange(min=0), default=0, help="Most events per second; 0: as set.")
@click.option(
    "--rate-bytes", type=click.FloatRange(min=0), default=0, help="Most bytes per second; 0: as set."
)
def token_create(name: str, fleet: str, role: str, rate: float, rate_bytes: float) -> None:
    """Add a token and print it. Only its hash is kept: it is not shown again."""
    made = _tokens().create(
        name, fleet=fleet, role=role, rate_events_per_second=rate, rate_bytes_per_second=rate_bytes
    )
    click.echo(made)


@token.command("list")
def token_list() -> None:
    """Show every token's name, fleet, role, rates of events and bytes, and when it was made."""
    for row in _tokens().list():
        rates = (row.rate_events_per_second, row.rate_bytes_per_second)
        events, bytes_ = (f"{rate:,.15g}/s" if rate else "-" for rate in rates)
        click.echo(f"{row.name:24} {row.fleet:16} {row.role:14} {events:>10} {bytes_:>16}  {row.created_at}")


@token.command("revoke")
@click.argument("name")
def token_revoke(name: str) -> None:
    """Remove a token."""
    if not _tokens().revoke(name):
        raise UsageError(f"no token is named {name!r}")


def _tokens() -> Any:
    from tidegate.tokens import TokenFile

    return TokenFile(settings.load().tokens_path)
