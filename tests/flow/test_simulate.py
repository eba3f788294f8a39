"""A simulated fleet through the whole pipeline: what it was told is what is in the tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import control_key
import pytest
import roles
from clickhouse_connect.driver.client import Client
from waiting import PATIENCE, await_

from tidegate import settings
from tidegate.contracts.topics import STREAMS
from tidegate.kafka.topics import ensure_topics
from tidegate.local.broker import EmbeddedBroker
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

ROLES = ("gateway", "worker", "sink")


class Pipeline:
    """The three roles between a broker of their own and a database of their own."""

    def __init__(self, folder: Path, clickhouse_url: str) -> None:
        self.broker = EmbeddedBroker(f"127.0.0.1:{free_port()}", folder / "broker.log")
        values: dict[str, object] = {
            "data_dir": str(folder),
            "control_key_file": os.environ[control_key.VARIABLE],
            "kafka_bootstrap": self.broker.bootstrap,
            "clickhouse_url": clickhouse_url,
            "clickhouse_database": f"simulate_{os.getpid()}",
            **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in ROLES},
        }
        self.settings: Settings = settings.load({}, overrides=values)
        self.roles = {role: roles.role(role, folder, values) for role in ROLES}
        self.token = ""
        self.client: Client

    def start(self) -> None:
        self.broker.start()
        ensure_topics(self.settings)
        admin = connect(self.settings, database="")
        migrate(admin, self.settings)
        admin.close()
        self.client = connect(self.settings)
        tokens = TokenFile(self.settings.tokens_path)
        self.token = tokens.create("fleet", fleet="demo", role="ingest", rate_events_per_second=1e6)
        for role, child in self.roles.items():
            child.start()
            self._await_ready(role, child)

    def stop(self) -> None:
        for child in self.roles.values():
            child.stop(20.0)
        self.broker.stop()

    def count(self, *tables: str) -> int:
        return sum(int(self.client.query(f"SELECT count() FROM {t}").result_rows[0][0]) for t in tables)

    def await_count(self, count: int, *tables: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := self.count(*tables)) < count:
            logs = "\n".join(child.tail() for child in self.roles.values())
            assert time.monotonic() < deadline, f"{found} of {count} in {tables}\n{logs}"
            time.sleep(0.1)

    def simulate(self, *options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", "simulate", *options], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _await_ready(self, role: str, child: Child) -> None:
        listen = getattr(self.settings, f"{role}_listen")

        def ready() -> bool:
            assert child.running, child.tail()
            return roles.get(listen, "/readyz", seconds=5)[0] == 200

        await_(ready, child.tail)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, clickhouse: ClickHouseServer) -> Iterator[Pipeline]:
    one = Pipeline(tmp_path_factory.mktemp("simulate"), clickhouse.url)
    try:
        one.start()
        yield one
    finally:
        one.stop()


def acked(output: str) -> int:
    """The acked total of the printed table."""
    (line,) = [line for line in output.splitlines() if line.startswith("all ")]
    return int(line.split()[2].replace(",", ""))


def broken(output: str) -> Counter[str]:
    """The broken events of the printed table, by code."""
    (line,) = [line for line in output.splitlines() if line.startswith("broken on purpose")]
    items = (item.split() for item in line[line.index("(") + 1 : -1].split(", "))
    return Counter({code: int(count) for code, count in items})


def test_over_http_what_was_acked_is_stored_by_its_id(pipeline: Pipeline, tmp_path: Path) -> None:
    before = pipeline.count(*STREAMS)
    ledger = tmp_path / "ledger"
    url = f"http://{pipeline.settings.gateway_listen}"
    output = pipeline.simulate(
        *("--http", url, "--token", pipeline.token, "--rate", "0", "--events", "20000", "--batch", "200"),
        *("--invalid", "0.05", "--ledger", str(ledger)),
    )
    count = acked(output)
    assert count + broken(output).total() == 20_000
    assert "refused though good" not in output and "taken though broken" not in output
    pipeline.await_count(before + count, *STREAMS)
    assert pipeline.count(*STREAMS) == before + count
    assert pipeline.count("rejects") == 0
    ids: dict[str, set[str]] = {stream: set() for stream in STREAMS}
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        ids[entry["stream"]] |= set(entry["ids"])
    for stream in STREAMS:
        stored = {id for (id,) in pipeline.client.query(f"SELECT id FROM {stream}").result_rows}
        assert ids[stream] <= stored


def test_through_kafka_every_line_is_stored_or_rejected_for_its_fault(pipeline: Pipeline) -> None:
    before, rejected = pipeline.count(*STREAMS), pipeline.count("rejects")
    output = pipeline.simulate(
        *("--kafka", pipeline.broker.bootstrap, "--rate", "0", "--events", "20000", "--invalid", "0.05")
    )
    faults = broken(output)
    assert acked(output) == 20_000
    pipeline.await_count(rejected + faults.total(), "rejects")
    pipeline.await_count(before + 20_000 - faults.total(), *STREAMS)
    assert pipeline.count(*STREAMS) == before + 20_000 - faults.total()
    rows = pipeline.client.query("SELECT code, count() FROM rejects GROUP BY code").result_rows
    codes = {code: count for code, count in rows}
    assert codes == faults
