"""`tidegate verify --alerts`: the alerts topic against its table."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from confluent_kafka import Producer
from conftest import running_broker
from databases import migrated, settings_of
from test_alerts_table import EPOCH, alert

from tidegate.contracts.topics import ALERTS
from tidegate.kafka.topics import ensure_topics
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.alerts import block
from tidegate.store.insert import insert
from tidegate.verify.alerts import SETTLED_SECONDS, findings

FOREIGN = (
    b"\xff\xfe",
    b"[" * 100_000,
    b"{}",
    msgspec.json.encode(alert(7, updated_at="yesterday")),
    msgspec.json.encode(alert(8, updated_at="0001-01-01T00:00:00+14:00")),
    msgspec.json.encode(alert(0)),
)
"""Records that neither the sink nor notify takes."""


def test_foreign_records_of_the_topic_do_not_count(clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    with running_broker("embedded", tmp_path) as broker:
        settings = settings_of(
            clickhouse, kafka_bootstrap=broker.bootstrap, kafka_partitions=1, ttl_alerts_days=0
        )
        ensure_topics(settings)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        at = round((time.time() - 2 * SETTLED_SECONDS) * 1000)

        def send(*values: bytes | None) -> None:
            for value in values:
                producer.produce(ALERTS, value, timestamp=at)
            producer.flush()

        with migrated(settings) as client:
            insert(client, settings.clickhouse_database, block([alert()], EPOCH), token="")
            send(*FOREIGN, None, msgspec.json.encode(alert()))
            assert findings(client, settings) == []
            send(msgspec.json.encode(alert(2, "acked")))  # behind them, and not stored
            [found] = findings(client, settings)
            assert "change 2 (acked) is not stored" in found.what
