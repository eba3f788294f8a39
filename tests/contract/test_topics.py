"""Topics and their epoch, on each broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from conftest import require_apache_kafka

from ports import free_port
from tidegate import settings, topics
from tidegate.contracts.topics import CONTROL, PARTITIONED
from tidegate.errors import RetryLater, Stop
from tidegate.local.broker import Broker, EmbeddedBroker
from tidegate.local.kafka import KafkaBroker
from tidegate.settings import Settings


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker without topics."""
    listen = f"127.0.0.1:{free_port()}"
    broker: Broker
    if request.param == "embedded":
        broker = EmbeddedBroker(listen, tmp_path / "log")
    else:
        require_apache_kafka()
        jars = settings.load().kafka_jars
        broker = KafkaBroker(listen, tmp_path / "data", tmp_path / "log", jars=jars)
    broker.start()
    yield broker
    broker.stop()


def of(broker: Broker, partitions: int = 4) -> Settings:
    return Settings(kafka_bootstrap=broker.bootstrap, kafka_partitions=partitions)


def test_created_once_with_one_epoch(fresh: Broker) -> None:
    with pytest.raises(RetryLater, match="tidegate topics"):
        topics.read_epoch(fresh.bootstrap, timeout_seconds=0)
    first = topics.ensure_topics(of(fresh))
    assert (first.minted, set(first.created)) == (True, {*PARTITIONED, CONTROL})
    again = topics.ensure_topics(of(fresh))
    assert again == topics.TopicSet(first.epoch, (), False)
    assert topics.read_epoch(fresh.bootstrap) == first.epoch
    found = AdminClient({"bootstrap.servers": fresh.bootstrap}).list_topics(timeout=10).topics
    assert {len(found[name].partitions) for name in PARTITIONED} == {4}
    assert len(found[CONTROL].partitions) == 1


def test_from_several_places_at_once(fresh: Broker) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: retrying(of(fresh)), range(4)))
    assert len({one.epoch for one in found}) == 1
    assert topics.read_epoch(fresh.bootstrap) in {one.epoch for one in found}
    assert sum(one.minted for one in found) == 1


def test_fewer_partitions_than_wanted_stop(fresh: Broker) -> None:
    topics.ensure_topics(of(fresh, 2))
    with pytest.raises(Stop, match=r"kafka_partitions is 4, but tidegate.connection_logs.raw has 2"):
        topics.ensure_topics(of(fresh, 4))


@pytest.mark.kafka
def test_unequal_partitions_stop(tmp_path: Path) -> None:
    require_apache_kafka()
    jars = settings.load().kafka_jars
    broker = KafkaBroker(f"127.0.0.1:{free_port()}", tmp_path / "data", tmp_path / "log", jars=jars)
    broker.start()
    try:
        topics.ensure_topics(of(broker, 2))
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_partitions([NewPartitions("tidegate.health", 3)])["tidegate.health"].result()
        with pytest.raises(Stop, match="same number of partitions"):
            topics.ensure_topics(of(broker, 2))
    finally:
        broker.stop()


def test_no_broker_is_no_hang() -> None:
    begun = time.monotonic()
    with pytest.raises(RetryLater):
        topics.read_epoch(f"127.0.0.1:{free_port()}", timeout_seconds=0)
    assert time.monotonic() - begun < 30


def retrying(settings: Settings) -> topics.TopicSet:
    for _ in range(20):
        try:
            return topics.ensure_topics(settings)
        except RetryLater:
            time.sleep(0.2)
    return topics.ensure_topics(settings)
