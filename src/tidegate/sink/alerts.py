"""Stores the changes of alerts: reads `tidegate.alerts` in a group of its own and inserts what it holds.

The topic is at least once and so is this reader: it commits behind each insert. The table makes one row of
the repeats (`ReplacingMergeTree` by fleet, id and sequence), so a batch may be inserted again, whole or in
part, by this process or by another.
"""

from __future__ import annotations

import logging

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from tidegate.contracts.alerts import Alert, read
from tidegate.contracts.topics import ALERTS
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.group import alerts_options
from tidegate.service.background import Background
from tidegate.settings import Settings
from tidegate.store.alerts import block, months
from tidegate.store.insert import insert
from tidegate.telemetry import SINK_ALERTS, SINK_FOREIGN_ALERTS, SINK_RETRIES

log = logging.getLogger(__name__)

MOST = 1000  # changes of an insert
POLL_SECONDS = 0.5
GATHER_SECONDS = 0.05  # what comes so soon behind a change is stored with it
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds before ClickHouse is asked again
STOP_SECONDS = 10.0


class AlertStore(Background):
    """A thread that stores, between enter and exit. `problem` says what it waits for, empty for nothing."""

    def __init__(self, settings: Settings, client: Client, epoch: str) -> None:
        super().__init__("alerts", stop_seconds=STOP_SECONDS)
        self.problem = ""
        self._settings = settings
        self._client = client
        self._epoch = epoch

    def _run(self) -> None:
        consumer = _consumer(self._settings)
        try:
            consumer.subscribe([ALERTS])
            while not self._stopping.is_set():
                self._take(consumer)
        except Exception:  # the events are stored all the same; the next process stores what is left
            log.exception("alerts are not stored any more")
            self.problem = "alerts are not stored any more: the log says why"
        finally:
            consumer.close()

    def _take(self, consumer: Consumer) -> None:
        """Store the next records, and commit them."""
        messages = consumer.consume(1, POLL_SECONDS)
        if messages:
            messages += consumer.consume(MOST - 1, GATHER_SECONDS)
        alerts = [alert for message in messages if (alert := _alert(message)) is not None]
        if alerts and not self._store(alerts):
            return
        if any(message.error() is None for message in messages):
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:  # what is not committed comes again, and makes no further row
                log.info("%s: not committed: %s", ALERTS, error.args[0].str())

    def _store(self, alerts: list[Alert]) -> bool:
        """Insert, trying until ClickHouse takes it; False where this process is told to stop before."""
        for part in months(alerts):
            wait = FIRST_WAIT
            made = block(part, self._epoch)
            while True:
                try:
                    insert(self._client, self._settings.clickhouse_database, made, token="")
                    break
                except (RetryLater, Stop, Error) as error:
                    SINK_RETRIES.inc()
                    if not self.problem:
                        log.warning("alerts are not stored: %s; trying again until it works", error)
                    self.problem = f"alerts: {str(error).strip().splitlines()[0][:300]}"
                if self._stopping.wait(wait):
                    return False
                wait = min(wait * 2, LONGEST_WAIT)
            self.problem = ""
            SINK_ALERTS.inc(len(part))
        return True


def _alert(message: Message) -> Alert | None:
    """The change that a record tells, None for one that tells none."""
    if message.error() is not None:
        return None
    try:
        return read(message.value())
    except ValueError as error:
        SINK_FOREIGN_ALERTS.inc()
        log.warning("%s offset %d is no alert: %s", ALERTS, message.offset() or 0, error)
        return None


def _consumer(settings: Settings) -> Consumer:
    return Consumer(alerts_options(settings, f"{settings.sink_group}-alerts", "tidegate-sink", _told))


def _told(error: KafkaError) -> None:
    log.debug("consumer of alerts: %s", error.str())
