"""The worker's process: waits for what it needs, serves its status, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tidegate import lookups
from tidegate.errors import RetryLater
from tidegate.http_status import StatusServer
from tidegate.kafka import topics
from tidegate.kafka.probe import Probe
from tidegate.processing.fleets import Fleets
from tidegate.settings import Settings
from tidegate.worker.worker import Worker

log = logging.getLogger(__name__)

T = TypeVar("T")


def run(settings: Settings) -> int:
    """Work until SIGTERM (exit status 0) or until only a new process can go on (exit status 1)."""
    _quiet_libraries()
    partitions = _retrying(partial(topics.require_topics, settings))
    epoch = _retrying(partial(topics.read_epoch, settings.kafka_bootstrap))
    tables = _retrying(partial(lookups.load, settings.lookups_dir))
    fleets = _retrying(partial(Fleets, settings.tokens_path))
    probe = Probe(settings.kafka_bootstrap)
    try:
        return asyncio.run(_main(settings, epoch, tables, fleets, probe, partitions))
    finally:
        probe.close()


async def _main(
    settings: Settings, epoch: str, tables: lookups.Lookups, fleets: Fleets, probe: Probe, partitions: int
) -> int:
    worker = Worker(settings, epoch, tables, fleets, probe, partitions)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop, f"signal {signal.Signals(number).name}", 0)
    with StatusServer(
        settings.worker_listen, "worker_listen", not_ready=worker.not_ready, not_alive=worker.not_alive
    ):
        return await worker.work()


def _retrying(action: Callable[[], T]) -> T:
    """Wait for infrastructure: what the worker needs before it can begin."""
    told = ""
    while True:
        try:
            return action()
        except RetryLater as error:
            if str(error) != told:
                log.warning("waiting: %s", error)
                told = str(error)
            time.sleep(error.after_seconds)


def _quiet_libraries() -> None:
    """Faust, mode and aiokafka tell their every step; what matters to an operator is said here."""
    for name, level in {
        "faust": logging.ERROR,
        "mode": logging.ERROR,
        "aiokafka": logging.ERROR,
        "kafka": logging.ERROR,
        "tidegate.librdkafka": logging.CRITICAL,
    }.items():
        logging.getLogger(name).setLevel(level)
