"""`tidegate notify` as a process: a real broker, the real ClickHouse engine, a real HTTPS receiver."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import roles
from alert_documents import alert
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from databases import migrated, settings_of
from standardwebhooks import Webhook
from waiting import PATIENCE, await_
from webhook_receiver import Receiver, Reply, receiver

from tidegate.contracts.alerts import Alert, record_key
from tidegate.contracts.topics import ALERTS
from tidegate.kafka.topics import ensure_topics
from tidegate.local.broker import Broker
from tidegate.local.child import Child, free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.store.deliveries import Entry, listing
from tidegate.webhooks.signing import webhook_id


class Rig:
    def __init__(self, broker: Broker, clickhouse: ClickHouseServer, at: Receiver, folder: Path) -> None:
        self.at, self.folder = at, folder
        self.fleet = f"f{secrets.token_hex(4)}"
        self.listen = f"127.0.0.1:{free_port()}"
        self.settings = settings_of(clickhouse, kafka_bootstrap=broker.bootstrap, data_dir=str(folder))
        names = ("clickhouse_url", "clickhouse_database", "kafka_bootstrap", "data_dir")
        self.values: dict[str, Any] = {
            **{name: getattr(self.settings, name) for name in names},
            "kafka_session_timeout_ms": 3000,
            "notify_group": f"notify-{secrets.token_hex(4)}",
            "notify_listen": self.listen,
            "webhook_allow": "127.0.0.1",
            "webhook_ca_file": str(at.ca_file),
        }
        ensure_topics(self.settings)
        self.client: Client
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        self._ends: dict[int, int] = {}  # offset behind the last record, by partition
        self.children: list[Child] = []

    def create(self, path: str, *options: str) -> str:
        """A webhook at a path of the receiver; its secret."""
        url = ("--url", self.at.url + path)
        done = self.webhook("create", path.strip("/"), "--fleet", self.fleet, *url, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def webhook(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return roles.run("webhook", *arguments, values=self.values)

    def endpoint_ids(self) -> dict[str, str]:
        found = json.loads(self.webhook("list", "--json").stdout)["webhooks"]
        return {row["name"]: row["id"] for row in found}

    def start(self, **changed: Any) -> Child:
        name = f"notify{len(self.children)}"
        child = roles.role("notify", self.folder, {**self.values, **changed}, name=name)
        self.children.append(child)
        child.start()
        return child

    def ready(self) -> None:
        await_(lambda: roles.get(self.listen, "/readyz")[0] == 200, self.children[-1].tail)

    def kill(self) -> None:
        self.children[-1].kill()
        self.children[-1].wait(10)

    def tell(self, *alerts: Alert) -> None:
        for told in alerts:
            told = msgspec.structs.replace(told, fleet=self.fleet)
            self._producer.produce(
                ALERTS, msgspec.json.encode(told), key=record_key(told), on_delivery=self._written
            )
        assert self._producer.flush(PATIENCE) == 0

    def _written(self, error: KafkaError | None, message: Message) -> None:
        assert error is None
        self._ends[message.partition() or 0] = (message.offset() or 0) + 1

    def committed(self) -> bool:
        """Whether the group has been told that every record is done with."""
        group = {"bootstrap.servers": self.settings.kafka_bootstrap, "group.id": self.values["notify_group"]}
        consumer = Consumer(group)
        try:
            parts = [TopicPartition(ALERTS, number) for number in self._ends]
            found = consumer.committed(parts, timeout=10)
            return all(one.offset == self._ends[one.partition] for one in found)
        finally:
            consumer.close()

    def log(self, **which: str) -> list[Entry]:
        """The newest entries first."""
        return listing(self.client, self.settings.clickhouse_database, limit=10_000, **which)  # type: ignore[arg-type]

    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in reversed(self.log())]


Choose = Callable[[str, int], Reply]


@pytest.fixture
def rig_with(
    embedded_broker: Broker, clickhouse: ClickHouseServer, tmp_path: Path
) -> Iterator[Callable[[Choose], Any]]:
    @contextmanager
    def make(choose: Choose) -> Iterator[Rig]:
        with receiver(choose, tmp_path) as at:
            rig = Rig(embedded_broker, clickhouse, at, tmp_path)
            try:
                with migrated(rig.settings) as rig.client:
                    yield rig
            finally:
                for child in rig.children:
                    child.kill()
                    child.wait(10)

    yield make


def test_from_the_topic_to_the_receiver_and_into_the_log(rig_with: Callable[[Choose], Any]) -> None:
    def choose(path: str, before: int) -> Reply:
        return Reply(410 if path == "/gone" else 204)

    with rig_with(choose) as rig:
        secret = rig.create("/hook")
        rig.create("/gone")
        rig.start()
        rig.ready()
        rig.tell(alert(), alert(sequence=2, state="resolved"), alert(fleet="x", id="other", severity="info"))
        await_(lambda: len(rig.at.of("/hook")) >= 3 and rig.at.of("/gone"), rig.children[0].tail)
        sent = [Webhook(secret).verify(one.body, dict(one.headers)) for one in rig.at.of("/hook")]
        assert [(s["type"], s["data"]["id"]) for s in sent if s["data"]["id"] == "a1b2c3"] == [
            ("alert.open", "a1b2c3"),
            ("alert.resolved", "a1b2c3"),
        ]
        await_(rig.committed)
        shown = rig.webhook("deliveries", "hook", "--alert", "other", "--json").stdout
        [delivered, owed] = [json.loads(line) for line in shown.splitlines()]
        assert (delivered["outcome"], owed["outcome"]) == ("delivered", "owed")
        assert (delivered["status"], delivered["attempt"], delivered["sequence"]) == (204, 1, 1)
        listed = rig.webhook("list").stdout
        assert "DISABLED: answered 410" in listed and secret not in listed
        assert secret not in str(rig.log()) and secret not in rig.children[0].log_path.read_text()

        # Once more, under the same id, by whoever runs.
        id = delivered["webhook_id"]
        assert rig.webhook("replay", id).stdout == "1 owed once more\n"
        await_(lambda: rig.at.ids("/hook").count(id) == 2, rig.children[0].tail)
        assert rig.webhook("replay", "msg_unknown").returncode == 1

        done = rig.webhook("test", "hook")
        assert done.returncode == 0 and done.stdout.startswith("open: delivered, answered 204"), done.stderr
        done = rig.webhook("test", "gone")
        assert done.returncode == 1 and "not delivered: answers 410" in done.stderr

        done = rig.webhook("create", "inside", "--fleet", rig.fleet, "--url", "https://10.0.0.1/x")
        assert done.returncode == 2
        assert done.stderr == "tidegate: url: 10.0.0.1 is private (10.0.0.0/8)\n"
        assert rig.children[0].stop(20) == 0


def test_a_restart_loses_no_pending_retry(rig_with: Callable[[Choose], Any]) -> None:
    with rig_with(lambda path, before: Reply(503 if before == 0 else 204)) as rig:
        rig.create("/hook")
        rig.start()
        rig.tell(alert())
        await_(lambda: rig.outcomes() == ["owed", "retry"], rig.children[0].tail)
        await_(rig.committed)
        rig.kill()
        assert len(rig.at.received) == 1
        rig.start()
        await_(lambda: len(rig.at.received) == 2, rig.children[1].tail)
        await_(lambda: rig.outcomes() == ["owed", "retry", "delivered"])
        [newest, retry, owed] = rig.log()
        assert (newest.attempt, retry.attempt, owed.attempt) == (2, 1, 0)
        assert retry.next_attempt_at is not None and newest.at >= retry.next_attempt_at
        assert len(set(rig.at.ids("/hook"))) == 1


def test_one_takes_over_what_another_owed(rig_with: Callable[[Choose], Any]) -> None:
    told = [alert(id=f"alert{number}", site=f"Site {number}") for number in range(8)]
    with rig_with(lambda path, before: Reply(503 if before < len(told) else 204)) as rig:
        rig.create("/hook")
        first = rig.start()
        rig.ready()
        rig.start(notify_listen=f"127.0.0.1:{free_port()}")
        rig.tell(*told)
        await_(lambda: rig.outcomes().count("retry") == len(told), first.tail)
        first.kill()
        await_(lambda: rig.outcomes().count("delivered") == len(told), rig.children[1].tail)
        ids = Counter(rig.at.ids("/hook"))
        assert len(ids) == len(told) and set(ids) == set(rig.at.ids("/hook", 204))


def test_with_clickhouse_away_notices_go_out_and_no_offset_is_committed(
    rig_with: Callable[[Choose], Any],
) -> None:
    with rig_with(lambda path, before: Reply()) as rig:
        rig.create("/hook")
        rig.start(clickhouse_url=f"http://127.0.0.1:{free_port()}")
        rig.tell(alert())
        await_(lambda: rig.at.received, rig.children[0].tail)
        await_(lambda: "deliveries are not stored" in roles.get(rig.listen, "/readyz")[1])
        assert not rig.committed()
        rig.kill()
        rig.start()  # ClickHouse is back
        await_(lambda: rig.outcomes() == ["owed", "delivered"], rig.children[1].tail)
        await_(rig.committed)
        assert len(rig.at.received) == 2 and len(set(rig.at.ids("/hook"))) == 1


def test_killed_again_and_again_one_id_a_change_and_endpoint(rig_with: Callable[[Choose], Any]) -> None:
    def choose(path: str, before: int) -> Reply:
        # The first of each endpoint alone: one that failed twice would be owed for five minutes.
        return Reply(503 if before == 0 else 204, wait=0.05)

    with rig_with(choose) as rig:
        rig.create("/a")
        rig.create("/b")
        told = [
            alert(id=f"alert{number}", sequence=sequence, site=f"Site {number}", state=state)
            for sequence, state in enumerate(("open", "acked", "flapping", "resolved"), 1)
            for number in range(6)
        ]
        for begin in range(0, len(told), 4):
            rig.start()
            rig.tell(*told[begin : begin + 4])
            before = len(rig.at.received)
            await_(lambda before=before: len(rig.at.received) > before, rig.children[-1].tail)  # type: ignore[misc]
            rig.kill()
        rig.start()
        ids = rig.endpoint_ids()
        wanted = {webhook_id(t.id, t.sequence, id): (t, name) for t in told for name, id in ids.items()}

        def ended() -> set[str]:
            return {e.webhook_id for e in rig.log() if e.outcome in ("delivered", "superseded")}

        await_(lambda: ended() == wanted.keys(), rig.children[-1].tail)
        by_change: dict[tuple[str, int, str], set[str]] = defaultdict(set)
        for one in rig.at.received:
            data = json.loads(one.body)["data"]
            by_change[data["id"], data["sequence"], one.path].add(one.headers["webhook-id"])
        assert {len(found) for found in by_change.values()} == {1}
        entries = Counter((entry.webhook_id, entry.entry) for entry in rig.log())
        assert set(entries.values()) == {1}
        delivered = {entry.webhook_id for entry in rig.log() if entry.outcome == "delivered"}
        assert delivered <= set(rig.at.ids("/a", 204)) | set(rig.at.ids("/b", 204))
        last = {id for id, (t, name) in wanted.items() if t.state == "resolved"}
        assert last <= delivered
