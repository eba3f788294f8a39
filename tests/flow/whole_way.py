"""What must hold of any running Tidegate, from the outside: HTTP, Kafka and SQL, nothing of its insides.

`test_whole_way.py` asks it of `tidegate up` on each broker, `test_containers.py` of the roles on containers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
import httpx
from confluent_kafka import Consumer, Producer, TopicPartition
from waiting import PATIENCE

from builders import SAMPLES, body, envelope, failure, sample, success
from tidegate.contracts import topics
from tidegate.contracts.topics import STREAMS, Stream

LEVELS = ("1m", "1h", "1d")


@dataclass(frozen=True)
class Tidegate:
    """Where a running Tidegate is to be found. Its tables have nothing but what the checks send."""

    gateway: str  # URL
    token: str  # may write for fleet `demo`
    clickhouse: str  # URL, with user and password if any
    bootstrap: str

    def post(self, path: str, content: bytes, kind: str = "application/json") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        return httpx.post(f"{self.gateway}/api/v1/{path}/", content=content, headers=headers, timeout=30.0)

    def sql(self, query: str) -> str:
        """The answer to a query by nothing but HTTP."""
        answer = httpx.post(self.clickhouse, content=query.encode(), timeout=30.0)
        assert answer.status_code == 200, answer.text
        return answer.text.strip()

    def comes(self, query: str, expected: str) -> None:
        """Wait until a query's answer is `expected`."""
        comes(lambda: self.sql(query), expected)

    def produce(self, topic: str, value: bytes, headers: dict[str, bytes] | None = None) -> None:
        """One record, as any producer would write it."""
        errors: list[Any] = []
        producer = Producer({"bootstrap.servers": self.bootstrap, "message.max.bytes": 16_000_000})
        producer.produce(
            topic,
            value,
            headers=list((headers or {}).items()),
            on_delivery=lambda error, _: errors.append(error),
        )
        producer.flush(30)
        assert errors == [None]

    def consume(self, topic: str) -> list[Any]:
        """The JSON documents of a topic so far."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "whole-way"})
        found: list[Any] = []
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            ends = {
                p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions
            }
            missing = sum(ends.values())
            consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
            deadline = time.monotonic() + PATIENCE
            while len(found) < missing and time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    found.append(json.loads(message.value() or b"null"))
        finally:
            consumer.close()
        return found


def comes(what: Callable[[], object], expected: object = True) -> None:
    """Wait until `what()` is `expected`."""
    deadline = time.monotonic() + PATIENCE
    while (found := what()) != expected:
        assert time.monotonic() < deadline, f"{found!r} did not become {expected!r}"
        time.sleep(0.1)


def check_samples_of_the_documents(tidegate: Tidegate) -> None:
    """Every request of the documents is answered as they say, and found by SQL."""
    for path in sorted(SAMPLES.glob("*request*.json")):
        answer = tidegate.post("device_app_connection_log", path.read_bytes())
        assert answer.status_code == 201, answer.text
        expected = json.loads(path.with_name(path.name.replace("request", "response")).read_text())
        found = answer.json()
        assert found.keys() == expected.keys()
        own = {"id", "timestamp", "created_at"} if "legacy" in path.name else {"id", "created_at"}
        assert {k: v for k, v in found.items() if k not in own} == {
            k: v for k, v in expected.items() if k not in own
        }
        id = answer.headers["location"].rpartition("/")[2]
        tidegate.comes(f"SELECT count() FROM tidegate.connection_logs WHERE id = '{id}'", "1")
    rows = tidegate.sql("SELECT form, geohash != '' FROM tidegate.connection_logs ORDER BY form")
    assert rows.splitlines() == ["legacy\t0", "network\t1", "session\t0"]


def check_batches_of_each_stream(tidegate: Tidegate) -> None:
    """Lists of the documents go in as they stand; a bad line costs itself alone."""
    logs = sample("inventory_device_log.list")["results"]
    answer = tidegate.post("inventory_device_log", body(logs))
    assert answer.status_code == 201 and answer.json()["count"] == len(logs), answer.text
    events = [*sample("client_events.response")["clientEvents"], success(channel=1000)]
    answer = tidegate.post("client_events", b"\n".join(map(body, events)), "application/x-ndjson")
    assert answer.status_code == 207, answer.text
    [error] = answer.json()["errors"]
    assert (error["index"], error["status"], error["path"]) == (3, 422, "channel")
    id = answer.json()["ids"][2]
    tidegate.comes(f"SELECT event_type FROM tidegate.client_events WHERE id = '{id}'", "Failure")
    tidegate.comes("SELECT count() FROM tidegate.device_logs", str(len(logs)))


def check_a_line_in_a_raw_topic(tidegate: Tidegate) -> None:
    """A record of one bare event is as good as a post."""
    line = body({"network_type": "et", "network_security": "opn", "network_name": "straight in"})
    tidegate.produce(topics.raw("connection_logs"), line, {"fleet": b"demo"})
    where = "network_name = 'straight in'"
    tidegate.comes(f"SELECT fleet, network_type FROM tidegate.connection_logs WHERE {where}", "demo\tet")


def check_a_failure_is_told(tidegate: Tidegate) -> None:
    """A failed attempt comes out at tidegate.failures with its stage and action."""
    event = failure(ssid="whole way", failureCode=7, subFailureCode=14)
    answer = tidegate.post("client_events", body(event))
    assert answer.status_code == 201, answer.text

    def told() -> list[Any]:
        return [d for d in tidegate.consume(topics.FAILURES) if d["ssid"] == "whole way"]

    comes(lambda: len(told()), 1)
    [document] = told()
    assert document["id"] == answer.headers["location"].rpartition("/")[2]
    assert document["stage"] == "authentication" and document["action"]
    assert document["client"] == event["macAddress"].lower()


def check_one_bad_line_among_999(tidegate: Tidegate) -> None:
    """999 rows and one reject with its line, which the rejects topic tells too."""
    lines = [envelope(success(ssid="frame"), received_at=time.time_ns() // 1000) for _ in range(999)]
    bad = b'{"fleet":"demo","event":{"macAddress":"68:05'
    lines.insert(500, bad)
    tidegate.produce(topics.raw("client_events"), b"\n".join(lines))
    tidegate.comes("SELECT count() FROM tidegate.client_events WHERE ssid = 'frame'", "999")
    reject = ["not_json", 500, bad.decode()]
    found = "SELECT code, index, original FROM tidegate.rejects FORMAT JSONCompactEachRow"
    comes(lambda: [json.loads(row) for row in tidegate.sql(found).splitlines()], [reject])
    comes(lambda: [d["index"] for d in tidegate.consume(topics.REJECTS) if d["code"] == "not_json"], [500])


def check_records_that_nobody_should_write(tidegate: Tidegate) -> None:
    """No input stops the flow: each bad record is a reject, and what comes behind it is stored."""
    topic = topics.raw("device_logs")
    rejects = int(tidegate.sql("SELECT count() FROM tidegate.rejects"))
    for value in (b"", b"\xff\xfe\x00", b"[" * 50_000, b"null", b"x" * 5_000_000, body({"datetime": 1})):
        tidegate.produce(topic, value, {"fleet": b"demo"})
    tidegate.produce(topic, body(sample("inventory_device_log.detail")), {"fleet": b"unheard of"})
    tidegate.produce(
        topic, body(sample("inventory_device_log.detail") | {"user": "behind"}), {"fleet": b"demo"}
    )
    tidegate.comes("SELECT count() FROM tidegate.device_logs WHERE user = 'behind'", "1")
    tidegate.comes("SELECT count() FROM tidegate.rejects", str(rejects + 7))


def check_rollups_and_ledger(tidegate: Tidegate) -> None:
    """Rollups count what the tables hold; every line of every frame has one outcome. To be asked last."""
    for stream in STREAMS:
        base = tidegate.sql(f"SELECT count() FROM tidegate.{stream}")
        assert int(base) > 0
        for level in LEVELS:
            tidegate.comes(f"SELECT sum(events) FROM tidegate.{stream}_{level}", base)
        tidegate.comes(unbalanced(stream), "0")
    client = clickhouse_connect.get_client(dsn=tidegate.clickhouse, database="tidegate")
    [[lines, accounted]] = client.query(
        "SELECT sum(lines), sum(accepted + rejected + duplicates) FROM sink_batches"
    ).result_rows
    client.close()
    assert lines == accounted


def unbalanced(stream: Stream) -> str:
    """How many partitions have a hole in their offsets, or other rows and rejects than the ledger says."""
    return f"""
        SELECT countIf(last - first + 1 != frames OR lines != stored) FROM (
            SELECT epoch, partition, min(first) AS first, max(last) AS last,
                sum(frames) AS frames, sum(lines) AS lines, any(rows) AS stored
            FROM (SELECT DISTINCT epoch, partition, first, last, frames, lines
                  FROM tidegate.verify_batches WHERE stream = '{stream}') AS batches
            LEFT JOIN (
                SELECT epoch, partition, count() AS rows FROM (
                    SELECT epoch, partition FROM tidegate.{stream}
                    UNION ALL SELECT epoch, partition FROM tidegate.rejects WHERE stream = '{stream}'
                ) GROUP BY epoch, partition
            ) AS stored USING (epoch, partition)
            GROUP BY epoch, partition
        )"""


CHECKS = (
    check_samples_of_the_documents,
    check_batches_of_each_stream,
    check_a_line_in_a_raw_topic,
    check_a_failure_is_told,
    check_one_bad_line_among_999,
    check_records_that_nobody_should_write,
    check_rollups_and_ledger,
)
"""In the order in which they are to be asked."""
