"""The real parts that tests run on, each started once a session.

`embedded_broker` always; `apache_kafka` where there is Java and either the jars or Maven (on CI it must
be there: its absence fails instead of skipping); `clickhouse` is the real engine behind its HTTP
protocol, with an empty folder. `broker` runs a test once on each broker, `own_broker` on one that no other
test has. `client` is on a database of the test's own.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import control_key
import hypothesis
import pytest
from clickhouse_connect.driver.client import Client
from databases import migrated, settings_of

from tidegate.local import child
from tidegate.local.broker import Broker, EmbeddedBroker
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.local.kafka import KafkaBroker, why_not_here
from tidegate.settings import Settings, load

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("tidegate", deadline=None)
hypothesis.settings.load_profile("tidegate")


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of a parallel run (`pytest -n`) its own ports: it may restart a server on one."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    assert os.environ[control_key.VARIABLE]
    child.PORTS = child.PORTS[number::count]


@pytest.fixture(autouse=True)
def root_logger_as_it_was() -> Iterator[None]:
    """A command that a test runs in its own process sets the log's level and handlers for all behind it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """tansu on a free port. Tests share it: give topics and groups names of their own where it matters."""
    with running_broker("embedded", tmp_path_factory.mktemp("embedded-broker")) as broker:
        yield broker


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka from its jars on a free port."""
    with running_broker("kafka", tmp_path_factory.mktemp("apache-kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """The ClickHouse engine on a free port (`.url`); tests share it: use a database of your own."""
    folder = tmp_path_factory.mktemp("clickhouse")
    server = ClickHouseServer(f"127.0.0.1:{free_port()}", folder / "store", folder / "clickhouse.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(clickhouse: ClickHouseServer, tmp_path: Path) -> Settings:
    """Settings of a database of the test's own, which is not there yet."""
    return settings_of(clickhouse, data_dir=str(tmp_path))


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client on the migrated database of `settings`, also where a module has settings of its own."""
    with migrated(settings) as client:
        yield client


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn; `.bootstrap` is its address."""
    fixture = {"embedded": "embedded_broker", "kafka": "apache_kafka"}[request.param]
    found: Broker = request.getfixturevalue(fixture)
    return found


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker in turn, without topics, for a test that stops or freezes it or needs fixed names."""
    with running_broker(request.param, tmp_path) as broker:
        yield broker


@contextmanager
def running_broker(kind: str, folder: Path) -> Iterator[Broker]:
    """A broker of one's own on a free port, `embedded` or `kafka`; its log, and its data, in `folder`."""
    listen = f"127.0.0.1:{free_port()}"
    broker: Broker
    if kind == "kafka":
        require_apache_kafka()
        jars = load().kafka_jars
        broker = KafkaBroker(listen, folder / "kafka", folder / "kafka.log", jars=jars)
    else:
        broker = EmbeddedBroker(listen, folder / "broker.log")
    broker.start()
    try:
        yield broker
    finally:
        broker.child.signal(signal.SIGCONT)  # a test may have frozen it
        broker.stop()


def require_apache_kafka() -> None:
    """Skip where Apache Kafka cannot run, saying what it would need; fail there on CI."""
    missing = why_not_here(load().kafka_jars)
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must run the Apache Kafka leg, but {missing}")
    pytest.skip(f"Apache Kafka cannot run here: {missing}")


@pytest.fixture(scope="session")
def kafka_is_here() -> None:
    """For tests that run Apache Kafka by themselves."""
    require_apache_kafka()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parent.parent
