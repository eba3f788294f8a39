"""The same checks with Apache Kafka and a ClickHouse server in containers, the roles as processes.

Needs a Docker engine; skips elsewhere.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcontainers.core.container import DockerContainer
from whole_way import CHECKS, Tidegate

from tidegate import settings
from tidegate.kafka.topics import ensure_topics
from tidegate.local.broker import answers
from tidegate.local.child import Child, free_port
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # testcontainers has warnings of its own
]
ROLES = ("gateway", "worker", "sink", "api")
PATIENCE = 180.0


def why_not_here() -> str | None:
    """What containers would need to run on this machine; None if they can."""
    address = urllib.parse.urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(address.path)
        else:
            socket.create_connection((address.hostname or "", address.port or 2375), timeout=5).close()
    except OSError as error:
        return f"no Docker engine at {address.geturl()} ({error})"
    return None


def wait_until(what: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, f"{name} is not there after {PATIENCE:.0f} s"
        time.sleep(0.2)


def ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def composed(repository: Path) -> dict[str, Any]:
    """The services of docker-compose.yml: the containers here are those, on ports of their own."""
    services: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yml").read_text())["services"]
    return services


@pytest.fixture(scope="module")
def kafka(composed: dict[str, Any]) -> Iterator[str]:
    service = composed["kafka"]
    port = free_port()
    container = DockerContainer(service["image"]).with_bind_ports(9092, port)
    own = {
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://localhost:19092,OUTSIDE://127.0.0.1:{port}",
        "KAFKA_HEAP_OPTS": "-Xms512m -Xmx512m",
    }
    for name, value in {**service["environment"], **own}.items():
        container = container.with_env(name, value)
    with container:
        bootstrap = f"127.0.0.1:{port}"
        wait_until(lambda: answers(bootstrap), "Apache Kafka")
        yield bootstrap


@pytest.fixture(scope="module")
def clickhouse(composed: dict[str, Any]) -> Iterator[str]:
    port = free_port()
    container = (
        DockerContainer(composed["clickhouse"]["image"])
        .with_bind_ports(8123, port)
        .with_env("CLICKHOUSE_USER", "tidegate")
        .with_env("CLICKHOUSE_PASSWORD", "tidegate")
    )
    with container:
        wait_until(lambda: ok(f"http://127.0.0.1:{port}/ping"), "the ClickHouse server")
        yield f"http://tidegate:tidegate@127.0.0.1:{port}"


@pytest.fixture(scope="module")
def tidegate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidegate]:
    if missing := why_not_here():
        pytest.skip(f"containers cannot run here: {missing}")
    bootstrap: str = request.getfixturevalue("kafka")
    url: str = request.getfixturevalue("clickhouse")
    folder = tmp_path_factory.mktemp("containers")
    values: dict[str, Any] = {
        "data_dir": str(folder),
        "kafka_bootstrap": bootstrap,
        "clickhouse_url": url,
        **{f"{role}_listen": f"127.0.0.1:{free_port()}" for role in ROLES},
    }
    loaded = settings.load({}, overrides=values)
    ensure_topics(loaded)
    client = connect(loaded, database="")
    migrate(client, loaded)
    client.close()
    token = TokenFile(loaded.tokens_path).create("checks", fleet="demo", role="ingest")
    environment = os.environ | {f"TIDEGATE_{name.upper()}": value for name, value in values.items()}
    children = [
        Child(role, [sys.executable, "-m", "tidegate", role], folder / f"{role}.log", environment=environment)
        for role in ROLES
    ]
    try:
        for child in children:
            child.start()
        for child in children:
            wait_until(partial(ok, f"http://{values[f'{child.name}_listen']}/readyz"), child.name)
        yield Tidegate(f"http://{loaded.gateway_listen}", token, url, bootstrap)
    finally:
        for child in children:
            child.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_it_holds_on_containers(tidegate: Tidegate, check: Callable[[Tidegate], None]) -> None:
    check(tidegate)
