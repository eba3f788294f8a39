"""`tidegate connect NAME`: one connector as a process."""

from __future__ import annotations

import sys

import click

from tidegate import settings
from tidegate.telemetry import configure_logging

NAMES = ("hostapd", "meraki", "mist", "openwifi", "radius")


@click.command()
@click.argument("name", type=click.Choice(NAMES))
def command(name: str) -> None:
    """Take in what another maker's system says, and post it to the gateway as events.

    NAME: hostapd (its lines, by syslog), meraki and mist (webhooks of the vendor's cloud), openwifi (topics
    in Kafka), radius (accounting).
    """
    from tidegate.connectors import role

    loaded = settings.load()
    configure_logging("connect", loaded.log_level, loaded.log_format)
    sys.exit(role.run(loaded, name))
