"""The sink's process: waits for ClickHouse and the topics, serves its status, ends on SIGTERM."""

from __future__ import annotations

import logging
import signal
from functools import partial
from types import FrameType

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from tidegate.errors import Stop, UsageError
from tidegate.kafka.connection import connection
from tidegate.kafka.topics import read_epoch, require_topics
from tidegate.preflight.clickhouse import inspect_schema
from tidegate.preflight.condition import require
from tidegate.preflight.epoch import require_epoch
from tidegate.service import wait
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings
from tidegate.sink.alerts import AlertStore
from tidegate.sink.consumer import Sink
from tidegate.sink.expiry import Expiry
from tidegate.store.client import connect, infrastructure
from tidegate.store.ledger import Ledger
from tidegate.telemetry import configure_logging

log = logging.getLogger(__name__)


class Role:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting = "starting"
        self._stopping = False
        self._sink: Sink | None = None
        self._alerts: AlertStore | None = None
        self._epoch = ""

    def run(self) -> int:
        settings = self._settings
        status = StatusServer("sink", settings, not_ready=self._not_ready, not_alive=self._not_alive)
        with status:
            try:
                client = self._await_parts()
                if client is None:
                    return 0
                self._sink = Sink(settings, client)
                if self._stopping:
                    return 0
                log.info("reading as group %s; status on %s", settings.sink_group, settings.sink_listen)
                expiry = Expiry(settings, client, self._sink.leads)
                with AlertStore(settings, client, self._epoch) as self._alerts, expiry:
                    self._sink.run()
                log.info("stopped")
                return 0
            except Stop as error:
                log.critical("%s", error)
                return 1

    def stop(self, number: int, frame: FrameType | None) -> None:
        log.info("%s: inserting what is in hand, then stopping", signal.Signals(number).name)
        self._stopping = True  # no Event: it cannot be set by a handler that interrupts its wait
        if self._sink is not None:
            self._sink.stop()

    def _await_parts(self) -> Client | None:
        """Wait until ClickHouse has the tables and Kafka the topics; None if told to stop meanwhile.

        Raises Stop where they are not what the sink can work with. Writes nothing.
        """
        return wait.until_there(
            self._attempt, log, stopping=lambda: self._stopping, say=partial(setattr, self, "_waiting")
        )

    def _attempt(self) -> Client:
        settings = self._settings
        with infrastructure():
            with connect(settings, database="", connections=1) as server:  # it may not have ours yet
                require(inspect_schema(server, settings))
        client = connect(settings, connections=settings.sink_insert_threads + 6)
        require_topics(settings)
        epoch = read_epoch(connection(settings), timeout_seconds=5.0)
        ledger = Ledger(client, settings.clickhouse_database, cluster=bool(settings.clickhouse_cluster))
        require_epoch(epoch, ledger.epochs())
        self._epoch = epoch
        return client

    def _not_ready(self) -> list[str]:
        if self._sink is None:
            return ["stopping" if self._stopping else self._waiting]
        return [
            *self._sink.not_ready(),
            *([self._alerts.problem] if self._alerts and self._alerts.problem else []),
        ]

    def _not_alive(self) -> list[str]:
        return [] if self._sink is None else self._sink.not_alive()


def run(settings: Settings) -> int:
    """The role `sink`. Returns the exit status: 1 when an operator must act, and the log says how."""
    configure_logging("sink", settings.log_level, settings.log_format)
    if settings.sink_insert_threads < 1 or settings.sink_batch_rows < 1:
        raise UsageError("sink_insert_threads and sink_batch_rows must be at least 1")
    # The other pools hand big blocks back to the kernel each time and pay for them in page faults.
    pa.set_memory_pool(pa.mimalloc_memory_pool())
    role = Role(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, role.stop)
    return role.run()
