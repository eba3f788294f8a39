"""What `tidegate check` looks at, on the real engine and on each broker: each thing broken is told."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import clickhouse_connect
import control_key
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from conftest import running_broker
from databases import settings_of
from waiting import await_

from tidegate.errors import RetryLater, Stop
from tidegate.kafka import topics
from tidegate.local.broker import Broker
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.preflight import check
from tidegate.preflight.clickhouse import inspect_clickhouse, inspect_schema
from tidegate.preflight.condition import Condition, State, require, wrong
from tidegate.preflight.epoch import inspect_epoch, minted_at, require_epoch
from tidegate.preflight.kafka import inspect_kafka
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.ledger import Ledger
from tidegate.store.migrate import migrate
from tidegate.store.templates import migrations


@pytest.fixture(scope="module")
def settings(clickhouse: ClickHouseServer) -> Settings:
    return settings_of(clickhouse)


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> Iterator[Client]:
    """A client beside a migrated database, which the tests leave as it is."""
    yield from prepared(settings, migrate)


@pytest.fixture
def other(clickhouse: ClickHouseServer) -> Settings:
    """Of a database that is not there yet."""
    return settings_of(clickhouse)


@pytest.fixture
def client(other: Settings) -> Iterator[Client]:
    yield from prepared(other, lambda client, settings: None)


def prepared(settings: Settings, prepare: Callable[[Client, Settings], object]) -> Iterator[Client]:
    with connect(settings, database="") as client:
        prepare(client, settings)
        yield client
        client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")


def not_ok(found: list[Condition]) -> list[Condition]:
    return [condition for condition in found if condition.state is not State.OK]


def tables(client: Client, settings: Settings) -> list[tuple[Any, ...]]:
    sql = "SELECT name, uuid FROM system.tables WHERE database = {database:String} ORDER BY name"
    rows = client.query(sql, parameters={"database": settings.clickhouse_database}).result_rows
    return [tuple(row) for row in rows]


# ClickHouse


def test_a_migrated_database_is_sound(migrated: Client, settings: Settings) -> None:
    found = inspect_clickhouse(migrated, settings)
    assert not_ok(found) == []
    assert {condition.what.partition(":")[0] for condition in found} == {
        "server",
        "schema",
        "tables",
        "deduplication",
        "insert settings",
        "clocks",
    }
    require(found)


def test_without_migrations_it_is_worth_waiting(client: Client, other: Settings) -> None:
    with pytest.raises(RetryLater, match="is not there yet.*tidegate migrate"):
        require(inspect_schema(client, other))
    assert tables(client, other) == []


def test_what_an_insert_rests_on_is_told_when_it_is_gone(client: Client, other: Settings) -> None:
    """One thing after the other, each told beside those before it."""
    migrate(client, other)
    damage = {
        "ALTER TABLE {database}.client_events_1h MODIFY SETTING non_replicated_deduplication_window = 10": (
            "deduplication: .*client_events_1h 10"
        ),
        "ALTER TABLE {database}.rejects RESET SETTING non_replicated_deduplication_window": (
            "deduplication: .*rejects 0"
        ),
        "DROP TABLE {database}.device_logs_1m_mv": "views: device_logs_1m_mv .* are gone",
        "DROP TABLE {database}.sink_gaps": "tables: sink_gaps .* are gone",
        "CREATE OR REPLACE TABLE {database}.alerts (x Int8) ENGINE = Memory": (
            r"tables: alerts \(Memory\) .* not what the migrations made"
        ),
    }
    for statement, told in damage.items():
        with pytest.raises(Stop) as before:
            require([*inspect_schema(client, other), wrong("one is", "enough")])
        assert not re.search(told, str(before.value))
        client.command(statement.format(database=other.clickhouse_database))
        with pytest.raises(Stop, match=told):
            require(inspect_schema(client, other))
    record = f"{other.clickhouse_database}.schema_migrations"
    last = migrations()[-1]
    client.command(f"ALTER TABLE {record} DELETE WHERE version = {last.version} SETTINGS mutations_sync = 2")
    with pytest.raises(RetryLater, match=f"this version needs {last.version:04d}_{last.name}.*migrate"):
        require(inspect_schema(client, other))
    client.command(f"INSERT INTO {record} (version, name, checksum) VALUES (900, '', '')")
    with pytest.raises(Stop, match="migration 0900 of a newer Tidegate: update this one"):
        require(inspect_schema(client, other))


def test_a_user_who_may_not_set_the_inserts_settings_is_told(
    clickhouse: ClickHouseServer, migrated: Client, settings: Settings
) -> None:
    reader = clickhouse_connect.get_client(dsn=clickhouse.url, session_id=settings.clickhouse_database)
    reader.command("SET readonly = 1")
    with pytest.raises(Stop, match="insert settings: this user may not set.*readonly mode.*constraints"):
        require(inspect_schema(reader, settings))
    reader.close()


def test_a_time_to_live_beside_its_setting_is_a_warning(migrated: Client, settings: Settings) -> None:
    changed = dataclasses.replace(settings, ttl_rejects_days=30)
    (condition,) = not_ok(inspect_clickhouse(migrated, changed))
    assert condition.state is State.WARNING
    assert condition.what == "time to live: rejects keeps all days, the setting says 30"


@pytest.mark.parametrize(
    "theirs",
    [
        "CREATE TABLE {database}.client_events (a Int8, b String) ENGINE = MergeTree ORDER BY a",
        "CREATE VIEW {database}.verify_batches AS SELECT 1 AS one",
        "CREATE TABLE {database}.schema_migrations (version String) ENGINE = MergeTree ORDER BY version",
    ],
)
def test_somebody_elses_tables_stop_and_stay_as_they_are(
    client: Client, other: Settings, theirs: str
) -> None:
    client.command(f"CREATE DATABASE {other.clickhouse_database}")
    client.command(theirs.format(database=other.clickhouse_database))
    before = tables(client, other)
    with pytest.raises(Stop, match="set clickhouse_database to a database of its own"):
        migrate(client, other)
    with pytest.raises(Stop, match="set clickhouse_database to a database of its own"):
        require(inspect_schema(client, other))
    assert tables(client, other) == before


def test_a_table_that_came_before_a_later_migration_stops(client: Client, other: Settings) -> None:
    migrate(client, other)
    database = other.clickhouse_database
    client.command(
        f"ALTER TABLE {database}.schema_migrations DELETE WHERE version = 5 SETTINGS mutations_sync = 2"
    )
    assert "0005_access_points" in migrate(client, other).applied  # left behind half-way: ours
    client.command(
        f"ALTER TABLE {database}.schema_migrations DELETE WHERE version = 5 SETTINGS mutations_sync = 2"
    )
    client.command(f"DROP TABLE {database}.access_points_mv")
    client.command(f"CREATE OR REPLACE TABLE {database}.access_points (a Int8) ENGINE = MergeTree ORDER BY a")
    before = tables(client, other)
    with pytest.raises(Stop, match="has access_points, which Tidegate did not make"):
        migrate(client, other)
    assert tables(client, other) == before


# Epochs

OLD, NEW = topics.mint_epoch(), topics.mint_epoch()


def test_epochs() -> None:
    begun = datetime.now(UTC)
    ages_ago = "01HZZZZZZZ" + OLD[10:]
    assert minted_at(OLD) is not None and abs(begun - minted_at(OLD)) < timedelta(days=1)  # type: ignore[operator]
    assert minted_at("") is None and minted_at("U" * 26) is None and minted_at("8" + OLD[1:]) is None
    assert inspect_epoch(OLD, {}).state is State.OK
    assert inspect_epoch(OLD, {OLD: begun}).state is State.OK
    assert inspect_epoch(NEW, {OLD: begun}).state is State.OK
    assert inspect_epoch(NEW, {ages_ago: begun}).state is State.OK
    gone_on = inspect_epoch(OLD, {OLD: begun, NEW: begun + timedelta(seconds=1)})
    assert gone_on.state is State.WRONG and f"has gone on to {NEW}" in gone_on.what
    assert f"tidegate sink accept-epoch {OLD}" in gone_on.do
    other = inspect_epoch(ages_ago, {NEW: begun})
    assert other.state is State.WRONG and "does not know it" in other.what


def test_the_ledger_keeps_the_order_of_epochs(migrated: Client, settings: Settings) -> None:
    ledger = Ledger(migrated, settings.clickhouse_database)
    for epoch in (OLD, NEW, NEW):
        ledger.note_epoch(epoch)
    with pytest.raises(Stop, match=f"Kafka is in {OLD}, but ClickHouse has gone on to {NEW}"):
        require_epoch(OLD, ledger.epochs())
    ledger.accept_epoch(OLD)
    require_epoch(OLD, ledger.epochs())
    with pytest.raises(Stop):
        require_epoch(NEW, ledger.epochs())


# Kafka


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Broker]:
    """Apache Kafka of the test's own: it changes the topics."""
    with running_broker("kafka", tmp_path) as broker:
        yield broker


@pytest.mark.kafka
def test_each_setting_of_a_topic_is_told(kafka: Broker) -> None:
    settings = Settings(kafka_bootstrap=kafka.bootstrap, control_key_file=os.environ[control_key.VARIABLE])
    (none,) = inspect_kafka(settings)
    assert none.comes and "run `tidegate topics`" in str(none)
    topics.ensure_topics(settings)
    (single,) = not_ok(inspect_kafka(settings))
    assert single.state is State.WARNING and "1 of 1 broker" in single.what
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def change(topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        [done] = admin.incremental_alter_configs([resource]).values()
        done.result(30)

    raw = "tidegate.device_logs.raw"
    changes = [
        (raw, "retention.ms", "60000", State.WARNING, "retention: shorter"),
        (raw, "retention.bytes", "1000", State.WARNING, "retention: retention.bytes bounds"),
        (raw, "max.message.bytes", "1000", State.WRONG, "record size: .* is 16777216, .* 1000"),
        (raw, "cleanup.policy", "compact", State.WRONG, "clean-up: .*compacted"),
        ("tidegate.control", "retention.ms", "60000", State.WRONG, "clean-up: tidegate.control"),
        (raw, "min.insync.replicas", "2", State.WRONG, "replication: too few replicas in sync"),
        (raw, "unclean.leader.election.enable", "true", State.WRONG, "elections: "),
        (raw, "message.timestamp.type", "CreateTime", State.WARNING, "timestamps: "),
    ]
    for topic, name, value, _, _ in changes:
        change(topic, name, value)
    # The broker tells of a change a moment behind its answer to it.
    await_(lambda: len(not_ok(inspect_kafka(settings))) > len(changes))
    found = not_ok(inspect_kafka(settings))
    for topic, _, _, state, told in changes:
        with pytest.raises(Stop, match=told):
            require([c._replace(state=State.WRONG) for c in found if c.state is state and topic in c.what])
    assert len(found) == len(changes) + 1
    with pytest.raises(Stop, match=f"kafka_max_record_bytes is 16777216, .*{raw} has 1000"):
        topics.require_topics(settings)  # as worker and sink do when they start


@pytest.mark.parametrize("bytes_", [16_777_215, 16_777_217])
def test_a_role_with_another_limit_of_a_record_does_not_start(tmp_path: Path, bytes_: int) -> None:
    """A worker that is set to less than the gateway would refuse what that one has acknowledged."""
    with running_broker("embedded", tmp_path) as broker:
        settings = Settings(kafka_bootstrap=broker.bootstrap)
        topics.ensure_topics(settings)
        topics.require_topics(settings)
        topics.require_record_size(settings)
        other = dataclasses.replace(settings, kafka_max_record_bytes=bytes_)
        for require_ in (topics.require_topics, topics.require_record_size):
            with pytest.raises(Stop, match=f"kafka_max_record_bytes is {bytes_}, .* has 16777216"):
                require_(other)
        assert any("has 16777216" in condition.what for condition in not_ok(inspect_kafka(other)))


@pytest.mark.parametrize("partitions", [1, 2, 4])  # 1: as `tidegate up` makes them
def test_on_the_embedded_broker(
    tmp_path: Path, migrated: Client, settings: Settings, partitions: int
) -> None:
    """The whole of it, as it is printed: sound, and with fewer partitions than the settings say."""
    said: list[str] = []
    with running_broker("embedded", tmp_path) as broker:
        settings = dataclasses.replace(settings, kafka_bootstrap=broker.bootstrap, data_dir=str(tmp_path))
        topics.ensure_topics(dataclasses.replace(settings, kafka_partitions=partitions))
        status = check.run(settings, said.append)
    lines = said[said.index("  (* differs from the default)") + 1 :]
    wrong = [line for line in lines if line.startswith("wrong")]
    assert status == bool(wrong) == (partitions == 2)
    assert not wrong or "kafka_partitions is 4, but tidegate.connection_logs.raw has 2" in wrong[0]
    assert any(line.startswith("ok       epoch: ") for line in lines)
    assert all(line.startswith(("ok ", "warning ", "wrong ", f"{chr(32) * 9}> ")) for line in lines[:-1])
