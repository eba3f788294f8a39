"""What an operator tells the sink: `accept-gap`, `accept-epoch` and `accept-group`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import click

from tidegate import settings
from tidegate.audit_file import operator
from tidegate.contracts.ledger import Gap
from tidegate.contracts.topics import STREAMS, Stream, StreamPartition
from tidegate.errors import Rejected
from tidegate.kafka.connection import connection
from tidegate.kafka.topics import read_epoch
from tidegate.preflight.condition import State
from tidegate.preflight.epoch import inspect_epoch
from tidegate.store.client import connect
from tidegate.store.ledger import Ledger


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
    of = StreamPartition(cast(Stream, stream), partition)
    found = find(ledger, of, first, last, epoch)
    if found.accepted:
        click.echo(f"{of}: raw offsets {first} to {last} were accepted before; nothing to do")
        return
    ledger.accept_gap(found.epoch, of, found.gap, found.found_at, by=operator(), reason=reason)
    click.echo(f"{of}: the sink goes on behind raw offset {last}; {first} to {last} are on record as lost")


class _Found:
    def __init__(self, epoch: str, gap: Gap, found_at: datetime, accepted: bool) -> None:
        self.epoch, self.gap, self.found_at, self.accepted = epoch, gap, found_at, accepted


def find(ledger: Ledger, partition: StreamPartition, first: int, last: int, epoch: str | None) -> _Found:
    """The gap on record with these edges. Raises Rejected, naming those that there are."""
    gaps = ledger.gaps(partition)
    found = [
        _Found(*gap)
        for gap in gaps
        if (gap[1].after + 1, gap[1].next - 1) == (first, last) and epoch in (None, gap[0])
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise Rejected(
            f"{partition}: epochs {', '.join(gap.epoch for gap in found)} have it: name one by --epoch"
        )
    listed = [
        f"--from {gap.after + 1} --to {gap.next - 1} (epoch {name}, {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"
        for name, gap, at, accepted in gaps
        if not accepted
    ]
    raise Rejected(
        f"{partition} has not stopped at a gap from {first} to {last}; "
        + ("on record are: " + "; ".join(listed) if listed else "none is on record")
    )


@click.command("accept-epoch")
@click.argument("epoch")
def accept_epoch(epoch: str) -> None:
    """Go back to an EPOCH that is not the newest one that ClickHouse has seen.

    The sink refuses to start where Kafka is in an older epoch than ClickHouse: it is the wrong Kafka, or
    the wrong ClickHouse. Where it is meant, name the epoch that Kafka is in; rows stay as they are.
    """
    loaded = settings.load()
    found = read_epoch(connection(loaded), timeout_seconds=5.0)
    if found != epoch:
        raise Rejected(f"Kafka at {loaded.kafka_bootstrap} is in epoch {found}, not {epoch}")
    client = connect(loaded)
    ledger = Ledger(client, loaded.clickhouse_database, cluster=bool(loaded.clickhouse_cluster))
    if inspect_epoch(epoch, ledger.epochs()).state is State.OK:
        click.echo(f"epoch {epoch}: the sink takes it as it is; nothing to do")
        return
    ledger.accept_epoch(epoch)
    click.echo(f"epoch {epoch}: the sink takes it from now on")


@click.command("accept-group")
@click.argument("group")
def accept_group(group: str) -> None:
    """Let another consumer GROUP fill the tables from now on.

    Tables are filled by the group whose sink came first: two would store everything twice. Stop the sinks
    of the old group before, and set sink_group of the new ones.
    """
    loaded = settings.load()
    epoch = read_epoch(connection(loaded), timeout_seconds=5.0)
    client = connect(loaded)
    Ledger(client, loaded.clickhouse_database, cluster=bool(loaded.clickhouse_cluster)).accept_group(
        epoch, group
    )
    click.echo(f"epoch {epoch}: the sinks of group {group} fill the tables from now on")
