"""Time: clocks that jump, times that cannot be, and a retention that runs out. On Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import metrics
import pytest
import roles
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from conftest import running_broker
from gateways import CLIENT_EVENTS, GatewayProcess
from sink_rig import SinkRig
from waiting import await_
from worker_rig import Rig

import builders
from tidegate.contracts.topics import TopicPartition, raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.retention import Retention
from tidegate.local.broker import Broker
from tidegate.local.clickhouse import ClickHouseServer

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

DAY = 86_400_000_000  # µs
PARTITIONS = 3  # as the worker's rig has it


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Shared by the tests here, which use a stream each."""
    with running_broker("kafka", tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


def jumping_gateway(bootstrap: str, folder: Path, days: int) -> GatewayProcess:
    """A gateway whose clock stands at `days` from now."""
    jump = (
        "import time; own, own_ns = time.time, time.time_ns\n"
        f"time.time = lambda: own() + {days} * 86400\n"
        f"time.time_ns = lambda: own_ns() + {days} * {DAY}000"
    )
    gateway = GatewayProcess(bootstrap, folder, kafka_partitions=PARTITIONS)
    gateway.child.argv = roles.command("gateway", prelude=jump)
    return gateway


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


def test_clocks_jump_and_nothing_breaks(kafka: Broker, clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    """Gateways a day ahead and a day behind, on the same partitions as one that is right; and records that
    say what cannot be: each event is there once, in a day that its table keeps, and the ledger balances.
    """
    keep: dict[str, Any] = {f"ttl_{table}_days": 90 for table in ("client_events", "rejects")}
    worker = Rig(kafka.bootstrap, tmp_path / "worker", **keep)
    sinks = SinkRig(kafka.bootstrap, clickhouse, tmp_path, kafka_partitions=PARTITIONS, **keep)
    gateways = [jumping_gateway(kafka.bootstrap, tmp_path / f"gateway{days}", days) for days in (0, 1, -1)]
    try:
        for gateway in gateways:
            gateway.start()
        worker.start()
        sinks.sink(**keep)
        sent = 0
        for turn in range(8):
            for gateway in gateways:
                events = [
                    builders.success(ssid=f"{turn}", macAddress=f"00:11:22:33:44:{n:02x}") for n in range(6)
                ]
                answer = gateway.post(CLIENT_EVENTS, events)
                assert answer.status_code == 201, answer.text
                sent += len(events)
        today = time.time_ns() // 1000 // DAY * DAY
        odd = [today - 1, today, today + DAY - 1, today + DAY, 1, today - 91 * DAY, today + 400 * DAY, 2**53]
        straight = Producer({"bootstrap.servers": kafka.bootstrap})
        lines = [builders.envelope(builders.success(ssid="odd"), received_at=at) for at in odd]
        lines.append(b'{"fleet":"demo","received_at":1,"event":{"macAddress":1}}')
        for value in (b"\n".join(lines), *lines):  # as one frame, and as a frame each
            straight.produce(raw("client_events"), value, partition=0)
        assert straight.flush(60) == 0
        sent += 2 * len(odd)
        await_(
            lambda: sinks.count("client_events") >= sent and sinks.count("rejects") >= 2, worker.worker.tail
        )
        sinks.client.command("OPTIMIZE TABLE client_events FINAL")  # what TTL drops is dropped now
        sinks.client.command("OPTIMIZE TABLE rejects FINAL")
        assert (sinks.count("client_events"), sinks.count("rejects")) == (sent, 2)
        offsets = rows(sinks.client, "SELECT uniqExact(partition, offset, index) FROM client_events")
        assert offsets == [(sent,)]
        number = today // DAY
        days = "SELECT DISTINCT toUInt32(toDate(received_at)) AS day FROM client_events"
        assert {day - number for (day,) in rows(sinks.client, days)} == {-1, 0, 1}
        settled = worker.metric('tidegate_worker_settled_times_total{stream="client_events"}')
        assert settled == 8  # four times of either sort
        store = {
            "clickhouse_url": clickhouse.url,
            "clickhouse_database": sinks.settings.clickhouse_database,
        }
        roles.assert_verified(store, "--no-kafka")
    finally:
        for gateway in gateways:
            gateway.stop()
        worker.worker.stop(30)
        sinks.close()


def test_a_retention_that_runs_out_is_told_well_before(
    kafka: Broker, clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    rig = SinkRig(kafka.bootstrap, clickhouse, tmp_path, kafka_partitions=PARTITIONS)
    entry = ConfigEntry("retention.ms", "20000", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, "tidegate.device_logs.enriched", incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    [done] = admin.incremental_alter_configs([topic]).values()
    done.result(30)
    try:
        sink = rig.sink()
        rig.put("device_logs", 0, 0)
        await_(lambda: rig.count("device_logs") == 3, sink.child.tail)
        share = 'tidegate_sink_retention_share{stream="device_logs"}'
        rig.put("device_logs", 0, 2)  # 1 is missing: the partition stands, and what is behind it grows old
        await_(lambda: sample(sink.listen, share) >= 0.5)
        assert 10 <= sample(sink.listen, 'tidegate_sink_oldest_unstored_seconds{stream="device_logs"}')
        await_(lambda: "of what the topic keeps; beyond it is lost" in sink.child.tail())
        for offset in (1, 3):
            rig.put("device_logs", 0, offset)
        await_(lambda: rig.count("device_logs") == 12, sink.child.tail)
        await_(lambda: sample(sink.listen, share) == 0)
        sink.stop()

        # What a worker asks, of a topic that nobody reads.
        retention = Retention(Connection(kafka.bootstrap))
        partition = TopicPartition(raw("connection_logs"), 0)
        assert retention.look({partition: 0})[partition[0]].age == 0
        straight = Producer({"bootstrap.servers": kafka.bootstrap})
        straight.produce(partition[0], b"{}", partition=0)
        assert straight.flush(60) == 0
        await_(lambda: retention.look({partition: 0})[partition[0]].age > 0)
        margin = retention.look({partition: 0})[partition[0]]
        assert margin.kept == 72 * 3600 and 0 < margin.share < 0.01
        assert retention.look({partition: 1})[partition[0]].age == 0
        retention.close()
    finally:
        rig.close()


def sample(listen: str, name: str) -> float:
    """One sample of a role's metrics."""
    return metrics.sample(httpx.get(f"http://{listen}/metrics", timeout=10).text, name)
