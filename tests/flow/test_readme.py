"""What the README tells a newcomer to type, typed: each shell block against a running `tidegate up`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Producer
from up_rig import Up, await_, running

from builders import body, failure
from tidegate.contracts.topics import FAILURES, raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.topics import partition_counts

PLACES = {  # what the README says: what it is in this test
    "127.0.0.1:8080": "gateway",
    "127.0.0.1:8123": "clickhouse",
    "127.0.0.1:9092": "kafka",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("readme"), "--simulate", "0") as found:
        yield found


def block(repository: Path, heading: str) -> str:
    """The first shell block under a heading of the README."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, f"no shell block under {heading}"
    return found[1]


def type_in(up: Up, commands: str) -> str:
    """Run a block as a newcomer would, in the folder that has the data folder; what it printed."""
    for said, part in PLACES.items():
        commands = commands.replace(said, up.listens[part])
    commands = commands.replace("tidegate-data/", f"{up.data}/")
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=up.folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def test_the_first_curl_and_the_first_query(repository: Path, up: Up) -> None:
    need("curl")
    answer = type_in(up, block(repository, "Send an event"))
    assert "HTTP/1.1 201" in answer
    id = re.search(r"(?im)^location: /api/v1/events/(\S+)", answer)
    assert id and '"network_mccmnc":null' in answer
    query = block(repository, "Find it")
    await_(lambda: id[1] in type_in(up, query))
    assert "phone-7" in type_in(up, query)


def test_the_first_kcat_line(repository: Path, up: Up) -> None:
    need("kcat")
    found = "SELECT count() FROM tidegate.client_events WHERE mac = '68:05:71:a4:ef:0e'"
    write, _, read = block(repository, "Without HTTP").partition("sleep 2\n")
    type_in(up, write)
    await_(lambda: up.sql(found) == "1")
    others_fail(up)  # behind the reader's own, in each partition, as the simulated fleet's do
    told = type_in(up, read).splitlines()
    assert [json.loads(line)["client"] for line in told] == ["68:05:71:a4:ef:0e"]
    assert '"stage":"authentication"' in told[0] and '"action":"Enter the SSID' in told[0]


def others_fail(up: Up) -> None:
    """A failure of another client in each partition, told at tidegate.failures when this returns."""
    producer = Producer({"bootstrap.servers": up.listens["kafka"]})
    counts = partition_counts(Connection(up.listens["kafka"]), [raw("client_events")])
    for partition in range(counts[raw("client_events")]):
        event = body(failure(macAddress=f"02:00:00:00:00:{partition:02x}"))
        producer.produce(raw("client_events"), event, partition=partition, headers={"fleet": b"demo"})
    assert producer.flush(30) == 0
    command = ["kcat", "-C", "-q", "-e", "-b", up.listens["kafka"], "-t", FAILURES]

    def told() -> int:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.count("02:00:00:00:00:")

    await_(lambda: told() == sum(counts.values()))


def test_the_two_commands_exist(repository: Path) -> None:
    for line in block(repository, "Two commands").splitlines():
        target = line.partition("#")[0].split()
        done = subprocess.run([*target, "-n"], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


LOOK = re.compile(
    r"\d\d:\d\d:\d\d  balanced  ([\d,]+) lines = ([\d,]+) stored \+ ([\d,]+) rejected \+ ([\d,]+) duplicates,"
    r" ([\d,]+ frames in flight(, the oldest \d+ s)?|in flight unknown)"  # Kafka may be slow to answer
)


def adds_up(line: str) -> bool:
    """Whether a line of `verify --watch` looks as in the README, and its sum is right."""
    look = LOOK.fullmatch(line)
    if look is None:
        return False
    lines, *parts = (int(number.replace(",", "")) for number in look.groups()[:4])
    return lines == sum(parts)


def test_verify_stays_balanced_while_a_shell_loop_kills_worker_and_sink(
    repository: Path, up: Up, tmp_path: Path
) -> None:
    need("pkill")
    section = (repository / "README.md").read_text(encoding="utf-8").partition("## Kill it\n")[2]
    command, *looks = section.partition("$ .venv/bin/tidegate ")[2].partition("\n```")[0].splitlines()
    assert command == "verify --watch" and looks and all(map(adds_up, looks)), looks

    python = [sys.executable, "-m", "tidegate"]
    addresses = {
        "TIDEGATE_CLICKHOUSE_URL": up.clickhouse_url,
        "TIDEGATE_KAFKA_BOOTSTRAP": up.listens["kafka"],
    }
    load = [*python, "simulate", "--rate", "2000", "--batch", "100", "--invalid", "0.01"]
    load += ["--http", f"http://{up.listens['gateway']}", "--token", up.tokens()["ingest"]]
    loop = block(repository, "Kill it").replace("tidegate-data/", f"{up.data}/")
    said, told = tmp_path / "verify.log", tmp_path / "others.log"
    with said.open("wb") as output, told.open("wb") as other, ExitStack() as stack:
        started = []
        for command_line, sink in (
            (load, other),
            ([*python, *command.split()], output),
            (["bash", "-uc", loop], other),
        ):
            process = subprocess.Popen(
                command_line,
                stdout=sink,
                stderr=other,
                env={**os.environ, **addresses},
                start_new_session=True,
            )
            stack.callback(end, process)
            started.append(process)

        def enough() -> bool:
            """Both were killed and came back, and events went through before and behind it."""
            restarts = [up.said().count(f"{role} started again") for role in ("worker", "sink")]
            flowed = {look[1] for look in map(LOOK.fullmatch, said.read_text().splitlines()) if look}
            return min(restarts) >= 1 and len(flowed) >= 4

        await_(enough, lambda: said.read_text() + told.read_text())
        assert [process.poll() for process in started] == [None, None, None], told.read_text()
    found = said.read_text().splitlines()
    assert [look for look in found if not adds_up(look)] == []


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)
