"""An incident through the worker: told once however it dies, acknowledged, resolved, stored exactly once."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import control_key
import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from conftest import running_broker
from databases import migrated, settings_of
from waiting import await_
from worker_rig import PARTITIONS, Rig

import builders
from tidegate.alerts import control
from tidegate.audit import sources
from tidegate.contracts.alerts import Alert
from tidegate.contracts.counts import MINUTE
from tidegate.contracts.topics import ALERTS
from tidegate.kafka.connection import connection
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.service.background import Background
from tidegate.settings import Settings
from tidegate.sink.alerts import AlertStore

RULES = """
[[rule]]
name = "floor"
signal = "stage_failures"
threshold = { share = 0.5, clients = 5, minutes = 1 }
keep_open_minutes = 1
"""

MINUTES = 300.0  # seconds; a minute is folded when it is over, and some more go by until it is over for good


def incident(minute: int, clients: int) -> bytes:
    """Logins of as many clients that no RADIUS server answers."""
    site = {"type": "locallocationid", "id": 4711}
    return b"\n".join(
        builders.envelope(
            builders.failure(
                locationId=site,
                macAddress=f"02:00:00:00:00:{client:02x}",
                timestamp=minute,
                failure="RADIUS Failure",
                failureCode=902,
                subFailure="RADIUS server did not respond.",
                subFailureCode=1,
            ),
            received_at=minute + client,
        )
        for client in range(clients)
    )


class Failing(Background):
    """The logins of eight clients fail in the two minutes before now, and in every minute until the exit."""

    def __init__(self, rig: Rig) -> None:
        super().__init__("failing", stop_seconds=10.0)
        self._rig = rig
        self._next = time.time_ns() // 1000 // MINUTE * MINUTE - 2 * MINUTE

    def _run(self) -> None:
        while True:
            while self._next * 1000 <= time.time_ns():
                self._rig.send("client_events", incident(self._next, 8), self._next // MINUTE % PARTITIONS)
                self._next += MINUTE
            if self._stopping.wait(0.5):
                return


def told(rig: Rig) -> list[Alert]:
    return [msgspec.json.decode(message.value() or b"", type=Alert) for message in rig.read(ALERTS)]


def stored(client: Client) -> list[tuple[str, int, str, int]]:
    rows = client.query(
        "SELECT id, sequence, state, clients FROM alerts FINAL ORDER BY id, sequence"
    ).result_rows
    return [(str(id), int(sequence), str(state), int(clients)) for id, sequence, state, clients in rows]


@pytest.mark.timeout(900)
def test_a_radius_incident_is_told_acknowledged_and_resolved(
    clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", alerts_rules_file=rules) as rig,
    ):
        kafka = connection(
            Settings(kafka_bootstrap=broker.bootstrap, control_key_file=os.environ[control_key.VARIABLE])
        )
        settings = settings_of(
            clickhouse,
            kafka_bootstrap=broker.bootstrap,
            kafka_partitions=PARTITIONS,
            kafka_session_timeout_ms=3000,
        )
        settings = dataclasses.replace(settings, sink_group=settings.clickhouse_database)
        with migrated(settings) as client, AlertStore(settings, client, rig.epoch):
            with Failing(rig):
                rig.start()
                await_(lambda: bool(told(rig)), rig.worker.tail, MINUTES)
                rig.kill()
                [opened, *_] = told(rig)
                assert (opened.sequence, opened.state, opened.scope.site, opened.scope.stage) == (
                    1,
                    "open",
                    "4711",
                    "aaa",
                )
                assert (opened.cause.code, opened.cause.sub_code, opened.impact.clients) == (902, 1, 8)
                assert "RADIUS" in opened.cause.reason and "RADIUS" in opened.summary
                rig.start()
                control.acknowledge(kafka, "demo", opened.id, "eve")
                await_(lambda: any(one.state == "acked" for one in told(rig)), rig.worker.tail, MINUTES)
            rig.kill()
            rig.start()
            await_(lambda: any(one.state == "resolved" for one in told(rig)), rig.worker.tail, MINUTES)
            changes = told(rig)
            rig.stop()
            assert {(one.id, one.sequence, one.state) for one in changes} == {
                (opened.id, 1, "open"),
                (opened.id, 2, "acked"),
                (opened.id, 3, "resolved"),
            }
            # What was told again is the same to the byte.
            assert len({msgspec.json.encode(one) for one in changes}) == 3
            [acked] = {one.by for one in changes if one.state == "acked"}
            assert acked == "eve"
            expected = [(opened.id, 1, "open", 8), (opened.id, 2, "acked", 8), (opened.id, 3, "resolved", 8)]
            await_(lambda: stored(client) == expected, lambda: str(stored(client)))


def test_new_rules_are_in_the_audit_log(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", alerts_rules_file=rules) as rig,
    ):
        kafka = connection(
            Settings(kafka_bootstrap=broker.bootstrap, control_key_file=os.environ[control_key.VARIABLE])
        )

        def changes() -> list[list[str]]:
            entries = sources.of_control(kafka)
            return [entry.details["rules"] for entry in entries if entry.kind == "rules_changed"]

        rig.start()
        await_(lambda: changes() == [["floor"]], rig.worker.tail)
        rig.stop()
        rules.write_text(RULES.replace("floor", "ceiling"))
        rig.start()
        await_(lambda: changes() == [["floor"], ["ceiling"]], rig.worker.tail)
