"""Topics and their epoch, on each broker."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import control_key
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from conftest import running_broker
from waiting import await_

from tidegate.contracts.topics import CONTROL, PARTITIONED
from tidegate.errors import RetryLater, Stop
from tidegate.kafka import topics
from tidegate.kafka.connection import Connection, connection
from tidegate.local.broker import Broker
from tidegate.local.child import free_port
from tidegate.settings import Settings


def of(broker: Broker, partitions: int = 4) -> Settings:
    return Settings(
        kafka_bootstrap=broker.bootstrap,
        kafka_partitions=partitions,
        control_key_file=os.environ[control_key.VARIABLE],
    )


def test_created_once_with_one_epoch(own_broker: Broker) -> None:
    with pytest.raises(RetryLater, match="tidegate topics"):
        topics.read_epoch(connection(of(own_broker)), timeout_seconds=0)
    first = topics.ensure_topics(of(own_broker))
    assert (first.minted, set(first.created)) == (True, {*PARTITIONED, CONTROL})
    again = topics.ensure_topics(of(own_broker))
    assert again == topics.TopicSet(first.epoch, (), False)
    assert topics.read_epoch(connection(of(own_broker))) == first.epoch
    found = AdminClient({"bootstrap.servers": own_broker.bootstrap}).list_topics(timeout=10).topics
    assert {len(found[name].partitions) for name in PARTITIONED} == {4}
    assert len(found[CONTROL].partitions) == 1


def test_from_several_places_at_once(own_broker: Broker) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: retrying(of(own_broker)), range(4)))
    assert len({one.epoch for one in found}) == 1
    assert topics.read_epoch(connection(of(own_broker))) in {one.epoch for one in found}
    assert sum(one.minted for one in found) == 1


def test_fewer_partitions_than_wanted_stop(own_broker: Broker) -> None:
    topics.ensure_topics(of(own_broker, 2))
    with pytest.raises(Stop, match=r"kafka_partitions is 4, but tidegate.connection_logs.raw has 2"):
        topics.ensure_topics(of(own_broker, 4))


@pytest.mark.kafka
def test_unequal_partitions_stop(tmp_path: Path) -> None:
    with running_broker("kafka", tmp_path) as broker:
        topics.ensure_topics(of(broker, 2))
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_partitions([NewPartitions("tidegate.health", 3)])["tidegate.health"].result()

        def told() -> str:
            try:
                topics.ensure_topics(of(broker, 2))
            except Stop as stop:
                return str(stop)
            return ""

        await_(told)  # the broker knows of it a moment behind the controller
        assert "same number of partitions" in told()


def test_no_broker_is_no_hang() -> None:
    begun = time.monotonic()
    with pytest.raises(RetryLater):
        topics.read_epoch(Connection(f"127.0.0.1:{free_port()}"), timeout_seconds=0)
    assert time.monotonic() - begun < 30


def retrying(settings: Settings) -> topics.TopicSet:
    for _ in range(20):
        try:
            return topics.ensure_topics(settings)
        except RetryLater:
            time.sleep(0.2)
    return topics.ensure_topics(settings)
