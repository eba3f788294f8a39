"""A backtest of a month: 30 days of 100 sites, an incident under way most of the time.

    python -m benchmarks.backtest
    python -m benchmarks.backtest --data FOLDER --base ../base --repeat 3

A week of 20 sites of the detection benchmark's simulator is stored once; ClickHouse repeats it for as many
groups of sites and as many weeks as are asked for, the week of each group beginning on another day. Every
eleventh client sends hours after the event. The rollups are left empty: a backtest reads events alone. With
--base, a checkout of another commit folds the same store in turn: the digest says whether it tells the same
changes.
"""

from __future__ import annotations

import csv
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from benchmarks.detection import DAY, START, Fleet
from benchmarks.stack import FLEET, Stack
from benchmarks.usage import CpuClock, machine
from tidegate import settings
from tidegate.alerts import backtest
from tidegate.contracts.counts import MINUTE
from tidegate.lookups import alert_rules
from tidegate.simulate.fleet import FIRST_LOCATION

GROUP = 20  # sites
WEEK = 7  # days
APART = 1000  # between the location ids of a group and the next
LATE_HOURS = 5
EPOCH = "01J0000000000000000000BENC"
FOREVER = {"ttl_connection_logs_days": 0, "ttl_client_events_days": 0}
HERE = Path(__file__).parent.parent
_TIMES = ("event_time", "association_time", "authentication_time", "network_time")


class Store(msgspec.Struct, frozen=True):
    """What a folder holds; kept in it as `backtest.json`."""

    sites: int
    days: int
    fleets: int
    seed: int


class Fold(msgspec.Struct):
    """What one backtest found and took."""

    changes: int
    alerts: int
    digest: str  # of all changes, in order
    seconds: float  # start of its processes included
    cpu: float  # seconds, of its processes


@contextmanager
def opened(wanted: Store, data: Path | None) -> Iterator[Stack]:
    """The engines on that store, which is filled unless the folder has it."""
    folder = data or Path(tempfile.mkdtemp(prefix="tidegate-backtest-"))
    lookups = folder / "lookups"
    lookups.mkdir(parents=True, exist_ok=True)
    kept = folder / "backtest.json"
    try:
        with Stack(store=folder / "clickhouse", lookups_dir=str(lookups), **FOREVER) as stack:
            if not kept.exists():
                fill(stack.client, lookups, wanted)
                kept.write_bytes(msgspec.json.encode(wanted))
            elif (found := msgspec.json.decode(kept.read_bytes(), type=Store)) != wanted:
                raise click.UsageError(f"{folder} holds {found}")
            yield stack
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)


def fill(client: Client, lookups: Path, wanted: Store) -> None:
    """Store a week, and repeat it."""
    begin = time.monotonic()
    fleet = Fleet(wanted.seed, WEEK, min(GROUP, wanted.sites))
    groups = -(-wanted.sites // GROUP)
    with (lookups / "sites.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("fleet", "location_id", "name", "latitude", "longitude", "timezone"))
        for group in range(groups):
            for site in fleet.sites:
                location = site.location + APART * group
                name = _fleet(group, wanted)
                table.writerow((name, location, location, site.latitude, site.longitude, site.city.timezone))
    views = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
    ).result_rows
    for (view,) in views:
        client.command(f"DROP VIEW {view} SYNC")
    client.command("CREATE TABLE week AS client_events ENGINE = MergeTree ORDER BY received_at")
    for number, (_, batch) in enumerate(fleet.hours()):
        if batch is not None:
            _insert(client, number, batch)
    events = int(client.command("SELECT count() FROM week"))  # type: ignore[arg-type]
    click.echo(f"a week of {len(fleet.sites)} sites: {events:,} events, {time.monotonic() - begin:.0f} s")
    names = [
        str(name)
        for (name,) in client.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'week'"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position"
        ).result_rows
    ]
    for day in range(wanted.days):
        parts = " UNION ALL ".join(_day(names, day, group, wanted) for group in range(groups))
        client.command(
            f"INSERT INTO client_events ({', '.join(f'`{name}`' for name in names)}) {parts}",
            settings={"max_insert_block_size": 4_000_000, "max_partitions_per_insert_block": 0},
        )
    client.command("DROP TABLE week SYNC")
    for (day_,) in client.query(
        "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = currentDatabase()"
        " AND table = 'client_events'"
    ).result_rows:
        client.command(f"OPTIMIZE TABLE client_events PARTITION ID '{day_}' FINAL")
    click.echo(f"stored after {time.monotonic() - begin:.0f} s")


def _fleet(group: int, wanted: Store) -> str:
    return f"{FLEET}-{group % wanted.fleets}" if wanted.fleets > 1 else FLEET


def _insert(client: Client, number: int, batch: pa.RecordBatch) -> None:
    position = {"epoch": (EPOCH, pa.string()), "partition": (0, pa.uint32()), "offset": (number, pa.uint64())}
    columns = [pa.array([value] * batch.num_rows, type_) for value, type_ in position.values()]
    table = pa.Table.from_arrays([*batch.columns, *columns], names=[*batch.schema.names, *position])
    client.insert_arrow("week", table)


def _day(names: list[str], day: int, group: int, wanted: Store) -> str:
    """The SELECT of a group's events of a day."""
    source = (day + group) % WEEK
    shift = (day - source) * DAY
    late = f"if(cityHash64(mac) % 11 = 0, {LATE_HOURS} * 3600000000, 0)"
    changed = {
        "received_at": f"addMicroseconds(received_at, {shift})",
        **{name: f"addMicroseconds({name}, {shift} - {late})" for name in _TIMES},
        "fleet": f"'{_fleet(group, wanted)}'",
        "site": f"toString(toUInt32(site) + {APART * group})",
        "mac": f"concat(substring(mac, 1, 6), '{group:02x}', substring(mac, 9))",
        "offset": f"offset + {day * 1000}",
        "partition": str(group),
    }
    values = ", ".join(f"{changed.get(name, f'`{name}`')} AS `{name}_`" for name in names)
    begin = START + source * DAY
    last = min(GROUP, wanted.sites - group * GROUP)
    return (
        f"SELECT {values} FROM week WHERE received_at >= fromUnixTimestamp64Micro({begin})"
        f" AND received_at < fromUnixTimestamp64Micro({begin + DAY})"
        f" AND toUInt32(site) < {FIRST_LOCATION + last}"
    )


def folded(folder: Path, stack: Stack, wanted: Store, processes: int) -> tuple[Fold, float]:
    """A backtest by the checkout in `folder`, and ClickHouse's CPU seconds."""
    clock = CpuClock(stack.pids())
    code = f"from benchmarks.backtest import fold; fold({wanted.days}, {processes})"
    paths = os.pathsep.join(map(str, ((folder / "src").resolve(), HERE.resolve())))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE,
        env={**stack.environment, "PYTHONPATH": paths},
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"{folder}:\n{done.stdout.decode()}{done.stderr.decode()}")
    return msgspec.json.decode(done.stdout, type=Fold), clock.seconds()["clickhouse"]


def fold(days: int, processes: int) -> None:
    """Fold all days of the store that the settings name, and print what it took."""
    begin = time.perf_counter()
    digest = hashlib.blake2b(digest_size=8)
    changes = alerts = 0
    until = START + days * DAY
    for change in backtest.changes(settings.load(), alert_rules.load(""), START, until, processes=processes):
        changes += 1
        alerts += change.sequence == 1
        digest.update(msgspec.json.encode(change))
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = Fold(changes, alerts, digest.hexdigest(), seconds, used.ru_utime + used.ru_stime)
    print(msgspec.json.encode(found).decode())


@click.command()
@click.option("--sites", default=100, show_default=True)
@click.option("--days", default=30, show_default=True)
@click.option("--fleets", default=1, show_default=True, help="Among which the groups of sites are shared.")
@click.option("--seed", default=1001, show_default=True)
@click.option("--processes", default=0, show_default=True, help="0: one for each core.")
@click.option("--repeat", default=1, show_default=True)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of the store, kept.")
@click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Another checkout of Tidegate, which folds in turn with this one.",
)
def main(
    sites: int,
    days: int,
    fleets: int,
    seed: int,
    processes: int,
    repeat: int,
    data: Path | None,
    base: Path | None,
) -> None:
    """Measure a backtest by the product's own rules."""
    wanted = Store(sites, days, fleets, seed)
    click.echo(machine())
    with opened(wanted, data) as stack:
        minutes = sites * days * DAY // MINUTE
        for turn in range(repeat):
            folders = [HERE] if base is None else [HERE, base][:: 1 if turn % 2 else -1]
            for folder in folders:
                one, clickhouse = folded(folder, stack, wanted, processes)
                click.echo(
                    f"{folder.resolve().name}: {minutes:,} site-minutes in {one.seconds:.1f} s,"
                    f" CPU {one.cpu:.1f} s ({1e6 * one.cpu / minutes:.1f} µs a site-minute) and ClickHouse's"
                    f" {clickhouse:.1f} s; {one.changes} changes of {one.alerts} alerts, digest {one.digest}"
                )


if __name__ == "__main__":
    main()
