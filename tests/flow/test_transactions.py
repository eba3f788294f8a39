"""Producers that write raw topics in transactions: what they committed is stored once, the rest never.

On Apache Kafka, through `tidegate up`: worker, sink, verify and drain as they are.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import metrics
import pytest
import roles
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from conftest import require_apache_kafka
from raw_topics import committed_records
from transactions import Transactional
from up_rig import Up, await_

from builders import body, success
from tidegate.contracts.topics import raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import groupless_consumer
from tidegate.worker.faust_app import GROUP

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

TOPIC = raw("client_events")
WATCHDOG_SECONDS = 10


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    require_apache_kafka()
    monkeypatch.setenv("TIDEGATE_WORKER_WATCHDOG_SECONDS", str(WATCHDOG_SECONDS))
    monkeypatch.setenv("TIDEGATE_UP_PARTITIONS", "2")
    up = Up(tmp_path, "--simulate", "0", "--broker", "kafka")
    try:
        up.start()
        yield up
    finally:
        up.end()


def test_what_is_committed_is_stored_once_and_what_is_left_behind_is_no_lag(up: Up) -> None:
    bootstrap = up.listens["kafka"]
    one = Transactional(bootstrap, "one", TOPIC)
    other = Transactional(bootstrap, "other", TOPIC)
    plain = Producer({"bootstrap.servers": bootstrap})

    def outside(value: bytes) -> None:
        plain.produce(TOPIC, value, partition=0, headers={"fleet": b"demo"})
        assert plain.flush(30) == 0

    one.aborted(events("aborted at the start", 3))
    one.open(events("interleaved, first", 2))
    other.open(events("interleaved, aborted", 2))
    outside(*events("outside", 1))
    one.write(events("interleaved, second", 2))
    other.abort()
    one.commit()
    for number in range(40):  # each leaves a marker
        [one, other][number % 2].committed(events(f"small {number}", 1))
        if number % 8 == 0:
            one.aborted(events("aborted between", 2))
    outside(*events("outside, later", 1))
    worker = up.pid("worker")
    one.committed([b"\n".join(events("a frame of three", 3))])
    other.aborted(events("aborted at the end", 5))  # and a marker behind them

    expected = committed(bootstrap)
    assert len(expected) == 2 + 1 + 2 + 40 + 1 + 3
    assert not any("aborted" in ssid for _, _, ssid in expected)
    await_(lambda: stored(up) == expected, lambda: f"{stored(up)}\n{up.said()}")
    frames = len({offset for offset, _, _ in expected})
    assert verified(up) == {"frames": frames, "in flight": 0, "undecided": 0}

    # Nothing comes for longer than the watchdog would wait for a record that lies there.
    time.sleep(2.5 * WATCHDOG_SECONDS)
    assert up.pid("worker") == worker, up.said()
    _, page = roles.get(up.listens["worker"], "/metrics")
    assert metrics.total(page, "tidegate_worker_lag_records") == 0

    # What stands behind an open transaction is nobody's to read, and no lag either.
    one.open(events("open", 1))
    other.committed(events("behind the open one", 1))
    outside(*events("outside, behind the open one", 1))
    time.sleep(1.5 * WATCHDOG_SECONDS)
    assert up.pid("worker") == worker, up.said()
    assert verified(up) == {"frames": frames, "in flight": 0, "undecided": 4}
    _, page = roles.get(up.listens["worker"], "/metrics")
    assert metrics.total(page, "tidegate_worker_lag_records") == 0
    assert metrics.total(page, "tidegate_worker_undecided_offsets") == 4
    one.abort()
    await_(lambda: len(stored(up)) == len(expected) + 2, up.said)
    assert stored(up) == committed(bootstrap)
    assert verified(up) == {"frames": frames + 2, "in flight": 0, "undecided": 0}

    # Who compares the group's offset with the end, as Kafka's own tools do, sees no lag behind the marker. A
    # worker that begins there, with nothing left in the topic, knows what the last record was: no gap.
    end = end_of(bootstrap)
    await_(lambda: committed_offset(bootstrap) == end, lambda: f"{committed_offset(bootstrap)} of {end}")
    everything = stored(up)
    up_to = TopicPartition(TOPIC, 0, end)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_records([up_to])[up_to].result(30)
    assert verified(up) == {"frames": frames + 2, "in flight": 0, "undecided": 0}
    os.kill(worker, signal.SIGKILL)
    one.committed(events("behind a marker, to another worker", 1))
    await_(lambda: len(stored(up)) == len(everything) + 1, up.said)
    assert stored(up) == everything + committed(bootstrap)
    assert up.pid("worker") != worker
    assert verified(up) == {"frames": frames + 3, "in flight": 0, "undecided": 0}

    assert up.stop() == 0
    assert "drained: everything acknowledged is in ClickHouse" in up.said()
    assert "nothing moved for" not in up.said()
    assert "came where" not in up.said()  # no record was read again for a hole that was none


def events(ssid: str, count: int) -> list[bytes]:
    return [body(success(ssid=f"{ssid} {number}")) for number in range(count)]


def committed(bootstrap: str) -> list[tuple[int, int, str]]:
    """What Kafka's own client reads as committed: offset, line and SSID of each event."""
    return [
        (record.offset() or 0, index, json.loads(line)["ssid"])
        for record in committed_records(bootstrap, TOPIC)
        for index, line in enumerate((record.value() or b"").split(b"\n"))
    ]


def end_of(bootstrap: str) -> int:
    consumer = groupless_consumer(Connection(bootstrap), "test")
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=10)[1])
    finally:
        consumer.close()


def committed_offset(bootstrap: str) -> int:
    """Of the worker's group, as Kafka has it."""
    consumer = groupless_consumer(Connection(bootstrap), GROUP)
    try:
        [found] = consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)
        return int(found.offset)
    finally:
        consumer.close()


def stored(up: Up) -> list[tuple[int, int, str]]:
    query = (
        "SELECT offset, index, ssid FROM tidegate.client_events ORDER BY offset, index"
        " FORMAT JSONCompactEachRow"
    )
    rows: list[tuple[int, int, str]] = []
    for line in up.sql(query).splitlines():
        offset, index, ssid = json.loads(line)
        rows.append((int(offset), int(index), ssid))
    return rows


def verified(up: Up) -> dict[str, int]:
    """What `tidegate verify` says; it must be balanced."""
    values: dict[str, Any] = {
        "kafka_bootstrap": up.listens["kafka"],
        "clickhouse_url": up.clickhouse_url,
        "data_dir": up.data,
    }
    report = roles.assert_verified(values)
    assert report["accepted_gaps"] == 0 and not report["kafka_is_away"]
    return {
        "frames": sum(row["frames"] for row in report["partitions"]),
        "in flight": sum(item["frames"] for item in report["in_flight"]),
        "undecided": sum(item["undecided"] for item in report["in_flight"]),
    }
