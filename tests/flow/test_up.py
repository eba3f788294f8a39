"""`tidegate up`: starts, answers, mends, drains, and leaves data but no process behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import require_apache_kafka
from up_rig import Sender, Up, await_, event

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def up(*arguments: str) -> Up:
        made.append(Up(tmp_path, *arguments))
        return made[-1]

    yield up
    for one in made:
        one.end()


def test_first_minutes_of_a_newcomer(make: Callable[..., Up]) -> None:
    up = make("--simulate", "200")
    up.start()
    said = up.said()
    for part in ("gateway", "api", "clickhouse", "kafka"):
        assert up.listens[part] in said
    assert "embedded broker keeps its log in memory" in said
    assert (up.data / "demo-tokens.json").stat().st_mode & 0o777 == 0o600
    assert set(up.tokens()) == {"ingest", "viewer", "operator", "administrator", "superuser"}

    assert "ERROR" not in said and "[^" not in said, said  # nothing that only looks like trouble

    assert up.post(event("first")) == 201
    await_(lambda: up.count("first") == 1, up.said)
    await_(lambda: int(up.sql("SELECT count() FROM tidegate.client_events")) > 0, up.said)

    again = Up(up.folder, "--simulate", "0")
    done = again.run()
    assert done.returncode == 2
    assert "another `tidegate up`" in done.stderr and str(up.process.pid if up.process else "") in done.stderr

    tokens = up.tokens()
    sender = Sender(up, "load")
    await_(lambda: sender.acked > 20)
    assert up.stop(signal.SIGINT) == 0
    acked = sender.stop()
    assert "drained: everything acknowledged is in ClickHouse" in up.said()

    up.arguments[-1] = "0"
    up.start()
    assert (up.count("first"), up.count("load")) == (1, acked)
    assert up.sql("SELECT uniqExact(epoch) FROM tidegate.connection_logs") == "1"
    assert up.tokens() == tokens
    assert up.post(event("first")) == 201
    await_(lambda: up.count("first") == 2)
    assert up.sql("SELECT uniqExact(epoch) FROM tidegate.connection_logs") == "2"
    assert up.stop(signal.SIGTERM) == 0


def test_a_role_that_dies_is_started_again(make: Callable[..., Up]) -> None:
    up = make("--simulate", "0")
    up.start()
    sender = Sender(up, "load")
    for part in ("worker", "sink", "gateway", "api", "clickhouse"):
        before = up.pid(part)
        acked = sender.acked
        os.kill(before, signal.SIGKILL)
        up.wait_for(f"{part} died with status -9")
        up.wait_for(f"{part} started again")
        assert up.pid(part) != before
        await_(lambda: sender.acked > acked + 5, up.said)  # noqa: B023
    assert up.post(event("after")) == 201
    await_(lambda: up.count("after") == 1, up.said)
    acked = sender.stop()
    assert up.stop() == 0
    up.start()
    assert up.count("load") >= acked  # what was sent and not acknowledged may be there as well
    assert up.sql("SELECT count() - uniqExact(id) FROM tidegate.connection_logs") == "0"
    assert up.stop() == 0


def test_two_workers_share_the_partitions(make: Callable[..., Up]) -> None:
    up = make("--simulate", "0", "--workers", "2")
    up.start()
    assert "2 workers" in up.said() and "worker-2 ready" in up.said()
    for number in range(40):  # of many devices, so that both partitions have some
        assert up.post(event("spread"), device=f"device-{number}") == 201
    await_(lambda: up.count("spread") == 40, up.said)
    assert up.sql("SELECT uniqExact(partition) FROM tidegate.connection_logs") == "2"
    os.kill(up.pid("worker-2"), signal.SIGKILL)
    up.wait_for("worker-2 started again")
    for number in range(40):
        assert up.post(event("behind"), device=f"device-{number}") == 201
    await_(lambda: up.count("behind") == 40, up.said)
    assert up.stop() == 0
    assert "drained: everything acknowledged is in ClickHouse" in up.said()


def test_the_embedded_broker_dies(make: Callable[..., Up]) -> None:
    up = make("--simulate", "0")
    up.start()
    assert up.post(event("before")) == 201
    await_(lambda: up.count("before") == 1, up.said)
    os.kill(up.pid("broker"), signal.SIGKILL)
    up.wait_for("events that were not stored yet are LOST")
    up.wait_for("broker started again")
    await_(lambda: up.post(event("behind")) == 201, up.said)
    await_(lambda: up.count("behind") >= 1, up.said)
    assert up.sql("SELECT uniqExact(epoch) FROM tidegate.connection_logs") == "2"
    assert up.count("before") == 1
    assert up.stop() == 0


def test_a_new_epoch_that_fails_half_way_is_begun_again(make: Callable[..., Up]) -> None:
    up = make("--simulate", "0")
    up.start()
    os.kill(up.pid("broker"), signal.SIGKILL)
    os.kill(up.await_pid("topics"), signal.SIGKILL)
    up.wait_for("tidegate topics did not succeed")
    await_(lambda: up.post(event("behind")) == 201, up.said)
    await_(lambda: up.count("behind") >= 1, up.said)
    assert up.stop() == 0
    assert "drained: everything acknowledged is in ClickHouse" in up.said()


def test_killed_it_leaves_no_process(make: Callable[..., Up]) -> None:
    up = make("--simulate", "50")
    up.start()
    assert up.process is not None
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 7
    up.process.kill()
    up.process.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    up.start()  # and what it left can be used again
    assert up.stop() == 0


def test_interrupted_while_it_starts(make: Callable[..., Up]) -> None:
    up = make("--simulate", "0")
    up.spawn()
    up.wait_for("clickhouse ready")
    assert up.stop() == 0
    assert up.said().endswith("stopped\n")


@pytest.mark.parametrize("part", ["gateway", "sink", "clickhouse", "kafka"])
def test_a_taken_port_is_named(make: Callable[..., Up], part: str) -> None:
    up = make("--simulate", "0")
    up.listens[part] = up.listens["api"]
    done = up.run()
    assert done.returncode == 2
    assert f"{part}_listen" in done.stderr or "api_listen" in done.stderr


@pytest.mark.kafka
def test_apache_kafka_loses_nothing(make: Callable[..., Up]) -> None:
    require_apache_kafka()
    up = make("--broker", "kafka", "--simulate", "500")
    up.start()
    sender = Sender(up, "load")
    await_(lambda: sender.acked > 50)
    os.kill(up.pid("broker"), signal.SIGKILL)
    up.wait_for("broker started again")
    acked = sender.acked
    await_(lambda: sender.acked > acked + 20, up.said)
    assert up.process is not None
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()  # all of it at once, in the middle
    up.process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    acked = sender.stop()
    up.arguments[-1] = "0"
    up.start()
    await_(lambda: up.count("load") >= acked, up.said)
    assert up.sql("SELECT uniqExact(epoch) FROM tidegate.connection_logs") == "1"
    assert up.sql("SELECT count() - uniqExact(id) FROM tidegate.connection_logs") == "0"
    assert up.stop() == 0
