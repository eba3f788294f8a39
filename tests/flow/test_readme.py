"""What the README tells a newcomer to type, typed: each shell block against a running `tidegate up`."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from up_rig import Up, await_

PLACES = {  # what the README says: what it is in this test
    "127.0.0.1:8080": "gateway",
    "127.0.0.1:8123": "clickhouse",
    "127.0.0.1:9092": "kafka",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = Up(tmp_path_factory.mktemp("readme"), "--simulate", "0")
    try:
        made.start()
        yield made
        assert made.stop() == 0, made.said()
    finally:
        made.end()


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
    write, _, read = block(repository, "Without HTTP").partition("sleep 2\n")
    type_in(up, write)
    await_(lambda: '"stage":"authentication"' in type_in(up, read))
    assert '"action":"Enter the SSID' in type_in(up, read)
    found = "SELECT count() FROM tidegate.client_events WHERE mac = '68:05:71:a4:ef:0e'"
    await_(lambda: up.sql(found) == "1")


def test_the_two_commands_exist(repository: Path) -> None:
    for line in block(repository, "Two commands").splitlines():
        target = line.partition("#")[0].split()
        done = subprocess.run([*target, "-n"], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
