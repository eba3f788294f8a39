"""What must hold afterwards: the producer's log beside the tables, and the product's own ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaPartition
from row_differences import micros

from chaos import contents
from chaos.sent_log import Event, read
from chaos.world import World
from tidegate.contracts.topics import FAILURES, STREAMS, Stream, TopicPartition, raw
from tidegate.kafka.connection import Connection
from tidegate.kafka.log_ends import log_ends
from tidegate.store.migrate import LEVELS

SHOWN = 5  # examples of one kind of damage
CLOCK = 1_000_000  # µs that a received time may lie outside of the time between request and answer
START_OF = {"1m": "toStartOfMinute", "1h": "toStartOfHour", "1d": "toStartOfDay"}


@dataclass
class Balance:
    sent: int = 0
    acked: int = 0
    stored: int = 0
    rejected: int = 0
    unacked: int = 0  # there all the same: their answer was lost
    failures: int = 0
    batches: int = 0
    changes: int = 0  # of alerts, times the webhooks that are told
    damage: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, acked {self.acked}; stored {self.stored}, rejected {self.rejected},"
            f" of them not acked {self.unacked}; failures told {self.failures}; batches {self.batches},"
            f" changes of alerts to webhooks {self.changes}: "
            + ("balanced" if not self.damage else f"{len(self.damage)} kinds of DAMAGE")
        )

    def note(self, what: str, cases: list[str]) -> None:
        if cases:
            self.damage.append(f"{len(cases)} {what}, e.g. {'; '.join(cases[:SHOWN])}")


def balance(world: World) -> Balance:
    """Everything. Nothing may be in flight any more."""
    found = Balance()
    sent = read(world.sent_log, world.epoch)
    found.sent = len(sent)
    found.acked = sum(event.acked_at > 0 for event in sent.values())
    _events(world, sent, found)
    _failures(world, found)
    for stream in STREAMS:
        for level in LEVELS:
            _rollup(world, stream, level, found)
    _ledger(world, found)
    if world.notices:
        found.changes, wrong = world.notices.damage(world)
        found.note("notices are wrong", wrong)
    _verify(world, found)
    return found


def _events(world: World, sent: dict[int, Event], found: Balance) -> None:
    """acked ⊆ stored ∪ rejected, each exactly once, with everything that was sent; nothing else."""
    seen: Counter[int] = Counter()
    foreign: list[str] = []
    changed: list[str] = []
    elsewhere, refused, untimely = [], [], []
    for table, rows in contents.stored(world, sent):
        changed += contents.changed(table, rows, sent)
        for number, row in rows:
            event, id = sent.get(number), row["id"]
            if event is None:
                foreign.append(
                    f"{table} {id} {row['original']}" if table == contents.REJECTS else f"{table} {id}"
                )
                continue
            seen[number] += 1
            if event.id and event.id != id:
                elsewhere.append(f"{event.id} is {id}")
            if event.refused:
                refused.append(f"{table} {id}")
            if event.line.received is None and not _timely(event, micros(row["received_at"])):
                untimely.append(f"{table} {id}")
            found.unacked += not event.acked_at
            found.rejected += table == contents.REJECTS
            found.stored += table != contents.REJECTS
    lost = [f"{event.id} of {event.stream}" for n, event in sent.items() if event.acked_at and not seen[n]]
    doubled = [f"number {number} {count} times" for number, count in seen.items() if count > 1]
    found.note("acknowledged events are LOST", lost)
    found.note("events are DOUBLED", doubled)
    found.note("rows were never sent", foreign)
    found.note("rows are not what was sent", changed)
    found.note("events have another id than the answer said", elsewhere)
    found.note("events were refused and stored all the same", refused)
    found.note("rows have a received time that is none", untimely)


def _timely(event: Event, received: int) -> bool:
    """Whether the gateway may have taken it in then."""
    return event.sent_at - CLOCK <= received <= (event.acked_at or received) + CLOCK


def _failures(world: World, found: Balance) -> None:
    """tidegate.failures told every failure that is stored, at least once."""
    told = {json.loads(value)["id"] for value in _consume(world.broker.bootstrap, FAILURES)}
    found.failures = len(told)
    for stream in STREAMS:
        ids = [row[0] for row in world.rows(f"SELECT id FROM {stream} WHERE outcome = 'failure'")]
        found.note(f"failures of {stream} were never told", [id for id in ids if id not in told])


def _consume(bootstrap: str, topic: str) -> Iterator[bytes]:
    """Every record of a topic as it is now."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "chaos",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        missing = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([KafkaPartition(topic, partition, 0) for partition in missing])
        while missing:
            message = consumer.poll(30)
            if message is None:
                raise TimeoutError(f"{topic} cannot be read to its end")
            error = message.error()
            if error is None:
                yield message.value() or b""
            elif error.code() == KafkaError._PARTITION_EOF:
                missing.discard(message.partition() or 0)
    finally:
        consumer.close()


def _rollup(world: World, stream: Stream, level: str, found: Balance) -> None:
    """A rollup says what the same aggregation says of its base table."""
    table = f"{stream}_{level}"
    columns = world.rows(
        f"SELECT name, type FROM system.columns WHERE database = 'tidegate' AND table = '{table}'"
    )
    view = world.rows(
        f"SELECT as_select FROM system.tables WHERE database = 'tidegate' AND name = '{stream}_1m_mv'"
    )[0][0]
    keys, sums = [], []
    for name, type_ in columns:
        if type_.startswith("SimpleAggregateFunction(sum"):
            sums.append(f"round(sum({name}), 3) AS sum_{name}")
        elif type_.startswith("AggregateFunction(uniq,"):
            sums.append(f"uniqMerge({name}) AS sum_{name}")
        elif not type_.startswith("AggregateFunction"):
            keys.append(name)
    group = ", ".join(keys)
    base = f"SELECT * REPLACE ({START_OF[level]}(bucket) AS bucket) FROM ({view})"
    made, kept = (
        f"SELECT {group}, {', '.join(sums)} FROM {of} GROUP BY {group}" for of in (f"({base})", table)
    )
    differ = world.rows(
        f"SELECT sum(side), count() FROM (SELECT *, 1 AS side FROM ({made} EXCEPT {kept})"
        f" UNION ALL SELECT *, 0 AS side FROM ({kept} EXCEPT {made}))"
    )[0]
    if differ[1]:
        found.damage.append(f"{table}: {differ[0]} groups of the base differ, {differ[1]} on both sides")


def _ledger(world: World, found: Balance) -> None:
    """Per partition the batches cover the raw log without a hole, and every line has one outcome."""
    ledger = world.rows(
        "SELECT stream, partition, min(first), max(last), sum(frames), sum(lines),"
        " sum(accepted + rejected + duplicates), sum(accepted), sum(rejected), count()"
        " FROM verify_batches GROUP BY stream, partition ORDER BY stream, partition"
    )
    partitions = [TopicPartition(raw(stream), partition) for stream, partition, *_ in ledger]
    ends = log_ends(Connection(world.broker.bootstrap), partitions, seconds=30.0)
    tables = " UNION ALL ".join(
        f"SELECT '{stream}' AS stream, partition, count() AS rows FROM {stream} GROUP BY partition"
        for stream in STREAMS
    )
    stored = {(stream, partition): rows for stream, partition, rows in world.rows(tables)}
    refused = {
        (stream, partition): rows
        for stream, partition, rows in world.rows(
            "SELECT stream, partition, count() FROM rejects GROUP BY stream, partition"
        )
    }
    for stream, partition, first, last, frames, lines, outcomes, accepted, rejected, batches in ledger:
        found.batches += batches
        begin, end = ends[TopicPartition(raw(stream), partition)]
        named = f"{stream} partition {partition}"
        if (first, last + 1) != (begin, end) or frames != end - begin:
            found.damage.append(
                f"{named}: the ledger has {frames} frames, {first} to {last}; the log {begin} to {end - 1}"
            )
        if lines != outcomes:
            found.damage.append(f"{named}: {lines} lines, {outcomes} outcomes")
        if accepted != stored.get((stream, partition), 0) or rejected != refused.get((stream, partition), 0):
            found.damage.append(f"{named}: the ledger does not have what the tables have")


def _verify(world: World, found: Balance) -> None:
    status, report = world.verify(*(["--alerts"] if world.notices else []))
    whats = [finding["what"] for finding in report["findings"]]
    if status or whats:
        found.damage.append(f"`tidegate verify` ended with {status}: {'; '.join(whats[:SHOWN])}")
