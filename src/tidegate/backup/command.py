"""`tidegate backup` and `tidegate restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from tidegate.backup import restore as restoring
from tidegate.backup import write
from tidegate.backup.manifest import Manifest
from tidegate.errors import Stop
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings, load
from tidegate.store.client import connect
from tidegate.telemetry import configure_logging

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command("backup")
@_FOLDER
def backup(folder: Path) -> None:
    """Write what ClickHouse holds into FOLDER, which is new or empty, while everything runs.

    It ends in each partition behind a batch of the sink: `tidegate restore` brings it back, and the sink goes
    on from there. Keys, tokens and passwords are not in it.
    """
    configure_logging("backup", "critical")
    loaded = load()
    client = connect(loaded)
    try:
        with _disk():
            _tell(write.backup(client, loaded, folder, click.echo), f"{folder}: ")
    finally:
        client.close()


@click.command("restore")
@_FOLDER
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Restore into the embedded ClickHouse of this data folder of `up`, which must not run.",
)
def restore(folder: Path, data: Path | None) -> None:
    """Bring a backup from FOLDER back into an empty ClickHouse.

    Stop the sinks before, and start them afterwards: they go on with what Kafka has behind the backup. Then
    `tidegate verify` says whether the ledger balances.
    """
    configure_logging("restore", "critical")
    with _disk(), _place(load(), data) as loaded:
        client = connect(loaded, database="")
        try:
            _tell(restoring.restore(client, loaded, folder, click.echo), "restored: ")
        finally:
            client.close()


@contextmanager
def _place(loaded: Settings, data: Path | None) -> Iterator[Settings]:
    """The settings with the ClickHouse to restore into, which is started where it is an embedded one."""
    if data is None:
        yield loaded
        return
    folder = data.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = ClickHouseServer(
        f"127.0.0.1:{free_port()}",
        folder / "clickhouse",
        folder / "logs" / "restore-clickhouse.log",
        database=loaded.clickhouse_database,
    )
    server.start()
    try:
        yield replace(loaded, clickhouse_url=server.url, clickhouse_password="")
    finally:
        server.stop()


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Stop(f"{error.filename or 'disk'}: {error.strerror or error}") from error


def _tell(found: Manifest, head: str) -> None:
    events = sum(part.rows or 0 for part in found.parts if part.table not in ("sink_batches", "rejects"))
    size = sum(part.size for part in found.parts)
    click.echo(f"{head}{events:,} events, {len(found.parts)} files, {size:,} bytes, epoch {found.epoch}")
    for end in found.cut:
        if end.epoch == found.epoch:
            click.echo(f"  {end.stream} partition {end.partition}: up to raw offset {end.raw_last}")
