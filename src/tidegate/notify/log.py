"""The delivery log as a running process keeps it: written behind the deliveries, read after a take-over.

Notices do not wait for ClickHouse. Entries wait here until they are stored, in the order in which they came;
offsets of `tidegate.alerts` are committed only behind the entries that their records made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from tidegate.errors import RetryLater, Stop
from tidegate.settings import Settings
from tidegate.store import deliveries
from tidegate.store.client import connect
from tidegate.store.deliveries import Entry
from tidegate.store.insert import insert
from tidegate.telemetry import NOTIFY_UNSTORED

log = logging.getLogger(__name__)

MOST = 1000  # entries of an insert
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds before ClickHouse is asked again
LOOK_SECONDS = 3.0  # longest wait for what the log says of a notice, before it is sent anyhow

T = TypeVar("T")


class DeliveryLog:
    """Used in one event loop; what waits for ClickHouse does so in threads."""

    def __init__(self, settings: Settings) -> None:
        self.problem = ""  # why entries are not stored, empty while they are
        self.written = 0  # entries so far
        self.stored = 0  # of these, in ClickHouse
        self._settings = settings
        self._waiting: deque[Entry] = deque()
        self._more = asyncio.Event()
        self._client: Client | None = None
        # One that inserts, one that reads: neither waits for the other.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="delivery-log")

    @property
    def unstored(self) -> int:
        return len(self._waiting)

    def write(self, entries: Sequence[Entry]) -> None:
        self._waiting.extend(entries)
        self.written += len(entries)
        NOTIFY_UNSTORED.set(len(self._waiting))
        if entries:
            self._more.set()

    async def run(self) -> None:
        """Store what is written, until cancelled; what ClickHouse does not take waits and is sent again."""
        wait = FIRST_WAIT
        while True:
            await self._more.wait()
            batch = [self._waiting[number] for number in range(min(len(self._waiting), MOST))]
            if not batch:
                self._more.clear()
                continue
            try:
                await self._in_thread(lambda made=batch: self._insert(made))  # type: ignore[misc]
            except (RetryLater, Stop, Error) as error:
                self._trouble(error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            for _ in batch:
                self._waiting.popleft()
            self.stored += len(batch)
            NOTIFY_UNSTORED.set(len(self._waiting))
            wait = FIRST_WAIT
            if self.problem:
                log.info("deliveries are stored again")
            self.problem = ""

    async def flush(self, seconds: float) -> None:
        """Wait until all is stored, but not for longer."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._waiting and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)

    async def owed(self, partitions: Collection[int], count: int) -> list[Entry]:
        """What the log says is owed there. Raises RetryLater."""
        database = self._settings.clickhouse_database
        return await self._asked(lambda: deliveries.owed(self._connected(), database, partitions, count))

    async def newest(self, webhook_ids: Iterable[str]) -> list[Entry]:
        """How these notices stand; nothing where ClickHouse does not say so soon."""
        ids, database = [*webhook_ids], self._settings.clickhouse_database
        if not ids or self.problem:
            return []
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._asked(lambda: deliveries.newest(self._connected(), database, ids))
        except (RetryLater, TimeoutError):
            return []

    async def told(self, alert_ids: Iterable[str]) -> set[tuple[str, str]] | None:
        """Which endpoints were told of these alerts; None where ClickHouse does not say so soon."""
        ids, database = [*alert_ids], self._settings.clickhouse_database
        if self.problem:
            return None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._asked(lambda: deliveries.told(self._connected(), database, ids))
        except (RetryLater, TimeoutError):
            return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return await self._in_thread(ask)
        except (Stop, Error) as error:
            raise RetryLater(str(error)) from error

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _insert(self, entries: list[Entry]) -> None:
        insert(self._connected(), self._settings.clickhouse_database, deliveries.block(entries), token="")

    def _connected(self) -> Client:
        if self._client is None:
            self._client = connect(self._settings, connections=3)
        return self._client

    def _trouble(self, error: Exception) -> None:
        text = str(error).strip().splitlines()[0][:300]
        if not self.problem:
            log.warning("deliveries are not stored: %s; trying again until it works", text)
        self.problem = f"deliveries are not stored: {text}"
