"""One shard, two replicas of a real ClickHouse, and a sink that changes from one to the other.

Not run where this was written: it needs a Docker engine that reaches a registry of images, for
clickhouse/clickhouse-server and clickhouse/clickhouse-keeper. `tests/contract/test_replicated_tables.py` has
the schema of a cluster on the embedded engine, `tests/contract/test_one_shard.py` why two shards are refused.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roles
import toolchains
from clickhouse_connect.driver.client import Client
from containers.engine import answering, compose_command
from waiting import await_
from worker_rig import Rig

from builders import frame, success
from tidegate.local.broker import Broker
from tidegate.local.child import free_port
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.store.objects import objects
from tidegate.store.templates import migrations

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
PASSWORD = "for-these-tests"
SECONDS = 120.0


class Cluster:
    """The two replicas by name; `settings` of each differ in the address alone."""

    def __init__(self, compose: list[str]) -> None:
        self.ports = {"a": free_port(), "b": free_port()}
        self._command = [*compose, "-p", f"tidegate-cluster-{os.getpid()}"]
        self._command += ["-f", str(Path(__file__).with_name("compose.yml"))]
        self._environment = os.environ | {
            f"PORT_{one.upper()}": str(port) for one, port in self.ports.items()
        }

    def do(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command, *arguments], env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def settings(self, replica: str) -> Settings:
        return Settings(
            clickhouse_url=f"http://tidegate:{PASSWORD}@127.0.0.1:{self.ports[replica]}",
            clickhouse_cluster="tidegate",
        )

    def answers(self, replica: str) -> bool:
        try:
            with connect(self.settings(replica), database="") as client:
                return bool(client.command("SELECT 1"))
        except Exception:
            return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    compose = compose_command()
    if compose is None or not answering():
        pytest.skip("needs a Docker engine with compose that reaches a registry of images")
    toolchains.need("docker")
    cluster = Cluster(compose)
    try:
        cluster.do("up", "-d")
        await_(lambda: cluster.answers("a") and cluster.answers("b"), seconds=SECONDS)
        yield cluster
    finally:
        cluster.do("down", "-v")


def client_of(cluster: Cluster, replica: str) -> Client:
    return connect(cluster.settings(replica))


def test_both_replicas_have_every_table(cluster: Cluster) -> None:
    with connect(cluster.settings("a"), database="") as admin:
        migrate(admin, cluster.settings("a"))
    wanted = set(objects(migrations(), cluster.settings("a")))
    for replica in "ab":
        with client_of(cluster, replica) as client:
            names = {row[0] for row in client.query("SHOW TABLES").result_rows}
            assert wanted <= names
            [(read_only,)] = client.query("SELECT countIf(is_readonly) FROM system.replicas").result_rows
            assert read_only == 0


def test_a_sink_that_goes_from_one_replica_to_the_other_doubles_nothing(
    cluster: Cluster, broker: Broker, tmp_path: Path
) -> None:
    """Killed in the midst of a batch at A, which then goes away, it goes on at B; the same rows on both."""
    with connect(cluster.settings("a"), database="") as admin:
        migrate(admin, cluster.settings("a"))
    rig = Rig(broker.bootstrap, tmp_path / "worker")
    rig.start()

    def sink(replica: str) -> Any:
        values = {
            "kafka_bootstrap": broker.bootstrap,
            "clickhouse_url": cluster.settings(replica).clickhouse_url,
            "clickhouse_cluster": "tidegate",
            "sink_listen": f"127.0.0.1:{free_port()}",
        }
        child = roles.role("sink", tmp_path / f"sink-{replica}", values, name=f"sink-{replica}")
        child.start()
        return child

    def stored(replica: str) -> int:
        with client_of(cluster, replica) as client:
            [(count,)] = client.query("SELECT count() FROM client_events").result_rows
            return int(count)

    first = sink("a")
    rig.send_many("client_events", [frame(success(), success()) for _ in range(200)])
    await_(lambda: stored("a") > 0, first.tail, SECONDS)
    first.kill()
    cluster.do("stop", "a")
    second = sink("b")
    rig.send_many("client_events", [frame(success(), success()) for _ in range(200)])
    await_(lambda: stored("b") == 800, second.tail, SECONDS)
    cluster.do("start", "a")
    await_(lambda: cluster.answers("a") and stored("a") == 800, seconds=SECONDS)
    rows = []
    for replica in "ab":
        with client_of(cluster, replica) as client:
            rows.append(client.query("SELECT * FROM client_events ORDER BY id").result_rows)
            [(counted,)] = client.query("SELECT sum(events) FROM client_events_1m").result_rows
            assert counted == 800
    assert rows[0] == rows[1] and len({row for row in map(repr, rows[0])}) == 800
    assert second.stop(30) == 0
    rig.stop()
