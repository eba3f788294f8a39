"""`tidegate fleet`: streams that were paused for a flood of refused lines, and letting them go on."""

from __future__ import annotations

from typing import cast

import click

from tidegate import settings
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.kafka.connection import connection
from tidegate.log_format import escaped
from tidegate.pauses import control
from tidegate.telemetry import configure_logging


@click.group("fleet")
def command() -> None:
    """Streams of fleets that are paused for a flood of refused lines."""
    configure_logging("fleet", "critical")


@command.command("paused")
def paused() -> None:
    """List them, with what was refused in the window that passed the limit."""
    found = control.read(connection(settings.load()))
    for pause in sorted(found.values(), key=lambda pause: pause.since):
        name = escaped(pause.fleet) or "(none)"
        click.echo(
            f"{name:24} {pause.stream:16} {pause.since}  {pause.rejected} of {pause.lines} lines refused"
        )


@command.command("resume")
@click.argument("stream", type=click.Choice(STREAMS))
@click.argument("fleet")
def resume(stream: str, fleet: str) -> None:
    """Keep a fleet's refused lines again, and let the gateway take its events. FLEET "" are lines that name
    none. Lines that were refused meanwhile: `tidegate replay`, while the raw topic has them."""
    kafka = connection(settings.load())
    found = control.read(kafka).get((cast(Stream, stream), fleet))
    if found is None:
        click.echo(f"{stream} of fleet {fleet!r} is not paused; nothing to do")
        return
    control.resume(kafka, found)
    click.echo(f"{stream} of fleet {fleet!r} goes on")
