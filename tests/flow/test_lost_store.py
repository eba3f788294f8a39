"""A backup while events stream in, the store destroyed, and the way back: the sink goes on from the cut."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import control_key
import httpx
import pytest
import roles
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from databases import settings_of
from store_contents import rows
from waiting import await_

from builders import device_log, failure, network_log, success
from tidegate.contracts.topics import STREAMS, raw
from tidegate.kafka import topics
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.store.client import connect
from tidegate.store.migrate import migrate
from tidegate.tokens import TokenFile

TABLES = (*STREAMS, "rejects")
BODIES = {
    "device_app_connection_log": [network_log(network_name="Café"), network_log()],
    "client_events": [success(), failure(), success(macAddress="02:00:5E:10:00:77")],
    "inventory_device_log": [device_log(), device_log()],
}
MAC = "02:00:5e:10:00:77"
HERS = f"mac = '{MAC}'"
BROKEN = b'{"fleet": "demo", "event": {"macAddress": "ours"}}'  # straight into Kafka: the worker refuses it


class Place:
    """Gateway, worker and sink over a ClickHouse of its own, and a thread that posts."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.folder = folder
        self._listen = f"127.0.0.1:{free_port()}"
        self.server = self._clickhouse()
        self.server.start()
        gateway = f"127.0.0.1:{free_port()}"
        self.values: dict[str, Any] = {
            "data_dir": str(folder),
            "control_key_file": os.environ[control_key.VARIABLE],
            "kafka_bootstrap": bootstrap,
            "kafka_partitions": 2,
            "kafka_session_timeout_ms": 3000,
            "clickhouse_url": self.server.url,
            "clickhouse_database": settings_of(self.server).clickhouse_database,
            "gateway_listen": gateway,
            "worker_listen": f"127.0.0.1:{free_port()}",
            "sink_listen": f"127.0.0.1:{free_port()}",
            **{name: 0 for name in ("ttl_client_events_days", "ttl_connection_logs_days")},
            **{name: 0 for name in ("ttl_device_logs_days", "ttl_rejects_days")},
        }
        self.settings = Settings(**self.values)
        topics.ensure_topics(self.settings)
        with connect(self.settings, database="") as admin:
            migrate(admin, self.settings)
        self._url = f"http://{gateway}"
        token = TokenFile(folder / "tokens.json").create(
            "one", fleet="demo", role="ingest", rate_events_per_second=1e9
        )
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        self.roles = {name: roles.role(name, folder, self.values) for name in ("gateway", "worker", "sink")}
        for child in self.roles.values():
            child.start()
        self.taken, self.refused = 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._post, daemon=True)

    def _clickhouse(self) -> ClickHouseServer:
        return ClickHouseServer(self._listen, self.folder / "store", self.folder / "clickhouse.log")

    def close(self) -> None:
        self._stop.set()
        for child in self.roles.values():
            child.stop(30)
        self.server.stop()

    def tails(self) -> str:
        return "\n".join(f"--- {name}\n{child.tail()}" for name, child in self.roles.items())

    def ready(self) -> bool:
        listens = [self.values[f"{name}_listen"] for name in self.roles]
        return all(roles.get(listen, "/readyz")[0] == 200 for listen in listens)

    def stream(self) -> None:
        self._thread.start()

    def dry(self) -> None:
        """Post no more."""
        self._stop.set()
        self._thread.join(60)

    def _post(self) -> None:
        producer = Producer({"bootstrap.servers": self.values["kafka_bootstrap"], "log_level": 0})
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=60.0) as http:
            while not self._stop.wait(0.1):
                for path, events in BODIES.items():
                    body = "\n".join(json.dumps(event) for event in events * 5)
                    answer = http.post(f"/api/v1/{path}/", content=body)
                    assert answer.status_code == 201, answer.text
                    self.taken += len(answer.json()["ids"])
                producer.produce(raw("client_events"), BROKEN, partition=self.refused % 2)
                assert producer.flush(60) == 0
                self.refused += 1

    def destroy(self) -> None:
        """The sink dies, and ClickHouse with all that it holds."""
        self.roles["sink"].kill()
        self.roles["sink"].wait(10)
        self.server.stop()
        shutil.rmtree(self.folder / "store")
        self.server = self._clickhouse()
        self.server.start()

    def forget_group(self) -> None:
        """As Kafka does where nobody has committed for a week."""
        admin = AdminClient({"bootstrap.servers": self.values["kafka_bootstrap"], "log_level": 0})

        def deleted() -> bool:
            [future] = admin.delete_consumer_groups([self.settings.sink_group]).values()
            try:
                future.result(30)
            except KafkaException:  # the dead sink is a member until its session ends
                return False
            return True

        await_(deleted)

    def count(self) -> int:
        with connect(self.settings) as client:
            counts = " + ".join(f"(SELECT count() FROM {stream})" for stream in STREAMS)
            return int(client.query(f"SELECT {counts}").result_rows[0][0])

    def hers(self) -> int:
        with connect(self.settings) as client:
            return int(client.query(f"SELECT count() FROM client_events WHERE {HERS}").result_rows[0][0])

    def settled(self) -> int:
        """Rows that are stored or were erased."""
        with connect(self.settings) as client:
            erased = "SELECT uniqExact(stream, epoch, partition, offset, `index`) FROM erasures"
            return self.count() + int(client.query(f"{erased} WHERE `table` != 'rejects'").result_rows[0][0])

    def refused_count(self) -> int:
        with connect(self.settings) as client:
            return int(client.query("SELECT count() FROM rejects").result_rows[0][0])

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        with connect(self.settings) as client:
            return {table: rows(client, table) for table in TABLES}


@pytest.fixture
def place(own_broker: Any, tmp_path: Path) -> Iterator[Place]:
    found = Place(own_broker.bootstrap, tmp_path)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.timeout(580)
def test_a_store_that_is_lost_comes_back_and_goes_on(
    place: Place, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await_(place.ready, place.tails)
    place.stream()
    await_(lambda: place.count() > 200, place.tails)
    folder = tmp_path / "backup"
    done = roles.run("backup", str(folder), values=place.values)
    assert done.returncode == 0, done.stderr
    saved = place.taken
    await_(lambda: place.count() > saved + 60, place.tails)
    before = place.contents()
    place.destroy()
    place.dry()  # what it posted meanwhile is in Kafka
    if "kafka" in request.node.name:  # the embedded broker keeps a dead group's offsets
        place.forget_group()

    done = roles.run("restore", str(folder), values=place.values)
    assert done.returncode == 0, done.stderr
    restored = place.contents()
    for table in TABLES:
        assert restored[table], table
        assert {*restored[table]} <= {*before[table]}, table
    assert sum(map(len, restored.values())) < sum(map(len, before.values()))
    roles.assert_verified(place.values)

    place.roles["sink"].start()
    await_(lambda: place.count() >= place.taken, place.tails)
    await_(lambda: place.refused_count() >= place.refused, place.tails)
    after = place.contents()
    assert sum(len(after[stream]) for stream in STREAMS) == place.taken
    assert len(after["rejects"]) == place.refused
    for table in TABLES:
        assert len({*after[table]}) == len(after[table]), table
        assert {*before[table]} <= {*after[table]}, table
    report = roles.assert_verified(place.values)
    assert sum(item["stored"] for item in report["partitions"]) == place.taken


@pytest.mark.timeout(580)
@pytest.mark.parametrize("own_broker", ["embedded"], indirect=True)
def test_a_client_is_erased_while_events_stream_in(place: Place) -> None:
    await_(place.ready, place.tails)
    place.stream()
    await_(lambda: place.count() > 200, place.tails)
    with connect(place.settings) as client:
        before = {stream: {*rows(client, stream, f"NOT ({HERS})")} for stream in ("client_events",)}
    await_(lambda: place.hers() > 20, place.tails)
    done = roles.run("erase", "client", MAC, "--fleet", "demo", values=place.values)
    place.dry()
    if "rows of the client still come" not in done.stderr:  # as they did: it is still posted
        assert done.returncode == 0, done.stderr
    await_(lambda: place.settled() == place.taken, place.tails)
    done = roles.run("erase", "client", MAC, "--fleet", "demo", values=place.values)
    assert done.returncode == 0, done.stderr
    assert place.hers() == 0
    with connect(place.settings) as client:
        for stream, known in before.items():
            assert known <= {*rows(client, stream)}
        assert len(rows(client, "client_events")) > 0
    report = roles.assert_verified(place.values)
    erased = sum(item["erased"] for item in report["partitions"])
    assert erased > 20
    assert erased + sum(item["stored"] for item in report["partitions"]) == place.taken
