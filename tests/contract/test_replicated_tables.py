"""The schema of a cluster, on one server: Replicated tables that an Apache ZooKeeper keeps.

The embedded engine runs no `ON CLUSTER`, and its Replicated tables stay read-only: those words are left out
of the statements, and what they do, inserts and replication have not been tried here. `tests/cluster` tries
them where Docker has the images.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from databases import migrated, settings_of
from zookeeper import running_zookeeper

from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.templates import migrations

CLUSTER = """
<remote_servers><one><shard><replica><host>127.0.0.1</host><port>9</port></replica></shard></one></remote_servers>
<macros><shard>1</shard><replica>a</replica></macros>
<zookeeper><node><host>127.0.0.1</host><port>{port}</port></node></zookeeper>
</clickhouse>"""
PRELUDE = """
import sys
from tidegate.local.clickhouse import confinement, engine_users
confinement.confine = lambda *places, **more: ""  # which lets it connect to nothing
made = engine_users.write_configuration
def write_configuration(folder, database):
    path = made(folder, database)
    path.write_text(path.read_text().replace("</clickhouse>", {cluster!r}))
    return path
engine_users.write_configuration = write_configuration
replicated = ["Replicated" + one for one in engine_users.TABLE_ENGINES if one.endswith("MergeTree")]
granted = engine_users.GRANTS[engine_users.User.TIDEGATE]
engine_users.GRANTS[engine_users.User.TIDEGATE] = (
    *granted, *("GRANT TABLE ENGINE ON " + one for one in replicated if "Graphite" not in one)
)
from tidegate.local.clickhouse.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a ClickHouse that is the only replica of the cluster `one`."""
    folder = tmp_path_factory.mktemp("replicated")
    with running_zookeeper(folder) as port:
        server = ClickHouseServer(f"127.0.0.1:{free_port()}", folder / "store", folder / "clickhouse.log")
        assert server.child.argv[0] == sys.executable
        server.child.argv[1:3] = ["-c", PRELUDE.format(cluster=CLUSTER.format(port=port))]
        server.start()
        yield settings_of(server, clickhouse_cluster="one")
        server.stop()


TABLES = (
    "SELECT name, engine, sorting_key, partition_key FROM system.tables WHERE database = {database:String}"
)
COLUMNS = (
    "SELECT table, name, type, default_expression FROM system.columns WHERE database = {database:String}"
    " ORDER BY table, position"
)


def test_every_statement_of_a_cluster_is_taken(settings: Settings) -> None:
    """And makes what a single server has, with Replicated tables."""
    database, one_server = settings.clickhouse_database, dataclasses.replace(settings, clickhouse_cluster="")
    one_server = dataclasses.replace(one_server, clickhouse_database=f"{database}_one")
    with migrated(one_server) as client:
        client.command(f"CREATE DATABASE {database}")
        for migration in migrations():
            for statement in migration.statements(settings):
                client.command(statement.replace("ON CLUSTER 'one'", ""))

        def rows(query: str, of: Settings) -> list[tuple[Any, ...]]:
            found = client.query(query, parameters={"database": of.clickhouse_database}).result_rows
            return [tuple(row) for row in found if row[0] != "schema_migrations"]

        there = {name: what for name, *what in rows(TABLES, settings)}
        wanted = {name: what for name, *what in rows(TABLES, one_server)}
        for name, (engine, *keys) in wanted.items():
            replicated = f"Replicated{engine}" if engine.endswith("MergeTree") else engine
            assert there.pop(name) == [replicated, *keys], name
        assert not there
        assert rows(COLUMNS, settings) == rows(COLUMNS, one_server)
        paths = client.query(
            "SELECT table, zookeeper_path FROM system.replicas WHERE database = {database:String}",
            parameters={"database": database},
        ).result_rows
        engines = [engine for engine, *_ in wanted.values() if engine.endswith("MergeTree")]
        assert len(paths) == len(engines)
        assert all(path == f"/clickhouse/tables/1/{database}/{table}" for table, path in paths)
