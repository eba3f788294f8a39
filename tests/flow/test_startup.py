"""Roles that find wrong or missing things at their start say what and what to do, and touch nothing."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roles
from clickhouse_connect.driver.client import Client
from confluent_kafka.admin import AdminClient
from conftest import running_broker
from databases import settings_of
from sink_rig import SinkProcess
from waiting import PATIENCE, await_

from tidegate.kafka import topics
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.ledger import Ledger
from tidegate.store.migrate import migrate
from tidegate.store.templates import DEDUPLICATION_WINDOW
from tidegate.tokens import TokenFile


@pytest.fixture
def settings(tmp_path: Path, clickhouse: ClickHouseServer) -> Iterator[Settings]:
    """Of a broker of the test's own, without topics, and a database that is not there."""
    with running_broker("embedded", tmp_path) as broker:
        yield settings_of(clickhouse, kafka_bootstrap=broker.bootstrap, data_dir=str(tmp_path))


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with connect(settings, database="") as client:
        yield client
        client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")


def values(settings: Settings) -> dict[str, Any]:
    names = ("clickhouse_url", "clickhouse_database", "kafka_bootstrap", "kafka_partitions", "data_dir")
    return {name: getattr(settings, name) for name in names}


def role(settings: Settings, name: str, folder: Path) -> Child:
    """A role's process, started."""
    listens = {f"{one}_listen": f"127.0.0.1:{free_port()}" for one in ("gateway", "worker", "sink")}
    child = roles.role(name, folder, values(settings) | listens)
    child.start()
    return child


def tool(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return roles.run(*arguments, values=values(settings), seconds=PATIENCE)


def topics_there(settings: Settings) -> dict[str, int]:
    found = AdminClient({"bootstrap.servers": settings.kafka_bootstrap}).list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def tables_there(client: Client, settings: Settings) -> list[Any]:
    sql = "SELECT name, total_rows FROM system.tables WHERE database = {database:String} ORDER BY name"
    return list(client.query(sql, parameters={"database": settings.clickhouse_database}).result_rows)


def test_without_topics_roles_wait_and_make_none(settings: Settings, client: Client, tmp_path: Path) -> None:
    TokenFile(tmp_path / "tokens.json").create("one", fleet="demo", role="ingest")
    children = [role(settings, name, tmp_path) for name in ("gateway", "worker", "sink")]
    gateway, worker, sink = children
    try:
        await_(
            lambda: "no topic" in gateway.tail() and "run `tidegate topics`" in gateway.tail(), gateway.tail
        )
        await_(lambda: "run `tidegate topics`" in worker.tail(), worker.tail)
        await_(lambda: "this version needs 0001_events" in sink.tail(), sink.tail)
        assert "run `tidegate migrate`" in sink.tail()
        migrate(client, settings)
        before = tables_there(client, settings)
        await_(lambda: "no topic" in sink.tail(), sink.tail)
        assert topics_there(settings) == {}
        assert tables_there(client, settings) == before
        topics.ensure_topics(settings)
        await_(lambda: "ready: epoch" in worker.tail(), worker.tail)
        await_(lambda: "broker ready" in gateway.tail(), gateway.tail)
        await_(lambda: "reading from enriched offset" in sink.tail(), sink.tail)
    finally:
        for child in children:
            child.stop(30)


def test_fewer_partitions_than_expected(settings: Settings, client: Client, tmp_path: Path) -> None:
    migrate(client, settings)
    topics.ensure_topics(dataclasses.replace(settings, kafka_partitions=2))
    there, before = topics_there(settings), tables_there(client, settings)
    told = "kafka_partitions is 4, but tidegate.connection_logs.raw has 2"
    gateway, worker, sink = (role(settings, name, tmp_path) for name in ("gateway", "worker", "sink"))
    try:
        for child in (worker, sink):
            assert child.wait(PATIENCE) == 1, child.tail()
            assert told in child.tail() and "Set kafka_partitions to what is there" in child.tail()
        await_(lambda: told in gateway.tail(), gateway.tail)
    finally:
        gateway.stop(30)
    assert topics_there(settings) == there
    assert tables_there(client, settings) == before


def test_a_store_that_the_sink_must_not_write_to(settings: Settings, client: Client, tmp_path: Path) -> None:
    """A newer schema, a table that forgets tokens, an epoch that went back: status 1, and nothing touched."""
    migrate(client, settings)
    epoch = topics.ensure_topics(settings).epoch
    database = settings.clickhouse_database

    def refused(told: str) -> None:
        before = tables_there(client, settings)
        sink = role(settings, "sink", tmp_path)
        assert sink.wait(PATIENCE) == 1, sink.tail()
        assert told in sink.tail(), sink.tail()
        assert tables_there(client, settings) == before
        sink.log_path.unlink()

    client.command(f"INSERT INTO {database}.schema_migrations (version, name, checksum) VALUES (900, '', '')")
    refused("migration 0900 of a newer Tidegate: update this one")
    migrated = tool(settings, "migrate")
    assert migrated.returncode == 1 and "migration 0900 of a newer Tidegate" in migrated.stderr
    client.command(
        f"ALTER TABLE {database}.schema_migrations DELETE WHERE version = 900 SETTINGS mutations_sync = 2"
    )

    window = f"ALTER TABLE {database}.client_events MODIFY SETTING non_replicated_deduplication_window ="
    client.command(f"{window} 0")
    refused("MODIFY SETTING non_replicated_deduplication_window = 10000")
    client.command(f"{window} {DEDUPLICATION_WINDOW}")

    ledger = Ledger(client, database)
    ledger.note_epoch(epoch)
    ledger.note_epoch(later := topics.mint_epoch())
    refused(f"ClickHouse has gone on to {later}")
    assert tool(settings, "check").returncode == 1
    assert tool(settings, "sink", "accept-epoch", later).returncode == 1
    accepted = tool(settings, "sink", "accept-epoch", epoch)
    assert accepted.returncode == 0, accepted.stderr
    sink = SinkProcess("sink", tmp_path, values(settings)).start()
    await_(sink.ready)
    checked = tool(settings, "check")
    assert checked.returncode == 0, checked.stdout
    sink.stop()


def test_somebody_elses_tables_are_left_alone(settings: Settings, client: Client) -> None:
    database = settings.clickhouse_database
    client.command(f"CREATE DATABASE {database}")
    client.command(f"CREATE TABLE {database}.connection_logs (a Int8) ENGINE = MergeTree ORDER BY a")
    before = tables_there(client, settings)
    done = tool(settings, "migrate")
    assert done.returncode == 1
    assert f"database {database} has connection_logs, which Tidegate did not make" in done.stderr
    assert "set clickhouse_database to a database of its own" in done.stderr
    assert tables_there(client, settings) == before
