"""The store on the real engine: schema, migrations, deduplication, rollups."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import h3
import pyarrow as pa
import pytest
import table_rows
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

import builders
from tidegate.contracts.columns import SCHEMAS
from tidegate.contracts.position import Position
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import RetryLater, Stop
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.preflight.clickhouse import inspect_schema
from tidegate.preflight.condition import State
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import LEVELS, migrate, require_newest
from tidegate.store.templates import migrations

EVENTS: dict[Stream, list[object]] = {
    "connection_logs": [
        builders.network_log(),
        builders.network_log(latitude=None, longitude=None, roaming=True, inbytes=None),
        builders.session_log(),
        builders.legacy_log(),
    ],
    "client_events": [
        builders.success(),
        builders.success(dhcpLatency=None),
        builders.failure(),
        builders.intermediate(),
    ],
    "device_logs": [builders.device_log(), builders.device_log(is_applied=False, is_pending=True)],
}


def count(client: Client, stream: str) -> tuple[int, ...]:
    """Rows of the base table, and events of its rollups."""
    tables = [f"(SELECT sum(events) FROM {stream}_{level})" for level in LEVELS]
    [row] = client.query(f"SELECT (SELECT count() FROM {stream}), {', '.join(tables)}").result_rows
    return tuple(row)


# Migrations


def test_a_second_migration_changes_nothing(client: Client, settings: Settings) -> None:
    assert migrate(client, settings) == ((), ())


def test_migrations_from_two_places_at_once_are_one(clickhouse: ClickHouseServer) -> None:
    settings = settings_of(clickhouse, ttl_rejects_days=3)

    def once(_: int) -> None:
        with connect(settings, database="") as client:
            migrate(client, settings)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(4)))
    with connect(settings) as client:
        assert migrate(client, settings) == ((), ())
        client.command(f"DROP DATABASE {settings.clickhouse_database} SYNC")


def test_a_changed_migration_stops(client: Client, settings: Settings) -> None:
    client.command("INSERT INTO schema_migrations (version, name, checksum) VALUES (1, 'events', 'other')")
    with pytest.raises(Stop, match="0001_events"):
        migrate(client, settings)


def test_a_database_of_a_newer_version_stops(client: Client, settings: Settings) -> None:
    client.command("INSERT INTO schema_migrations (version, name, checksum) VALUES (9000, 'x', 'y')")
    with pytest.raises(Stop, match="newer"):
        migrate(client, settings)


def test_what_a_newer_version_added_is_worked_with_and_not_backed_up(
    client: Client, settings: Settings
) -> None:
    last = migrations()[-1].version
    client.command(
        "INSERT INTO schema_migrations (version, name, checksum, works_from)"
        f" VALUES ({last + 1}, 'adds', 'x', {last})"
    )
    assert migrate(client, settings) == ((), ())
    assert not [one for one in inspect_schema(client, settings) if one.state is State.WRONG]
    with pytest.raises(Stop, match=f"migration {last + 1:04d} of a newer"):
        require_newest(client, settings)
    client.command(
        "INSERT INTO schema_migrations (version, name, checksum, works_from)"
        f" VALUES ({last + 2}, 'drops', 'x', {last + 1})"
    )
    with pytest.raises(Stop, match=f"migration {last + 2:04d} of a newer"):
        migrate(client, settings)


def test_ttls_follow_the_settings(client: Client, settings: Settings) -> None:
    def engine(table: str) -> str:
        sql = f"SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
        return str(client.command(sql))

    assert "TTL" not in engine("client_events")
    first = dataclasses.replace(settings, ttl_client_events_days=7, ttl_rejects_days=5, ttl_rollups_1d_days=9)
    # A copy of events is kept no longer than they are.
    changed = {"client_events", "site_events", "rejects", *(f"{stream}_1d" for stream in STREAMS)}
    assert set(migrate(client, first).ttls) == changed
    assert migrate(client, first) == ((), ())
    assert "toIntervalDay(7)" in engine("client_events")
    assert "toIntervalDay(9)" in engine("client_events_1d")
    second = dataclasses.replace(first, ttl_client_events_days=8, ttl_rejects_days=0)
    assert set(migrate(client, second).ttls) == {"client_events", "site_events", "rejects"}
    assert "toIntervalDay(8)" in engine("client_events")
    assert "TTL" not in engine("rejects")


def test_without_clickhouse_it_says_retry() -> None:
    with pytest.raises(RetryLater, match="ClickHouse is away"):
        connect(Settings(clickhouse_url=f"http://127.0.0.1:{free_port()}"))


def test_without_the_database_it_says_migrate(clickhouse: ClickHouseServer) -> None:
    with pytest.raises(RetryLater, match="tidegate migrate"):
        connect(Settings(clickhouse_url=clickhouse.url, clickhouse_database="nowhere")).query("SELECT 1")


# Schema

TYPES = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.uint32(): "UInt32",
    pa.timestamp("us", tz="UTC"): "DateTime64(6, 'UTC')",
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_table_has_the_columns_of_its_frames(client: Client, stream: Stream) -> None:
    sql = (
        "SELECT name, replaceRegexpAll(type, 'LowCardinality\\\\((.*)\\\\)$', '\\\\1') FROM system.columns"
        f" WHERE database = currentDatabase() AND table = '{stream}' AND name != 'h3' ORDER BY position"
    )
    found = [(str(name), str(type_)) for name, type_ in client.query(sql).result_rows]
    expected = [
        (field.name, f"Nullable({TYPES[field.type]})" if field.nullable else TYPES[field.type])
        for field in SCHEMAS[stream]
    ]
    expected.insert(1, ("id", "String"))
    at = [name for name, _ in expected].index("index")
    expected[at:at] = [("epoch", "String"), ("partition", "UInt32"), ("offset", "UInt64")]
    assert found == expected


@pytest.mark.parametrize("stream", STREAMS)
def test_a_row_comes_back_as_it_was_sent(client: Client, stream: Stream) -> None:
    rows = table_rows.table(stream, EVENTS[stream], offset=7)
    table_rows.insert(client, stream, rows, token="one")
    names = ", ".join(f"`{name}`" for name in rows.column_names)
    sql = f"SELECT {names} FROM {stream} ORDER BY index"
    found = client.query_arrow(sql, use_strings=True).to_pylist()
    text = [{name: str(value) for name, value in row.items()} for row in found]
    sent = rows.sort_by("index").to_pylist()
    assert text == [{name: str(value) for name, value in row.items()} for row in sent]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_id_is_the_position_written_down(client: Client, stream: Stream) -> None:
    table_rows.store(client, stream, *EVENTS[stream], partition=3, offset=12345678901)
    found = client.query(f"SELECT id FROM {stream} ORDER BY index").result_columns[0]
    assert list(found) == [
        Position(table_rows.EPOCH, stream, 3, 12345678901, index).id() for index in range(len(EVENTS[stream]))
    ]


def test_coordinates_have_their_h3_cell(client: Client) -> None:
    table_rows.store(client, "connection_logs", *EVENTS["connection_logs"])
    found = client.query("SELECT latitude, longitude, h3 FROM connection_logs").result_rows
    cells = [int(h3.latlng_to_cell(north, east, 8), 16) if north else 0 for north, east, _ in found]
    assert [cell for _, _, cell in found] == cells
    assert any(cells) and not all(cells)


# Deduplication


@pytest.mark.parametrize("stream", STREAMS)
def test_a_token_that_comes_again_changes_neither_table_nor_rollup(client: Client, stream: Stream) -> None:
    rows = table_rows.table(stream, EVENTS[stream])
    size = len(EVENTS[stream])
    for _ in range(3):
        table_rows.insert(client, stream, rows, token="a")
    assert count(client, stream) == (size,) * 4
    table_rows.insert(client, stream, rows, token="b")
    assert count(client, stream) == (2 * size,) * 4


@pytest.mark.parametrize("level", LEVELS)
def test_a_resend_heals_the_rollups_that_a_crash_left_behind(client: Client, level: str) -> None:
    """What a kill between base and view leaves: the view, and those that it feeds, without the block."""
    rows = table_rows.table("client_events", EVENTS["client_events"])
    client.command(f"DETACH TABLE client_events_{level}_mv")
    table_rows.insert(client, "client_events", rows, token="a")
    assert count(client, "client_events")[-1] == 0
    client.command(f"ATTACH TABLE client_events_{level}_mv")
    for _ in range(2):
        table_rows.insert(client, "client_events", rows, token="a")
        assert count(client, "client_events") == (4, 4, 4, 4)


def test_a_resend_heals_the_access_points(client: Client) -> None:
    """The view is behind after a kill; events older than the table are in it from the migration on."""
    rows = table_rows.table("client_events", EVENTS["client_events"])
    client.command("DETACH TABLE access_points_mv")
    table_rows.insert(client, "client_events", rows, token="a")
    assert client.command("SELECT count() FROM access_points") == 0
    client.command("ATTACH TABLE access_points_mv")
    for _ in range(2):
        table_rows.insert(client, "client_events", rows, token="a")
        assert client.command("SELECT count() FROM access_points") == 1


def test_a_block_stays_one_block_in_every_rollup(client: Client) -> None:
    """However far apart the devices' clocks: a block in several partitions could be left half-inserted."""
    moments = [1_763_712_000, 1_763_700_000, 1_505_109_958, 1_893_456_000]
    table_rows.store(client, "client_events", *(builders.success(timestamp=at) for at in moments))
    sql = (
        "SELECT table, count() FROM system.parts WHERE active AND database = currentDatabase()"
        " AND table LIKE 'client_events%' GROUP BY table ORDER BY table"
    )
    assert [tuple(row) for row in client.query(sql).result_rows] == [
        ("client_events", 1),
        ("client_events_1d", 1),
        ("client_events_1h", 1),
        ("client_events_1m", 1),
    ]


# Rollups

LEVELS_OF_STATES = "(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)"


def test_the_rollup_of_client_events_says_what_the_events_say(client: Client) -> None:
    now = builders.RECEIVED_AT
    macs = [f"02:00:00:00:00:{n:02x}" for n in range(20)]
    events = [
        builders.success(macAddress=mac, timestamp=now + 1_000_000 * n, dhcpLatency=n, dnsLatency=None)
        for n, mac in enumerate(macs)
    ]
    events += [builders.failure(macAddress=macs[0], timestamp=now), builders.intermediate(timestamp=now)]
    for offset in range(0, len(events), 5):  # states of several blocks are merged
        table_rows.store(client, "client_events", *events[offset : offset + 5], offset=offset)
    for level, bucket in zip(LEVELS, ("Minute", "Hour", "Day"), strict=True):
        rolled = client.query(
            f"SELECT outcome, failure_code, bucket, sum(events), uniqMerge(clients),"
            f" quantilesTimingMerge{LEVELS_OF_STATES}(dhcp_latency)"
            f" FROM client_events_{level} GROUP BY outcome, failure_code, bucket"
            " ORDER BY outcome, failure_code, bucket"
        ).result_rows
        base = client.query(
            f"SELECT outcome, ifNull(failure_code, -1) AS code, toStartOf{bucket}(event_time) AS bucket,"
            f" count(), uniqExact(mac), quantilesTiming{LEVELS_OF_STATES}(dhcp_latency)"
            " FROM client_events GROUP BY outcome, code, bucket ORDER BY outcome, code, bucket"
        ).result_rows
        assert [str(row) for row in rolled] == [str(row) for row in base]


def test_where_the_clock_is_wrong_the_bucket_is_the_received_time(client: Client) -> None:
    table_rows.store(client, "client_events", builders.success(timestamp=0))
    rows = client.query("SELECT toUnixTimestamp(bucket), clock_skew FROM client_events_1m").result_rows
    assert [tuple(row) for row in rows] == [(builders.RECEIVED_AT // 60_000_000 * 60, True)]


def test_the_rollup_of_connection_logs_sums_bytes(client: Client) -> None:
    table_rows.store(client, "connection_logs", *EVENTS["connection_logs"])
    rows = client.query(
        "SELECT network_type, ap, band, sum(events), sum(inbytes), sum(outbytes),"
        " sum(rssi_sum) / sum(rssi_count)"
        " FROM connection_logs_1h WHERE network_type = 'wi' GROUP BY ALL"
    ).result_rows
    assert [tuple(row) for row in rows] == [("wi", "00:1a:2b:3c:4d:5e", "5", 2, 1048576, 1048576, -45.0)]


def test_the_rollup_of_device_logs_counts_what_is_applied(client: Client) -> None:
    table_rows.store(client, "device_logs", *EVENTS["device_logs"])
    rows = client.query(
        "SELECT log_action, sum(events), sum(applied), sum(pending), uniqMerge(clients)"
        " FROM device_logs_1d GROUP BY ALL"
    ).result_rows
    assert [tuple(row) for row in rows] == [("config_change", 2, 1, 1, 1)]


def test_every_table_refuses_inserts_before_the_disk_is_full(clickhouse: ClickHouseServer) -> None:
    """ClickHouse answers an insert as done that found no room for its last files."""
    settings = settings_of(clickhouse)
    with migrated(settings) as client:
        without = client.query(
            "SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree'"
            " AND name != 'schema_migrations'"
            " AND NOT create_table_query LIKE '%min_free_disk_bytes_to_perform_insert = 268435456%'",
            parameters={"database": settings.clickhouse_database},
        ).result_rows
    assert without == []


def test_small_parts_are_one_file(client: Client) -> None:
    """Whatever an insert of each stream writes: the events, their rollups, what else hangs on them."""
    for stream in STREAMS:
        table_rows.store(client, stream, *EVENTS[stream])
    found = client.query(
        "SELECT DISTINCT table, part_storage_type FROM system.parts"
        " WHERE database = currentDatabase() AND table != 'schema_migrations'"
    ).result_rows
    assert {stream for stream in STREAMS} | {"site_minutes", "access_points"} <= {table for table, _ in found}
    assert {storage for _, storage in found} == {"Packed"}
