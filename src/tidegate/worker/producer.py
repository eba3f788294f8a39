"""Produces the worker's records, in order, and tells which raw records have all their outputs acknowledged.

librdkafka's producer: it packs batches, compresses them and waits for the broker outside the interpreter's
lock, and it never gives a record up by itself, so a broker that is away for a minute costs waiting only.
Order within a partition holds over retries: idempotent, and one request in flight on each connection
(the embedded broker takes an idempotent producer and does not check its sequence numbers).
A record that the broker refuses for good cannot be skipped: `failure` says so, and the process must end
and begin again behind its committed position.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, Message

from tidegate.contracts.alerts import Alert, record_key
from tidegate.contracts.control import Record
from tidegate.contracts.keys import Change
from tidegate.contracts.pauses import Pause, alert
from tidegate.contracts.topics import (
    ALERTS,
    CONTROL,
    FAILURES,
    HEALTH,
    PARTIALS,
    REJECTS,
    Stream,
    enriched,
)
from tidegate.kafka.connection import Connection
from tidegate.steps.frame import Outputs
from tidegate.worker.partition import SentRecord

log = logging.getLogger(__name__)

KEYS = "tidegate-worker-keys-changelog"  # as Faust names it
UNITS = "tidegate-worker-units-changelog"
MINUTES = "tidegate-worker-health-changelog"
# Key of a record behind a batch in a partition of a changelog. Asked for a topic's end, the embedded broker
# leaves out all but the first record of the last batch, and Faust reads a table up to there only.
MARK = b"\0"
LINGER_MS = 20
SETTLE_SECONDS = 0.005
BATCH_BYTES = 1_000_000
LOCAL_LIMIT = 1_000_000_000  # the client's own check is on uncompressed bytes; the broker's holds


class Producer:
    """Sends outputs. Everything runs in the caller's thread, callbacks inside `poll`."""

    def __init__(self, kafka: Connection, *, client_id: str = "tidegate-worker") -> None:
        self.failure: str | None = None
        self.in_flight_bytes = 0
        self.table_batches = 0  # of tables' changelogs, not acknowledged
        self.table_bytes = 0  # of these
        self._acked: list[SentRecord] = []
        self._away_since: float | None = None
        self._producer = confluent_kafka.Producer(
            {
                **kafka.librdkafka(),
                "client.id": client_id,
                "acks": "all",
                "enable.idempotence": True,
                "max.in.flight.requests.per.connection": 1,
                "message.timeout.ms": 0,  # never give up
                "compression.type": "zstd",
                "compression.level": 1,
                "linger.ms": LINGER_MS,
                "batch.size": BATCH_BYTES,
                "message.max.bytes": LOCAL_LIMIT,
                "queue.buffering.max.messages": 0,
                "queue.buffering.max.kbytes": 2_147_483,  # the caller bounds what is in flight
                "partitioner": "murmur2_random",  # the one of Java's client: keys meet other producers'
                "reconnect.backoff.max.ms": 2_000,
                "error_cb": self._on_error,
                "logger": logging.getLogger("tidegate.librdkafka"),
            }
        )

    def send(self, stream: Stream, partition: int, sent: SentRecord, outputs: Outputs) -> None:
        """Send a raw record's outputs; `sent.unacked` must count them (see `count`)."""
        self.in_flight_bytes += sent.size
        acked = self._on_ack(sent)
        produce = self._producer.produce
        for headers, reject in outputs.rejects:
            produce(REJECTS, reject, partition=partition, headers=headers, on_delivery=acked)
        for key, failure in outputs.failures:
            produce(FAILURES, failure, key, on_delivery=acked)
        for name, claim in outputs.claims:
            produce(KEYS, claim, name, partition=partition, on_delivery=acked)
        produce(
            enriched(stream),
            outputs.enriched,
            partition=partition,
            headers=outputs.headers,
            on_delivery=acked,
        )

    def send_partials(self, values: list[bytes], acked: Callable[[], None]) -> None:
        """Send a record to each partition of `tidegate.partials`; `acked` is called behind the last ack."""
        one = self._counting_down(len(values), acked)
        for partition, value in enumerate(values):
            self._producer.produce(PARTIALS, value, partition=partition, on_delivery=one)

    def send_keys(
        self, changes: Sequence[tuple[int, Change]], acked: Callable[[], None] = lambda: None
    ) -> None:
        """Send changes of the table of keys, each to its partition; `acked` is called behind the last ack."""
        one = self._counting_down(len(changes), acked)
        for partition, (name, value) in changes:
            self._producer.produce(KEYS, value, name, partition=partition, on_delivery=one)

    def send_pause(self, pause: Pause, record: Record) -> None:
        """Write a pause that begins, its record signed, and its alert."""
        self.send_control(record)
        told = alert(pause, state="open", at=pause.since)
        self._producer.produce(
            ALERTS, msgspec.json.encode(told), record_key(told), partition=0, on_delivery=self._told
        )

    def send_control(self, record: Record) -> None:
        """Write a signed record."""
        self._producer.produce(
            CONTROL, record.value, record.key, headers=record.headers, partition=0, on_delivery=self._told
        )

    def send_units(
        self, partition: int, records: Sequence[tuple[bytes, bytes | None]], acked: Callable[[], object]
    ) -> None:
        """Write the state of units to their table's changelog; `acked` is called behind the last ack."""
        self._send_table(UNITS, partition, records, acked)

    def send_minutes(
        self, partition: int, records: Sequence[tuple[bytes, bytes | None]], acked: Callable[[], object]
    ) -> None:
        """Write minutes to their table's changelog; `acked` is called behind the last ack."""
        self._send_table(MINUTES, partition, records, acked)

    def _send_table(
        self,
        changelog: str,
        partition: int,
        records: Sequence[tuple[bytes, bytes | None]],
        acked: Callable[[], object],
    ) -> None:
        """Keys and values (None: deleted) of a table, and a mark when they are acknowledged."""
        produce = self._producer.produce
        size = sum(len(key) + len(value or b"") for key, value in records)
        self.table_batches += 1
        self.table_bytes += size

        def written() -> None:
            produce(changelog, b"", MARK, partition=partition, on_delivery=self._counting_down(1, marked))

        def marked() -> None:
            self.table_batches -= 1
            self.table_bytes -= size
            acked()

        one = self._counting_down(len(records), written)
        for key, value in records:
            produce(changelog, value, key, partition=partition, on_delivery=one)

    def send_alerts(
        self, partition: int, alerts: Sequence[Alert], acked: Callable[[], None] = lambda: None
    ) -> None:
        """Tell changes of alerts; `acked` is called behind the last ack."""
        one = self._counting_down(len(alerts), acked)
        for change in alerts:
            value = msgspec.json.encode(change)
            self._producer.produce(ALERTS, value, record_key(change), partition=partition, on_delivery=one)

    def send_health(self, partition: int, key: bytes | None, value: bytes) -> None:
        """Publish a minute. Nothing waits for it: the next update says the same and more."""
        self._producer.produce(HEALTH, value, key, partition=partition, on_delivery=self._told)

    async def await_tables(self, seconds: float) -> bool:
        """Wait until all changes of tables are acknowledged (`poll` must run); False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self.table_batches:
                    await asyncio.sleep(SETTLE_SECONDS)
        except TimeoutError:
            return False
        return True

    def poll(self) -> list[SentRecord]:
        """Let callbacks run; the raw records whose outputs were all acknowledged since the last call."""
        self._producer.poll(0)
        acked, self._acked = self._acked, []
        return acked

    @property
    def waiting(self) -> int:
        """Records that the broker has not acknowledged."""
        return len(self._producer)

    def flush(self, seconds: float) -> bool:
        """Wait until all is acknowledged; False if that took longer than `seconds`."""
        return int(self._producer.flush(seconds)) == 0

    @property
    def away_seconds(self) -> float:
        """For how long no broker could be reached; 0 while one can."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    def _on_ack(self, sent: SentRecord) -> Callable[[KafkaError | None, Message], None]:
        def acked(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._refused(error, message)
                return
            sent.unacked -= 1
            if sent.unacked == 0:
                self._away_since = None
                self.in_flight_bytes -= sent.size
                sent.state.in_flight -= 1
                self._acked.append(sent)

        return acked

    def _counting_down(
        self, missing: int, acked: Callable[[], object]
    ) -> Callable[[KafkaError | None, Message], None]:
        """What each of `missing` records is to call; the last acknowledged one calls `acked`."""

        def one(error: KafkaError | None, message: Message) -> None:
            nonlocal missing
            if error is not None:
                self._refused(error, message)
                return
            missing -= 1
            if missing == 0:
                acked()

        return one

    def _told(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused(error, message)

    def _refused(self, error: KafkaError, message: Message) -> None:
        if self.failure is None:
            self.failure = f"the broker refused a record of {message.topic()}: {error.str()}"
            log.error("%s", self.failure)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failure = f"the producer cannot go on: {error.str()}"
            log.error("%s", self.failure)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            if self._away_since is None:
                self._away_since = time.monotonic()
                log.warning("no broker can be reached; %d records wait", self.waiting)
        else:
            log.debug("producer: %s", error.str())


def count(outputs: Outputs) -> int:
    """How many records `send` makes of these outputs."""
    return 1 + len(outputs.rejects) + len(outputs.failures) + len(outputs.claims)
