"""The process of notify: reads alerts, sends notices, serves its status, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType

from tidegate.errors import RetryLater, Stop
from tidegate.kafka.topics import require_topics
from tidegate.notify.consumer import AlertConsumer
from tidegate.notify.dispatcher import Dispatcher
from tidegate.notify.log import DeliveryLog
from tidegate.service import wait
from tidegate.service.status_server import StatusServer
from tidegate.settings import Settings
from tidegate.telemetry import configure_logging
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import EndpointFile
from tidegate.webhooks.transport import Transport

log = logging.getLogger(__name__)

POLL_SECONDS = 0.3
TICK = 0.1  # seconds between looks at what is due
LOOK_SECONDS = 5.0  # between looks at the log, for what is to be sent once more
MOST_UNSTORED = 10_000  # entries that wait for ClickHouse before no more alerts are read
DRAIN_SECONDS = 5.0  # for the attempts under way, and again for their entries


class Role:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting = "starting"
        self._stopping = False
        self._log: DeliveryLog | None = None
        self._reader: AlertConsumer | None = None
        self._transport = Transport(
            allowed(settings.webhook_allow),
            seconds=settings.webhook_seconds,
            ca_file=settings.webhook_ca_file,
        )
        self._endpoints = EndpointFile(settings.webhooks_path)
        self._uncommitted: deque[tuple[int, dict[int, int]]] = deque()  # entries written, offsets behind

    def run(self) -> int:
        self._endpoints.rows()  # raises for a file that cannot be used
        with StatusServer("notify", self._settings, not_ready=self._not_ready):
            try:
                wait.until_there(
                    partial(require_topics, self._settings),
                    log,
                    stopping=lambda: self._stopping,
                    say=partial(setattr, self, "_waiting"),
                )
                if not self._stopping:
                    asyncio.run(self._serve())
                log.info("stopped")
                return 0
            except Stop as error:
                log.critical("%s", error)
                return 1

    def stop(self, number: int, frame: FrameType | None) -> None:
        log.info("%s: ending what is under way, then stopping", signal.Signals(number).name)
        self._stopping = True

    async def _serve(self) -> None:
        settings = self._settings
        self._log = DeliveryLog(settings)
        self._reader = AlertConsumer(settings)
        dispatcher = Dispatcher(self._endpoints, self._log, self._transport, public_url=settings.public_url)
        log.info("reading as group %s; status on %s", settings.notify_group, settings.notify_listen)
        kafka = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        storing = asyncio.create_task(self._log.run())
        others = [
            asyncio.create_task(self._read(dispatcher, self._log, self._reader, kafka)),
            asyncio.create_task(self._send(dispatcher)),
            asyncio.create_task(self._look(dispatcher, self._log, self._reader)),
        ]
        try:
            done, _ = await asyncio.wait([storing, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a bug in one of them ends the process, which is started again
        finally:
            for task in others:
                task.cancel()
            await dispatcher.settle(DRAIN_SECONDS)
            await self._log.flush(DRAIN_SECONDS)
            storing.cancel()
            await self._commit(self._log, self._reader, kafka)
            await asyncio.get_running_loop().run_in_executor(kafka, self._reader.close)
            self._log.close()
            kafka.shutdown()

    async def _read(
        self,
        dispatcher: Dispatcher,
        delivery_log: DeliveryLog,
        reader: AlertConsumer,
        kafka: ThreadPoolExecutor,
    ) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            full = delivery_log.unstored > MOST_UNSTORED
            records = await loop.run_in_executor(kafka, partial(reader.poll, POLL_SECONDS, pause=full))
            if gone := reader.revoked():
                dispatcher.forget(gone)
                for _, offsets in self._uncommitted:
                    for partition in gone:
                        offsets.pop(partition, None)
            await dispatcher.take(records)
            if records:
                offsets = {record.partition: record.offset + 1 for record in records}
                self._uncommitted.append((delivery_log.written, offsets))
            await self._commit(delivery_log, reader, kafka)

    async def _commit(
        self, delivery_log: DeliveryLog, reader: AlertConsumer, kafka: ThreadPoolExecutor
    ) -> None:
        """Commit what lies behind the entries that are stored."""
        offsets: dict[int, int] = {}
        while self._uncommitted and self._uncommitted[0][0] <= delivery_log.stored:
            offsets |= self._uncommitted.popleft()[1]
        if offsets:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(kafka, reader.commit, list(offsets.items()))

    async def _send(self, dispatcher: Dispatcher) -> None:
        while True:
            dispatcher.step()
            await asyncio.sleep(TICK)

    async def _look(self, dispatcher: Dispatcher, delivery_log: DeliveryLog, reader: AlertConsumer) -> None:
        """Take over what other processes left, and what somebody wants to be sent once more."""
        seen: frozenset[int] = frozenset()
        while True:
            partitions = reader.assigned
            try:
                found = await delivery_log.owed(partitions, reader.count)
                here = [entry._replace(partition=entry.partition % reader.count) for entry in found]
                dispatcher.restore(entry for entry in here if entry.partition in reader.assigned)
                seen = partitions
            except RetryLater as error:
                log.debug("the log does not answer: %s", error)
            # At once after a take-over, else from time to time.
            for _ in range(int(LOOK_SECONDS / TICK)):
                await asyncio.sleep(TICK)
                if reader.assigned - seen:
                    break

    def _not_ready(self) -> list[str]:
        if self._stopping:
            return ["stopping"]
        if self._log is None or self._reader is None:
            return [self._waiting]
        return [problem for problem in (self._log.problem, self._reader.problem) if problem]


def run(settings: Settings) -> int:
    """The role `notify`. Returns the exit status: 1 when an operator must act, and the log says how."""
    configure_logging("notify", settings.log_level, settings.log_format)
    role = Role(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, role.stop)
    return role.run()
