"""`tidegate sink accept-gap`: an operator lets the sink go on behind records that are lost."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import cast

import click

from tidegate import settings
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import Rejected
from tidegate.sink.chain import Gap
from tidegate.sink.ledger import Ledger, Place
from tidegate.store.client import connect


@click.command("accept-gap")
@click.argument("stream", type=click.Choice(STREAMS))
@click.argument("partition", type=click.IntRange(min=0))
@click.option("--from", "first", type=click.IntRange(min=0), required=True, help="First missing raw offset.")
@click.option("--to", "last", type=click.IntRange(min=-1), required=True, help="Last missing raw offset.")
@click.option("--reason", required=True, help="Why they are given up; stays on record in sink_gaps.")
@click.option("--epoch", help="Epoch of the gap; needed where two epochs have the same one.")
def accept_gap(stream: str, partition: int, first: int, last: int, reason: str, epoch: str | None) -> None:
    """Give raw records up that the sink waits for, by name.

    The sink says the numbers where it stops: in its log, in /readyz and in table sink_gaps. It goes on
    within seconds; the gap stays on record.
    """
    loaded = settings.load()
    client = connect(loaded)
    ledger = Ledger(client, loaded.clickhouse_database, cluster=bool(loaded.clickhouse_cluster))
    place = Place(cast(Stream, stream), partition)
    found = find(ledger, place, first, last, epoch)
    if found.accepted:
        click.echo(f"{place}: raw offsets {first} to {last} were accepted before; nothing to do")
        return
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    ledger.accept_gap(found.epoch, place, found.gap, found.found_at, by=by, reason=reason)
    click.echo(f"{place}: the sink goes on behind raw offset {last}; {first} to {last} are on record as lost")


class _Found:
    def __init__(self, epoch: str, gap: Gap, found_at: datetime, accepted: bool) -> None:
        self.epoch, self.gap, self.found_at, self.accepted = epoch, gap, found_at, accepted


def find(ledger: Ledger, place: Place, first: int, last: int, epoch: str | None) -> _Found:
    """The gap on record with these edges. Raises Rejected, naming those that there are."""
    gaps = ledger.gaps(place)
    found = [
        _Found(*gap)
        for gap in gaps
        if (gap[1].after + 1, gap[1].next - 1) == (first, last) and epoch in (None, gap[0])
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise Rejected(
            f"{place}: epochs {', '.join(gap.epoch for gap in found)} have it: name one by --epoch"
        )
    listed = [
        f"--from {gap.after + 1} --to {gap.next - 1} (epoch {name}, {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"
        for name, gap, at, accepted in gaps
        if not accepted
    ]
    raise Rejected(
        f"{place} has not stopped at a gap from {first} to {last}; "
        + ("on record are: " + "; ".join(listed) if listed else "none is on record")
    )
