"""A ClickHouse cluster of several shards is refused before anything is touched."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import pytest
from databases import settings_of

from tidegate.errors import Stop
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.preflight.clickhouse import inspect_clickhouse
from tidegate.preflight.condition import State
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import check_cluster, migrate

SHARD = "<shard><replica><host>127.0.0.1</host><port>9</port></replica></shard>"
CLUSTERS = (
    f"<remote_servers><one>{SHARD}</one><two>{SHARD}{SHARD}</two></remote_servers>"
    "<macros><cluster>two</cluster></macros></clickhouse>"
)
PRELUDE = f"""
import sys
from tidegate.local.clickhouse import engine_users
made = engine_users.write_configuration
def write_configuration(folder, database):
    path = made(folder, database)
    path.write_text(path.read_text().replace("</clickhouse>", {CLUSTERS!r}))
    return path
engine_users.write_configuration = write_configuration
from tidegate.local.clickhouse.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a ClickHouse that knows the clusters `one` and `two`."""
    folder = tmp_path_factory.mktemp("clusters")
    server = ClickHouseServer(f"127.0.0.1:{free_port()}", folder / "store", folder / "clickhouse.log")
    server.child.argv[1:3] = ["-c", PRELUDE]
    assert server.child.argv[0] == sys.executable
    server.start()
    yield settings_of(server)
    server.stop()


@pytest.mark.parametrize("name", ["two", "{cluster}"])
def test_two_shards_are_refused_and_nothing_is_touched(settings: Settings, name: str) -> None:
    there = dataclasses.replace(settings, clickhouse_cluster=name)
    with connect(there, database="") as client:
        with pytest.raises(Stop, match="has 2 shards"):
            migrate(client, there)
        [found] = [one for one in inspect_clickhouse(client, there) if "shards" in one.what]
        assert found.state is State.WRONG
        database = there.clickhouse_database
        assert client.command(f"SELECT count() FROM system.databases WHERE name = '{database}'") == 0


def test_a_cluster_that_is_not_there_is_named(settings: Settings) -> None:
    there = dataclasses.replace(settings, clickhouse_cluster="three")
    with connect(there, database="") as client, pytest.raises(Stop, match="knows no cluster three"):
        migrate(client, there)


@pytest.mark.parametrize("name", ["one", ""])
def test_one_shard_is_taken(settings: Settings, name: str) -> None:
    with connect(settings, database="") as client:
        check_cluster(client, dataclasses.replace(settings, clickhouse_cluster=name))
