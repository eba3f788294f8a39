"""New firmware sends `"frequency": "5GHz"`: thousands of rejects, an alias, replay, balance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import roles
from confluent_kafka import Producer
from conftest import require_apache_kafka
from stopping import stop_at
from up_rig import Up, await_

from builders import envelope, network_log
from tidegate.contracts.topics import raw

pytestmark = pytest.mark.timeout(600)

PARTITIONS = 2
FRAMES, LINES = 24, 500
DAY = 86_400_000_000  # µs
ALIASES = "stream,field,value,means\nconnection_logs,frequency,5GHz,5\n"


class Fleet:
    """A Tidegate, and what a fleet and its operator do to it."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.lookups = folder / "lookups"
        self.lookups.mkdir()
        self.up = Up(folder, "--broker", broker, "--simulate", "0")

    def send(self, partition: int, *lines: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.up.listens["kafka"]})
        producer.produce(raw("connection_logs"), b"\n".join(lines), partition=partition)
        assert producer.flush(60) == 0

    def settings(self) -> dict[str, object]:
        return {
            "clickhouse_url": self.up.clickhouse_url,
            "kafka_bootstrap": self.up.listens["kafka"],
            "data_dir": self.up.data,
        }

    def command(self, *arguments: str, prelude: str = "", **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            roles.command(*arguments, prelude=prelude),
            env=roles.environment({**self.settings(), **settings}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def replay(self, *arguments: str, **settings: str) -> tuple[int, dict[str, Any]]:
        """Exit status and report of `tidegate replay`."""
        process = self.command("replay", "--json", *arguments, **settings)
        said, complained = process.communicate(timeout=200)
        assert said, complained
        return process.returncode, json.loads(said)

    def balance(self) -> None:
        roles.assert_verified(self.settings(), seconds=200)

    def number(self, query: str) -> int:
        return int(self.up.sql(query))

    def became(self, query: str, number: int) -> None:
        await_(lambda: self.number(query) == number, lambda: f"{self.number(query)} of {query}")

    def restart_worker(self) -> None:
        os.kill(self.up.pid("worker"), signal.SIGKILL)
        self.up.wait_for("worker started again")


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    if request.param == "kafka":
        require_apache_kafka()
    monkeypatch.setenv("TIDEGATE_UP_PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("TIDEGATE_LOOKUPS_DIR", str(tmp_path / "lookups"))
    monkeypatch.setenv("TIDEGATE_WORKER_REJECT_LINES", "2000" if "flood" in request.node.name else "1000000")
    found = Fleet(tmp_path, request.param)
    found.up.start()
    yield found
    found.up.end()


def paused(process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, process.communicate()
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


@pytest.mark.parametrize("fleet", ["embedded"], indirect=True)
def test_refused_lines_come_back_once(fleet: Fleet) -> None:
    now = time.time_ns() // 1000
    refused = FRAMES * LINES
    for number in range(FRAMES):
        received = now - DAY if number % 3 == 0 else now
        line = envelope(network_log(frequency="5GHz"), received_at=received, device=f"ap-{number}")
        fleet.send(number % PARTITIONS, *[line] * LINES, envelope(network_log(), received_at=received))
    fleet.send(0, b'{"fleet": "demo", "event": {"frequency": "5G')
    fleet.became("SELECT count() FROM tidegate.rejects", refused + 1)

    status, report = fleet.replay("--dry-run", "--code", "wrong_type")
    assert (status, report["passing"], report["refused"]) == (1, 0, refused)
    assert report["verdicts"][0]["samples"][0]["said"].startswith("found 5GHz")

    (fleet.lookups / "value_aliases.csv").write_text(ALIASES)
    fleet.restart_worker()
    status, report = fleet.replay("--dry-run", "--where", "path = 'frequency' -- and nothing else")
    assert (status, report["passing"], report["sent"]) == (0, refused, 0)

    # Half of it, then death; the next run begins while what the first one sent is not stored yet.
    sink = psutil.Process(fleet.up.pid("sink"))
    sink.suspend()
    first = fleet.command("replay", "--code", "wrong_type", prelude=stop_at("replayed"))
    await_(lambda: paused(first))
    first.kill()
    first.communicate()
    second = fleet.command("replay", "--code", "wrong_type", "--json")
    assert second.stderr is not None and "waiting until" in second.stderr.readline()
    sink.resume()
    said, complained = second.communicate(timeout=200)
    report = json.loads(said)
    assert second.returncode == 0, complained
    assert 0 < report["sent"] == report["stored"] < refused
    stored = "SELECT count() FROM tidegate.connection_logs WHERE frequency = 5 AND origin != ''"
    assert fleet.number(stored) == refused

    # Again, with what still does not pass: nothing more comes.
    status, report = fleet.replay()
    assert (status, report["chosen"], report["refused"], report["sent"]) == (1, 1, 1, 0)
    assert fleet.number("SELECT count() FROM tidegate.connection_logs") == refused + FRAMES
    assert fleet.number("SELECT count() FROM tidegate.rejects") == refused + 1
    assert fleet.number("SELECT count() FROM tidegate.rejects_open") == 1

    # Each under its first id, in its first partition, on the day it came, as its sender meant it.
    assert fleet.number("SELECT uniqExact(id) FROM tidegate.connection_logs") == refused + FRAMES
    same = (
        "SELECT count() FROM tidegate.connection_logs AS now INNER JOIN tidegate.rejects AS then"
        " ON now.id = then.id WHERE now.received_at = then.received_at AND now.partition = then.partition"
        " AND now.offset > then.offset AND startsWith(assumeNotNull(now.device_id), 'ap-')"
    )
    assert fleet.number(same) == refused
    fleet.balance()


@pytest.mark.parametrize("fleet", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_one_at_a_time_and_a_sleeper_that_wakes_sends_nothing(fleet: Fleet) -> None:
    lines = [envelope(network_log(frequency="5GHz"), received_at=time.time_ns() // 1000)] * LINES
    for number in range(FRAMES):
        fleet.send(number % PARTITIONS, *lines)
    fleet.became("SELECT count() FROM tidegate.rejects", FRAMES * LINES)
    (fleet.lookups / "value_aliases.csv").write_text(ALIASES)
    fleet.restart_worker()
    first = fleet.command("replay", prelude=stop_at("replayed"))
    await_(lambda: paused(first))
    status, report = fleet.replay()  # waits until the first one's session is over
    assert (status, 0 < report["sent"] < FRAMES * LINES) == (0, True)
    first.send_signal(signal.SIGCONT)
    said, complained = first.communicate(timeout=200)
    assert first.returncode == 0, complained
    assert "begin" in complained
    assert fleet.number("SELECT count() FROM tidegate.connection_logs") == FRAMES * LINES
    assert fleet.number("SELECT count() FROM tidegate.rejects_open") == 0
    fleet.balance()


@pytest.mark.parametrize("fleet", ["embedded"], indirect=True)
def test_a_flood_stays_in_the_raw_topic_until_it_is_mended(fleet: Fleet) -> None:
    lines = [envelope(network_log(frequency="5GHz"), received_at=time.time_ns() // 1000)] * LINES
    for number in range(12):
        fleet.send(number % PARTITIONS, *lines)
    fleet.became("SELECT count() FROM tidegate.rejects", 12 * LINES)
    without = "SELECT count() FROM tidegate.rejects WHERE original_encoding = 'raw' AND original = ''"
    before = fleet.number(without)
    assert before > 0
    fleet.send(0, *lines)
    fleet.became(without, before + LINES)
    await_(lambda: fleet.up.post(network_log()) == 503)
    said, _ = fleet.command("fleet", "paused").communicate(timeout=60)
    assert said.split()[:2] == ["demo", "connection_logs"]
    status, report = fleet.replay("--dry-run")
    assert (status, report["refused"], report["expired"]) == (1, 13 * LINES, 0)

    (fleet.lookups / "value_aliases.csv").write_text(ALIASES)
    fleet.restart_worker()
    fleet.command("fleet", "resume", "connection_logs", "demo").communicate(timeout=60)
    await_(lambda: fleet.up.post(network_log()) == 201)
    status, report = fleet.replay()
    assert (status, report["stored"]) == (0, 13 * LINES), report
    fleet.became(
        "SELECT count() FROM tidegate.connection_logs WHERE frequency = 5 AND origin != ''", 13 * LINES
    )
    fleet.balance()
