"""A store that has been running for a month: the simulated fleet's events, in their tables and rollups.

One day of the fleet goes through decode and enrich once. ClickHouse then repeats it, for every day and for as
many fleets of clients as the number of rows asks for: other MACs and devices, other days and hours, positions
of their own. Each insert is a batch as the sink makes it: contiguous in its partition, of one received day,
through the real tables and views, with the ledger's rows beside it, so that `tidegate verify` balances.

The folder can be used again: TIDEGATE_BENCH_DATA or --data names it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from benchmarks import workload
from benchmarks.stack import FLEET
from tidegate.contracts.topics import STREAMS, Stream, StreamPartition
from tidegate.erase.rollups import ADDED_UP, of_rows
from tidegate.lookups import load
from tidegate.settings import Settings
from tidegate.simulate.fleet import write_lookups
from tidegate.simulate.schedule import parse
from tidegate.simulate.simulation import Plan, Simulation
from tidegate.steps.decode import decode_frame
from tidegate.steps.enrich import enrich
from tidegate.store import site_events, site_levels
from tidegate.store.templates import migrations

DAYS = 30
DAY_ROWS = 600_000  # of the day that is repeated, at most
EVENTS_A_SITE = 12_000  # in that day: some 35 events a client
FRAME = workload.FRAME_EVENTS
BATCH_FRAMES = 20  # frames of a batch in the ledger: 10,000 rows, as a busy sink cuts them
COPIED_DAYS = 3  # of the newest, sorted by site
EPOCH = "01J0000000000000000000BENC"  # a ULID: its letters are Crockford's
PARTITIONS = 4
ROW_BYTES = 150  # with rollups, for the check of the disk before the first insert
INCIDENTS = "radius@30000,dhcp@36000,dns@42000,psk@48000,flapping@54000+1200,clocks@66000"
STAGING = "history_day"
MICROS_A_DAY = 86_400_000_000

_ONE_BLOCK = {
    "max_insert_block_size": 1 << 40,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 40,
    "max_threads": 1,
    "max_insert_threads": 1,
}
_SYNC = {"mutations_sync": 2}
_TIMES = {
    "connection_logs": ("event_time",),
    "client_events": ("event_time", "association_time", "authentication_time", "network_time"),
    "device_logs": ("event_time", "applied_at"),
}


class History(msgspec.Struct):
    """What a folder holds; kept in it as `history.json`."""

    rows: int
    days: int
    first_day: str


def lookups_folder(folder: Path) -> Path:
    """The sites of the history: the live roles enrich by the same."""
    return folder / "lookups"


def find(folder: Path) -> History | None:
    """The history that a folder holds; None if none was finished there."""
    try:
        return msgspec.json.decode((folder / "history.json").read_bytes(), type=History)
    except FileNotFoundError:
        return None


def prepare(folder: Path, rows: int) -> tuple[Simulation, int]:
    """The simulation of the day that is repeated, and its number of events.

    Writes the lookups of its sites. Raises RuntimeError where the disk is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if rows * ROW_BYTES > free * 0.8:
        raise RuntimeError(f"{rows:,} rows need some {rows * ROW_BYTES >> 30} GiB, {free >> 30} are free")
    count = rows // (DAYS * _cohorts(rows))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=DAYS)
    plan = Plan(
        start=int(start.timestamp()) * 1_000_000,
        rate=count / 86_000,
        sites=max(4, count // EVENTS_A_SITE),
        incidents=parse(INCIDENTS),
    )
    simulation = Simulation(plan)
    write_lookups(lookups_folder(folder), FLEET, simulation.sites)
    return simulation, count


def fill(client: Client, folder: Path, rows: int, tell: Callable[[str], None] = lambda text: None) -> History:
    """Fill the migrated database of `client` with some `rows` events that end yesterday.

    A folder whose filling broke off is filled on, with the same `rows`.
    """
    begin = time.monotonic()
    start, count, cohorts = _staged(client, folder, rows)
    tell(f"a day of {count:,} events staged in {time.monotonic() - begin:.0f} s")
    frames = {
        (stream, partition): (int(last) + 1, int(total))
        for stream in STREAMS
        for partition, last, total in client.query(
            f"SELECT partition, max(offset), count() FROM {STAGING}.{stream} GROUP BY partition"
        ).result_rows
    }
    booked = {
        (stream, partition): int(last)
        for stream, partition, last in client.query(
            "SELECT stream, partition, max(last) FROM sink_batches WHERE epoch = {epoch:String}"
            " GROUP BY stream, partition",
            parameters={"epoch": EPOCH},
        ).result_rows
    }
    for number in range(DAYS * cohorts):
        day, cohort = divmod(number, cohorts)
        for (stream, partition), (size, total) in frames.items():
            first = number * size
            if booked.get((stream, partition), -1) >= first:
                if booked[stream, partition] >= first + size or _stored(client, stream, partition, first):
                    continue
            else:
                _book(client, stream, partition, first, size, total, start + day * MICROS_A_DAY)
            client.command(_copy(client, stream, partition, first, start, day, cohort, cohorts))
        tell(f"{(number + 1) * count:,} events, {time.monotonic() - begin:.0f} s")
    merge_days(client, tell)
    _add_up_hours(client)
    stored = sum(int(client.query(f"SELECT count() FROM {s}").result_rows[0][0]) for s in STREAMS)
    first_day = datetime.fromtimestamp(start / 1e6, UTC).date().isoformat()
    history = History(stored, DAYS, first_day)
    (folder / "history.json").write_bytes(msgspec.json.encode(history))
    client.command(f"DROP DATABASE {STAGING} SYNC")
    return history


def _staged(client: Client, folder: Path, rows: int) -> tuple[int, int, int]:
    """The day that is repeated, staged: its beginning (µs), its events, and how often each day holds it."""
    begun = client.query(
        "SELECT toUnixTimestamp64Micro(min(first_seen)) FROM epochs WHERE epoch = {epoch:String}"
        " HAVING count() > 0",
        parameters={"epoch": EPOCH},
    ).result_rows
    if begun:
        tables = " UNION ALL ".join(f"SELECT count() AS rows FROM {STAGING}.{stream}" for stream in STREAMS)
        [(count,)] = client.query(f"SELECT sum(rows) FROM ({tables})").result_rows
        return int(begun[0][0]), int(count), _cohorts(rows)
    simulation, count = prepare(folder, rows)
    start = simulation.now
    client.command(f"DROP DATABASE IF EXISTS {STAGING}")
    client.command(f"CREATE DATABASE {STAGING}")
    for stream in STREAMS:
        client.command(
            f"CREATE TABLE {STAGING}.{stream} AS {client.database}.{stream}"
            " ENGINE = MergeTree ORDER BY (partition, offset, index)"
        )
    _stage(client, simulation, count, load(str(lookups_folder(folder))))
    client.command(f"INSERT INTO epochs VALUES ('{EPOCH}', fromUnixTimestamp64Micro(toInt64({start})))")
    return start, count, _cohorts(rows)


def _cohorts(rows: int) -> int:
    return max(1, round(rows / DAYS / DAY_ROWS))


def _stored(client: Client, stream: Stream, partition: int, first: int) -> bool:
    """Whether the insert that begins at an offset arrived: an insert is there whole or not at all."""
    [(count,)] = client.query(
        f"SELECT count() FROM {stream} WHERE epoch = {{epoch:String}} AND partition = {{partition:UInt32}}"
        " AND offset = {first:UInt64}",
        parameters={"epoch": EPOCH, "partition": partition, "first": first},
    ).result_rows
    return bool(count)


def _stage(client: Client, simulation: Simulation, count: int, lookups: Any) -> None:
    """The day's events as the sink would insert them, by partition in frames."""
    gathered: dict[StreamPartition, list[pa.RecordBatch]] = {}
    frames: dict[StreamPartition, int] = {}
    for partition, value in _frames(simulation, count):
        stream = partition.stream
        decoded = decode_frame(stream, value, fleet=None, device=None, received_at=0, fleets=None)
        if decoded.refused:
            raise RuntimeError(f"a simulated event was refused: {decoded.refused[0].fault}")
        batch = enrich(stream, decoded.columns, lookups, geohash_precision=6, clock_skew_seconds=86_400)
        offset = frames.get(partition, 0)
        frames[partition] = offset + 1
        rows = batch.num_rows
        columns = [pa.array([value] * rows, type) for value, type in _position(partition.partition, offset)]
        gathered.setdefault(partition, []).append(
            pa.RecordBatch.from_arrays(
                [*batch.columns, *columns], names=[*batch.schema.names, "epoch", "partition", "offset"]
            )
        )
        if len(gathered[partition]) == 200:
            _insert(client, stream, gathered.pop(partition))
    for (stream, _), batches in gathered.items():
        _insert(client, stream, batches)


def _position(partition: int, offset: int) -> list[tuple[Any, pa.DataType]]:
    return [(EPOCH, pa.string()), (partition, pa.uint32()), (offset, pa.uint64())]


def _frames(simulation: Simulation, count: int) -> Iterator[tuple[StreamPartition, bytes]]:
    """Raw frames of a day, each event received when it happened."""
    key = FLEET.encode() + b"\0"
    gathered: dict[StreamPartition, list[bytes]] = {}
    last = simulation.now + MICROS_A_DAY - 1
    while count > 0:
        received = min(simulation.now, last)
        taken = simulation.take(min(50, count))
        count -= len(taken)
        for event in taken:
            partition = StreamPartition(event.stream, crc32(key + event.device) % PARTITIONS)
            lines = gathered.setdefault(partition, [])
            lines.append(workload.envelope(event, received))
            if len(lines) == FRAME:
                yield (partition, b"\n".join(lines))
                lines.clear()
    for partition, lines in gathered.items():
        if lines:
            yield (partition, b"\n".join(lines))


def _insert(client: Client, stream: Stream, batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    client.raw_insert(
        f"{STAGING}.{stream}",
        column_names=[f"`{name}`" for name in table.column_names],
        insert_block=sink.getvalue().to_pybytes(),
        fmt="ArrowStream",
    )


def _book(
    client: Client, stream: Stream, partition: int, first: int, frames: int, rows: int, received: int
) -> None:
    """The ledger's rows of one insert. All frames but the last of a day are full."""
    day = datetime.fromtimestamp(received / 1e6, UTC).date()
    client.command(
        "INSERT INTO sink_batches WITH"
        f" {first} + number * {BATCH_FRAMES} AS begins,"
        f" least({first} + (number + 1) * {BATCH_FRAMES}, {first + frames}) AS ends,"
        f" least({rows}, (ends - {first}) * {FRAME}) - (begins - {first}) * {FRAME} AS size"
        f" SELECT '{EPOCH}', '{stream}', {partition}, begins, ends - 1, toInt64(begins) - 1,"
        f" begins, ends - 1, ends - begins, size, size, 0, 0, [toDate('{day}')],"
        f" 'bench', 1, 'bench', fromUnixTimestamp64Micro(toInt64({received}))"
        f" FROM numbers({-(-frames // BATCH_FRAMES)})"
    )


def _copy(
    client: Client,
    stream: Stream,
    partition: int,
    first: int,
    start: int,
    day: int,
    cohort: int,
    cohorts: int,
) -> str:
    """The INSERT of one partition's share of the day, as another day of other clients.

    A cohort's day begins at another hour and wraps around: the same event of two cohorts would otherwise
    stand side by side in the tables, and pack better than real ones do.
    """
    turn = MICROS_A_DAY // cohorts * cohort
    # the received time, wrapped within the day; what an event carries of times moves with it
    since = f"(toUnixTimestamp64Micro(received_at) - {start} + {turn})"
    shift = f"(intDiv({since}, {MICROS_A_DAY}) * -{MICROS_A_DAY} + {turn} + {day * MICROS_A_DAY})"
    changed = {name: f"addMicroseconds({name}, {shift})" for name in ("received_at", *_TIMES[stream])} | {
        "offset": f"offset + {first}"
    }
    if cohort:
        if stream == "client_events":
            tail = f"hex(toUInt32(sipHash64(mac, {cohort}) % 16777216) + 16777216)"
            changed["mac"] = (
                f"lower(concat(substring(mac, 1, 8), ':', substring({tail}, 3, 2), ':',"
                f" substring({tail}, 5, 2), ':', substring({tail}, 7, 2)))"
            )
        else:
            changed["device_id"] = f"concat(device_id, '-{cohort}')"
    names = [
        str(name)
        for (name,) in client.query(
            "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String}"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') AND name != 'id' ORDER BY position",
            parameters={"database": STAGING, "table": stream},
        ).result_rows
    ]
    columns = ", ".join(f"`{name}`" for name in names)
    values = ", ".join(f"{changed.get(name, f'`{name}`')}" for name in names)
    settings = ", ".join(f"{name} = {value}" for name, value in _ONE_BLOCK.items())
    return (
        f"INSERT INTO {stream} ({columns}) SETTINGS {settings}"
        f" SELECT {values} FROM {STAGING}.{stream} WHERE partition = {partition} ORDER BY offset, index"
    )


def _add_up_hours(client: Client) -> None:
    """Of all days, which their views do of the last two."""
    for migration in migrations():
        for statement in migration.statements(Settings(clickhouse_database=str(client.database))):
            for table in ADDED_UP:
                if f".{table}_mv " in statement:
                    select = of_rows(statement.partition(" AS\n")[2], "%s > toDate(0)")
                    client.command(f"INSERT INTO {table} {select}")


def copy_days(client: Client, tell: Callable[[str], None] = lambda text: None) -> None:
    """Fill `site_events` with the last days, and `site_levels` with all, of which their views take two."""
    for view in ("site_events_mv", "site_levels_mv"):
        client.command(f"SYSTEM STOP VIEW {view}")  # or both would copy a day
    days = client.query(
        "SELECT day FROM (SELECT toDate(minute) AS day, sum(events) AS there FROM site_minutes GROUP BY day)"
        " AS minutes LEFT JOIN (SELECT toDate(minute) AS day, count() AS known FROM site_events GROUP BY day)"
        " AS copies USING day WHERE there != known"
        f" AND day > (SELECT max(toDate(minute)) FROM site_minutes) - {COPIED_DAYS} ORDER BY day"
    ).result_rows
    names = ", ".join(site_events.COLUMNS)
    for (day,) in days:
        client.command(f"ALTER TABLE site_events DELETE WHERE toDate(minute) = '{day}'", settings=_SYNC)
        client.command(
            f"INSERT INTO site_events ({names}) SELECT {site_events.expressions()}"
            f" FROM client_events AS events WHERE toDate(received_at) = '{day}'"
        )
        tell(f"{day} copied by site")
    _count_levels(client, tell)
    for view in ("site_events_mv", "site_levels_mv"):
        client.command(f"SYSTEM START VIEW {view}")


def _count_levels(client: Client, tell: Callable[[str], None]) -> None:
    days = client.query(
        "SELECT fleet, day FROM (SELECT fleet, toDate(minute) AS day, sum(events) AS there FROM site_minutes"
        " GROUP BY fleet, day) AS minutes LEFT JOIN (SELECT fleet, toDate(minute) AS day, sum(events)"
        " AS known FROM site_levels FINAL GROUP BY fleet, day) AS levels USING (fleet, day)"
        " WHERE there != known AND day < toDate(now('UTC')) ORDER BY fleet, day"
    ).result_rows
    for fleet, day in days:
        site_levels.recount(client, str(client.database), fleet, day)
        tell(f"{day} counted by site")


def merge_days(client: Client, tell: Callable[[str], None] = lambda text: None) -> None:
    """Make one part of each day that is over, as the tables' settings do an hour after its end."""
    apart = client.query(
        "SELECT table, partition_id, any(partition) AS day FROM system.parts WHERE active"
        " AND database = currentDatabase() AND table IN {streams:Array(String)}"
        " GROUP BY table, partition_id HAVING count() > 1 AND day < toString(toDate(now('UTC')))"
        " ORDER BY day",
        parameters={"streams": [*STREAMS, "site_events"]},
    ).result_rows
    for number, (table, partition, _) in enumerate(apart, 1):
        client.command(f"OPTIMIZE TABLE {table} PARTITION ID '{partition}' FINAL")
        tell(f"merged {number} of {len(apart)} days of tables")
    while merges := int(client.query("SELECT count() FROM system.merges").result_rows[0][0]):
        tell(f"{merges} merges under way")
        time.sleep(5)
