"""kill -9 of each role in turn under load: what was acknowledged is there once, and the ledger balances.

The producer keeps its own list of the ids that it was given; it knows nothing of the tables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import require_apache_kafka
from roles import assert_verified
from up_rig import Up, await_

from tidegate.contracts.position import Position, parse_id
from tidegate.contracts.topics import STREAMS

pytestmark = pytest.mark.timeout(900)

RATE = 5000  # events per second
PARTITIONS = 2
ROLES = ("gateway", "worker", "sink", "api", "clickhouse")


class Load:
    """The simulated fleet, over HTTP, some of its events broken, with its list of acknowledged ids."""

    def __init__(self, up: Up, folder: Path) -> None:
        self.ledger = folder / "acked"
        self.output = folder / "simulate.log"
        command = [sys.executable, "-m", "tidegate", "simulate", "--rate", str(RATE), "--batch", "100"]
        command += ["--invalid", "0.01", "--ledger", str(self.ledger)]
        command += ["--http", f"http://{up.listens['gateway']}", "--token", up.tokens()["ingest"]]
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def acked(self) -> list[Position]:
        """Every id that the gateway gave, written down by the sender."""
        lines = self.ledger.read_text().splitlines()
        found = [parse_id(id) for line in lines for id in json.loads(line)["ids"]]
        assert None not in found
        return [position for position in found if position is not None]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def up(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    if request.param == "kafka":
        require_apache_kafka()
    monkeypatch.setenv("TIDEGATE_UP_PARTITIONS", str(PARTITIONS))
    product = Up(tmp_path, "--broker", request.param, "--simulate", "0")
    product.start()
    yield product
    product.end()


def test_kill_each_role_under_load(up: Up, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    load = Load(up, tmp_path)
    try:
        await_(lambda: load.ledger.exists() and load.ledger.stat().st_size > 0, load.output.read_text)
        on_kafka = "kafka" in request.node.name
        for role in (*ROLES, "broker") if on_kafka else ROLES:  # the embedded broker's log dies with it
            time.sleep(3)
            os.kill(up.pid(role), signal.SIGKILL)
            up.wait_for(f"{role} started again")
        time.sleep(3)
        load.stop()
    finally:
        load.end()
    acked = load.acked()
    assert len(acked) > 5 * RATE, load.output.read_text()
    assert len(set(acked)) == len(acked), "an id was given twice"
    await_(lambda: stored_all(up, acked), up.said)
    balance(up)
    partitions = {(position.stream, position.partition) for position in acked}
    assert len(partitions) == len(STREAMS) * PARTITIONS, "the load reached every partition"
    assert up.stop() == 0


def stored_all(up: Up, acked: list[Position]) -> bool:
    """Whether every acknowledged id is a row of its table; none may be there twice."""
    for stream in STREAMS:
        ids = {position.id() for position in acked if position.stream == stream}
        rows = set(up.sql(f"SELECT id FROM tidegate.{stream} FORMAT TSV").split())
        assert up.sql(f"SELECT count() - uniqExact(id) FROM tidegate.{stream}") == "0"
        if not ids <= rows:
            return False
    return True


def balance(up: Up) -> None:
    """The product's own proof: the ledger beside the tables, the base beside its rollups."""
    report = assert_verified({"clickhouse_url": up.clickhouse_url, "kafka_bootstrap": up.listens["kafka"]})
    assert sum(item["frames"] for item in report["in_flight"]) == 0
