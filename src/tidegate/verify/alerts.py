"""Compares alerts with what they rest on: sequence numbers, topic, the stored events folded again."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tidegate.alerts import backtest, recount
from tidegate.contracts.alerts import Alert, moment, read
from tidegate.contracts.counts import MINUTE
from tidegate.contracts.topics import ALERTS
from tidegate.errors import RetryLater
from tidegate.kafka.connection import Connection, connection
from tidegate.kafka.groupless import groupless_consumer
from tidegate.kafka.log_ends import topic_ends
from tidegate.lookups import alert_rules
from tidegate.settings import Settings, days_of_fleets
from tidegate.store.client import infrastructure, literal
from tidegate.verify.balance import Finding

log = logging.getLogger(__name__)

READ_SECONDS = 60.0
SETTLED_SECONDS = 30.0  # that a record of the topic may take into the table
DAY = 86_400
NEAR = 6 * MINUTE  # by which late events may move an opening

AlertKey = tuple[str, str, str, str]  # fleet, signal, site, stage


def findings(client: Client, settings: Settings, *, kafka: bool = True) -> list[Finding]:
    """What is wrong with the table `alerts`. Raises RetryLater while ClickHouse is away."""
    found = list(_numbers(client))
    if kafka:
        try:
            found += _topic(client, settings)
        except RetryLater as error:
            log.warning("the topic is not compared: %s", error)
    return [*found, *_folded(client, settings)]


def _numbers(client: Client) -> Iterator[Finding]:
    """Changes of an alert are numbered 1, 2, 3 … without a gap."""
    with infrastructure():
        rows = client.query(
            "SELECT fleet, id, min(sequence), max(sequence), count() FROM alerts FINAL GROUP BY fleet, id"
            " HAVING min(sequence) != 1 OR max(sequence) != count() ORDER BY fleet, id"
        ).result_rows
    for fleet, id, first, last, count in rows:
        yield Finding(
            f"alert {id} of fleet {fleet}: {count} of its changes {first} to {last} are stored",
            f"SELECT * FROM alerts FINAL WHERE id = {literal(id)} ORDER BY sequence",
        )


def _topic(client: Client, settings: Settings) -> Iterator[Finding]:
    """Every change that the topic still has is a row, with the same content, within its fleet's retention."""
    with infrastructure():
        rows = client.query(
            "SELECT fleet, id, sequence, state, toUnixTimestamp(updated_at), summary FROM alerts FINAL"
        ).result_rows
    stored = {(row[0], row[1], row[2]): tuple(row[3:]) for row in rows}
    told: set[tuple[str, str, int]] = set()
    for alert in _records(connection(settings)):
        key = (alert.fleet, alert.id, alert.sequence)
        if key in told:
            continue
        told.add(key)
        at = round(moment(alert.updated_at).timestamp())
        kept = settings.kept_days(alert.fleet, settings.ttl_alerts_days)
        if kept and at < time.time() - (kept - 1) * DAY:
            continue
        row = stored.get(key)
        if row is None or (row[0], row[2]) != (alert.state, alert.summary) or abs(int(row[1]) - at) > 1:
            how = "is not stored" if row is None else "is stored otherwise than it was told"
            yield Finding(
                f"alert {alert.id} of fleet {alert.fleet}: change {alert.sequence} ({alert.state}) {how}",
                f"SELECT * FROM alerts FINAL WHERE id = {literal(alert.id)} ORDER BY sequence",
            )


def _records(kafka: Connection) -> Iterator[Alert]:
    """The changes that the topic has, without those of the last moments."""
    consumer = groupless_consumer(kafka, "tidegate-verify")
    try:
        for (_, partition), (first, end) in topic_ends(kafka, [ALERTS]).items():
            if first >= end:
                continue
            consumer.assign([TopicPartition(ALERTS, partition, first)])
            deadline = time.monotonic() + READ_SECONDS
            while True:
                if time.monotonic() > deadline:
                    raise RetryLater(f"{ALERTS} partition {partition} could not be read to its end")
                message = consumer.poll(0.2)
                if message is None:
                    continue
                if message.error() is not None:
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        break
                    continue
                if time.time() - message.timestamp()[1] / 1000 < SETTLED_SECONDS:
                    break
                try:
                    yield read(message.value())
                except ValueError:  # neither the sink nor notify takes it
                    continue
    except KafkaException as error:
        raise RetryLater(f"{ALERTS}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _folded(client: Client, settings: Settings) -> Iterator[Finding]:
    """What the stored events open when they are folded again is there, and nothing else.

    Only where the events since the topics were made are all there: before that, learning began otherwise.
    Fleets with a retention of their own are left out. Openings may lie some minutes apart: an event that
    came late for its minute is stored all the same.
    """
    limited = days_of_fleets(settings.fleet_retention_days)
    begin = recount.first_event(client)
    if begin is None:
        return
    rules = alert_rules.load(settings.alerts_rules_file)
    until = recount.micros(datetime.now(UTC)) // MINUTE * MINUTE
    with infrastructure():
        [(newest,)] = client.query(
            "SELECT toUnixTimestamp64Micro(max(received_at)) FROM"
            " (SELECT received_at FROM client_events UNION ALL SELECT received_at FROM connection_logs)"
        ).result_rows
        rows = client.query(
            "SELECT fleet, signal, site, stage, toUnixTimestamp64Micro(updated_at), id FROM alerts FINAL"
            " WHERE sequence = 1 AND signal != 'reject_flood' AND signal != 'no_events'"
        ).result_rows
    until = min(until, (int(newest) // MINUTE + 1) * MINUTE)
    again = [
        (_key_of(one), round(datetime.fromisoformat(one.updated_at).timestamp() * 1e6), one.id)
        for one in backtest.changes(settings, rules, begin, until)
        if one.sequence == 1 and one.signal != "no_events" and one.fleet not in limited
    ]
    told = [((str(f), str(s), str(site), str(stage)), int(at), str(id)) for f, s, site, stage, at, id in rows]
    told = [opening for opening in told if opening[0][0] not in limited]
    for key, at, _ in _unmatched(again, told):
        if at < until - NEAR:
            yield Finding(
                f"{_named(key)}: the stored events open an alert at {_iso(at)} that is not there",
                f"SELECT * FROM alerts FINAL WHERE site = {literal(key[2])} ORDER BY updated_at",
            )
    for key, at, id in _unmatched(told, again):
        if begin + NEAR <= at < until - NEAR:
            yield Finding(
                f"{_named(key)}: alert {id} of {_iso(at)} does not come of the stored events",
                f"SELECT * FROM alerts FINAL WHERE id = {literal(id)} ORDER BY sequence",
            )


Opening = tuple[AlertKey, int, str]


def _unmatched(these: Iterable[Opening], those: Iterable[Opening]) -> Iterator[Opening]:
    """Those openings of one list that the other has not at about the same time."""
    times: dict[AlertKey, list[int]] = defaultdict(list)
    for key, at, _ in those:
        times[key].append(at)
    for opening in these:
        key, at, _ = opening
        if not any(abs(other - at) <= NEAR for other in times[key]):
            yield opening


def _key_of(alert: Alert) -> AlertKey:
    return alert.fleet, alert.signal, alert.scope.site, alert.scope.stage


def _named(key: AlertKey) -> str:
    fleet, signal, site, stage = key
    return " ".join(
        part for part in (f"fleet {fleet}", f"site {site}" if site else "", signal, stage) if part
    )


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%dT%H:%MZ")
