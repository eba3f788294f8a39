"""The table `alerts`: the records of the topic exactly once, and the newest state of each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from conftest import running_broker
from databases import migrated, settings_of
from waiting import await_

from tidegate.contracts.alerts import Alert, Cause, Impact, Scope, alert_id, record_key
from tidegate.contracts.topics import ALERTS
from tidegate.kafka.topics import ensure_topics
from tidegate.local.child import free_port
from tidegate.local.clickhouse import ClickHouseServer
from tidegate.settings import Settings
from tidegate.sink.alerts import AlertStore
from tidegate.store.alerts import SCHEMA, block
from tidegate.store.insert import insert

EPOCH = "01JDAAAAAAAAAAAAAAAAAAAAAA"
SCOPE = Scope(site="Toronto", stage="aaa")


def alert(sequence: int = 1, state: str = "open", *, fleet: str = "demo", **changed: Any) -> Alert:
    id = alert_id(fleet, "stage-failures", SCOPE, 0)
    fields: dict[str, Any] = {
        "fleet": fleet,
        "id": id,
        "sequence": sequence,
        "incident": id,
        "rule": "stage-failures",
        "signal": "stage_failures",
        "state": state,
        "severity": "critical",
        "scope": SCOPE,
        "started_at": "2026-11-21T12:00:00Z",
        "updated_at": f"2026-11-21T12:0{sequence}:00Z",
    }
    return Alert(**fields | changed)


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


def test_the_columns_are_those_of_the_inserts(client: Client) -> None:
    found = rows(
        client,
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'alerts'"
        " ORDER BY position",
    )
    assert [name for (name,) in found] == SCHEMA.names


def test_a_change_that_comes_twice_is_one_row(client: Client, settings: Settings) -> None:
    first = alert(impact=Impact(900, 520, 0.004, 206, 284, 26, 26), cause=Cause(902, 1, "no answer", 0.97))
    for batch in ([first], [first, alert(2, "acked", by="eve")], [alert(2, "acked", by="eve"), first]):
        insert(client, settings.clickhouse_database, block(batch, EPOCH), token="")
    assert rows(client, "SELECT count() FROM alerts") > [(2,)]
    found = rows(
        client,
        "SELECT sequence, state, by, site, stage, clients, usual, code, sub_code, cause_share, until"
        " FROM alerts FINAL ORDER BY sequence",
    )
    assert found == [
        (1, "open", "", "Toronto", "aaa", 206, 0.004, 902, 1, 0.97, None),
        (2, "acked", "eve", "Toronto", "aaa", 0, 0.0, None, None, 0.0, None),
    ]


def test_the_newest_state_is_that_of_the_highest_sequence(client: Client, settings: Settings) -> None:
    silence = alert(3, "silenced", until="2026-11-22T00:00:00+01:00")
    changes = [alert(2, "acked"), silence, alert(), alert(fleet="other")]
    insert(client, settings.clickhouse_database, block(changes, EPOCH), token="")
    assert rows(client, "SELECT fleet, sequence, state, until FROM alerts_now ORDER BY fleet") == [
        ("demo", 3, "silenced", datetime(2026, 11, 21, 23)),
        ("other", 1, "open", None),
    ]


def test_what_an_earlier_life_of_the_topics_left_open_is_over(client: Client, settings: Settings) -> None:
    insert(client, settings.clickhouse_database, block([alert()], EPOCH), token="")
    insert(client, settings.clickhouse_database, block([alert(fleet="new")], f"{EPOCH[:-1]}B"), token="")
    client.command(f"INSERT INTO epochs VALUES ('{EPOCH}', now()), ('{EPOCH[:-1]}B', now())")
    assert rows(client, "SELECT fleet, state FROM alerts_now ORDER BY fleet") == [
        ("demo", "resolved"),
        ("new", "open"),
    ]


def test_the_topics_records_become_rows(
    clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_broker("embedded", tmp_path_factory.mktemp("broker")) as broker:
        settings = settings_of(
            clickhouse,
            kafka_bootstrap=broker.bootstrap,
            kafka_partitions=2,
            kafka_session_timeout_ms=3000,
            sink_group=f"sink-{free_port()}",
        )
        epoch = ensure_topics(settings).epoch
        producer = Producer({"bootstrap.servers": broker.bootstrap})

        def send(*changes: Alert | bytes) -> None:
            for change in changes:
                if isinstance(change, bytes):
                    producer.produce(ALERTS, change)
                else:
                    producer.produce(ALERTS, msgspec.json.encode(change), record_key(change))
            producer.flush()

        with migrated(settings) as client:

            def stored() -> list[tuple[Any, ...]]:
                return rows(
                    client, "SELECT fleet, sequence, epoch FROM alerts FINAL ORDER BY fleet, sequence"
                )

            send(alert(), b"{}", alert(updated_at="yesterday"), alert(0), alert(2, "resolved"), alert())
            with AlertStore(settings, client, epoch):
                await_(lambda: stored() == [("demo", 1, epoch), ("demo", 2, epoch)])
            send(alert(fleet="other"), alert())
            with AlertStore(settings, client, epoch):
                await_(lambda: len(stored()) == 3)
            assert stored() == [("demo", 1, epoch), ("demo", 2, epoch), ("other", 1, epoch)]
