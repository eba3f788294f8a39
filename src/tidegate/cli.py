"""The command line: one thin command for each role and tool. What a command needs is imported when it runs.

Exit status: 0 done, 1 the check found something wrong or the work could not go on, 2 wrong usage or settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tidegate import __version__, settings
from tidegate.errors import TidegateError, UsageError
from tidegate.kafka.acls import ROLES
from tidegate.log_format import escaped
from tidegate.telemetry import configure_logging


class Commands(click.Group):
    """A group whose errors end in a message and a status, and whose members may live in other modules."""

    elsewhere: dict[str, str] = {}  # command -> module:attribute

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *self.elsewhere})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        target = self.elsewhere.get(name)
        if target is None:
            return super().get_command(context, name)
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TidegateError as error:
            click.echo("\n".join(map(escaped, f"tidegate: {error}".split("\n"))), err=True)
            sys.exit(2 if isinstance(error, UsageError) else 1)


class Tidegate(Commands):
    elsewhere = {
        "alerts": "tidegate.alerts.command:command",
        "audit": "tidegate.audit.command:command",
        "backup": "tidegate.backup.command:backup",
        "connect": "tidegate.connectors.command:command",
        "erase": "tidegate.erase.command:command",
        "fleet": "tidegate.pauses.command:command",
        "replay": "tidegate.replay.command:command",
        "restore": "tidegate.backup.command:restore",
        "simulate": "tidegate.simulate.command:simulate",
        "verify": "tidegate.verify.command:command",
        "webhook": "tidegate.notify.command:command",
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


def _run(role: str, target: str) -> None:
    """Load the settings, set up the logs, run the role to its end."""
    loaded = settings.load()
    configure_logging(role, loaded.log_level, loaded.log_format)
    module, _, attribute = target.partition(":")
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
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Workers that share the partitions, of which there are at least as many; 0: half as many as cores.",
)
def up(data: Path | None, broker: str, rate: float, workers: int) -> None:
    """Run all of Tidegate on this machine: broker, ClickHouse, every role, and a simulated fleet."""
    from tidegate.local import supervisor

    loaded = settings.load(overrides={"data_dir": str(data) if data else None})
    count = workers or max(1, (os.cpu_count() or 1) // 2)
    sys.exit(supervisor.run(loaded, broker=broker, rate=rate, workers=count))


@main.command()
def gateway() -> None:
    """Take events in over HTTP and write them to Kafka."""
    _run("gateway", "tidegate.gateway.server:run")


@main.command()
def worker() -> None:
    """Decode and enrich raw frames, from Kafka to Kafka."""
    _run("worker", "tidegate.worker.role:run")


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
def notify() -> None:
    """Tell webhooks of alerts."""
    _run("notify", "tidegate.notify.role:run")


@main.command()
def topics() -> None:
    """Create the Kafka topics and mint their epoch; safe to run again."""
    _run("topics", "tidegate.kafka.topics:run")


@main.command()
def migrate() -> None:
    """Bring the ClickHouse database to this version's schema; safe to run again."""
    _run("migrate", "tidegate.store.migrate:run")


@main.command()
@click.option(
    "--role",
    type=click.Choice(ROLES),
    help="Name each right that a role's user lacks at the broker, and the command that gives it.",
)
def check(role: str | None) -> None:
    """Print the settings in force, secrets masked, and check what the guarantee rests on.

    Tries each connection, and looks at the topics, the schema, the settings of ClickHouse that keep an
    insert from doubling, the epoch and the clocks. Each line is ok, a warning or wrong, with what to do
    about it; status 1 where anything is wrong. Nothing is changed.
    """
    from tidegate.preflight import check as checks

    configure_logging("check", "critical")  # what fails is printed; the libraries need not say it too
    sys.exit(checks.run(settings.load(), click.echo, role or ""))


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
@click.option(
    "--expires", metavar="WHEN", help="From then on it answers 401: 90d, 12h, 30m, 2w, or an ISO 8601 time."
)
def token_create(
    name: str, fleet: str, role: str, rate: float, rate_bytes: float, expires: str | None
) -> None:
    """Add a token and print it. Only its hash is kept: it is not shown again."""
    from tidegate.tokens import expiry

    made = _tokens().create(
        name,
        fleet=fleet,
        role=role,
        rate_events_per_second=rate,
        rate_bytes_per_second=rate_bytes,
        expires_at=None if expires is None else expiry(expires, datetime.now(UTC)),
    )
    click.echo(made)


@token.command("link")
@click.argument("name")
def token_link(name: str) -> None:
    """Print a link that logs a browser in to the dashboard with a token, once, for a few minutes."""
    from tidegate.login_links import login_link
    from tidegate.tokens import READERS

    given = settings.load()
    row = next((row for row in _tokens().list() if row.name == name), None)
    if row is None:
        raise UsageError(f"no token is named {name!r}")
    if row.role not in READERS:
        raise UsageError(f"{name!r} is of the role {row.role}, which reads nothing")
    click.echo(login_link(given, row.sha256))


@token.command("list")
def token_list() -> None:
    """Show every token's name, fleet, role, rates of events and bytes, when it was made and when it ends."""
    from tidegate.tokens import written

    now = datetime.now(UTC).timestamp()
    for row in _tokens().list():
        ends = "-" if row.expires_at is None else written(row.expires_at)
        ends += " (expired)" if row.is_expired(now) else ""
        rates = (row.rate_events_per_second, row.rate_bytes_per_second)
        events, bytes_ = (f"{rate:,.15g}/s" if rate else "-" for rate in rates)
        columns = f"{row.name:24} {row.fleet:16} {row.role:14} {events:>10} {bytes_:>16}"
        click.echo(f"{columns}  {row.created_at:20}  {ends}")


@token.command("revoke")
@click.argument("name")
def token_revoke(name: str) -> None:
    """Remove a token."""
    if not _tokens().revoke(name):
        raise UsageError(f"no token is named {name!r}")


def _tokens() -> Any:
    from tidegate.tokens import TokenFile

    return TokenFile(settings.load().tokens_path)


KEY_FILES = {
    "control": "control_key_path",
    "link": "link_key_path",
    "pseudonym": "pseudonym_key_path",
}


@main.group(cls=Commands)
def key() -> None:
    """Key files: of pseudonyms, of what the API signs, and of the control topic."""


@key.command("list")
def key_list() -> None:
    """Show where each key file is and the ids of its keys; never a key."""
    from tidegate import keyfile

    loaded = settings.load()
    for name, attribute in KEY_FILES.items():
        path: Path = getattr(loaded, attribute)
        try:
            keys = keyfile.load(path)
        except UsageError as error:
            if path.exists():
                raise
            click.echo(f"{name:12} {path}: {error}")
            continue
        ids = ", ".join(f"{id} (current)" if id == keys.current else id for id in keys.keys)
        click.echo(f"{name:12} {path}: {ids}")


@key.command("rotate")
@click.argument("name", type=click.Choice([*KEY_FILES]))
def key_rotate(name: str) -> None:
    """Draw a new key, or the first, and use it from now on. The old ones stay in the file, to check and to
    find by."""
    from tidegate import audit_file, keyfile

    loaded = settings.load()
    path: Path = getattr(loaded, KEY_FILES[name])
    audit_file.append(audit_file.beside(loaded.tokens_path), "key_rotated", subject=name, details={})
    click.echo(keyfile.rotate(path).current)


@key.command("pseudonym")
@click.argument("mac")
@click.option("--fleet", required=True, help="The fleet of the client.")
@click.option("--stored", is_flag=True, help="Those that the setting pseudonymise stores, as a MAC.")
def key_pseudonym(mac: str, fleet: str, stored: bool) -> None:
    """Show the pseudonyms of a client, MAC, under every key of the file; the current one first."""
    from tidegate import keyfile, pseudonyms
    from tidegate.contracts.formats import parse_mac

    try:
        canonical = parse_mac(mac)
    except ValueError:
        raise UsageError(f"mac: {mac!r} is no MAC address") from None
    keys = keyfile.load(settings.load().pseudonym_key_path)
    of = pseudonyms.stored if stored else pseudonyms.of_mac
    for id in pseudonyms.ids(keys):
        click.echo(of(keys, fleet, canonical, id=id))
