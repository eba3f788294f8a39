"""Administers webhooks for API and pages: endpoints, tests, the delivery log. Raises Problem alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from clickhouse_connect.driver.client import Client

from tidegate.api.problems import Problem
from tidegate.errors import RetryLater, UsageError
from tidegate.settings import Settings
from tidegate.store import deliveries
from tidegate.store.client import connect
from tidegate.store.deliveries import Entry
from tidegate.store.insert import insert
from tidegate.webhooks.addresses import BadField, allowed
from tidegate.webhooks.endpoints import Created, Endpoint, EndpointFile
from tidegate.webhooks.transport import Transport
from tidegate.webhooks.trial import Tried, tried

log = logging.getLogger(__name__)

MOST_TRIES = 8  # at a time, of all fleets together; a new webhook, whose host is looked up, is one too
TRIES_OF_A_FLEET = 2  # of these: whose receivers and name servers do not answer keeps no others waiting
T = TypeVar("T")


class WebhookAdmin:
    """An empty `fleet` stands for every one, and is a superuser's alone: callers see to that."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = EndpointFile(settings.webhooks_path)
        self._tries = asyncio.Semaphore(MOST_TRIES)
        # Not the loop's own threads, which the rest of the API waits for.
        self._look_ups = ThreadPoolExecutor(MOST_TRIES, thread_name_prefix="webhook-host")
        self._tries_of: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(TRIES_OF_A_FLEET)
        )

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def listed(self, fleet: str) -> list[Endpoint]:
        with _told():
            return await asyncio.to_thread(self._file.rows, fleet)

    async def create(
        self,
        name: str,
        *,
        fleet: str,
        format: str,
        url: str,
        routing_key: str,
        severity: str,
        sites: tuple[str, ...],
    ) -> Created:
        """Problem 422 names the field, and of an address that is not public the address."""
        with _told():
            allow = allowed(self._settings.webhook_allow)
            make = partial(
                self._file.create,
                name,
                fleet=fleet,
                format=format,
                url=url,
                allow=allow,
                routing_key=routing_key,
                severity=severity,
                sites=sites,
            )
            async with self._tries_of[fleet], self._tries:
                return await asyncio.get_running_loop().run_in_executor(self._look_ups, make)

    async def delete(self, fleet: str, id: str) -> Endpoint:
        endpoint = await self._endpoint(fleet, id)
        with _told():
            return await asyncio.to_thread(self._file.delete, endpoint.id, fleet=endpoint.fleet)

    async def try_out(self, fleet: str, id: str) -> list[Tried]:
        """What came of each notice."""
        endpoint = await self._endpoint(fleet, id)
        settings = self._settings
        with _told():
            transport = Transport(
                allowed(settings.webhook_allow),
                seconds=settings.webhook_seconds,
                ca_file=settings.webhook_ca_file,
            )
            async with self._tries_of[endpoint.fleet], self._tries:
                return [each async for each in tried(endpoint, transport)]

    async def deliveries(
        self, fleet: str, *, alert_id: str = "", endpoint: str = "", failed: bool = False, limit: int
    ) -> list[Entry]:
        """The newest entries of the log first."""
        return await self._stored(
            partial(
                deliveries.listing,
                fleet=fleet,
                alert_id=alert_id,
                endpoint=endpoint,
                failed=failed,
                limit=limit,
            )
        )

    async def replay(self, fleet: str, webhook_id: str, *, alert_id: str = "") -> Entry:
        """Owe a notice once more: the entry that says so. `alert_id`: it must be of that alert."""

        def again(client: Client, database: str) -> Entry:
            found = deliveries.newest(client, database, [webhook_id], fleet=fleet)
            if not found or alert_id not in ("", found[0].alert_id):
                raise Problem("not_found", "no notice of the fleet has this id")
            owed = deliveries.replayed(found[0], self.now())
            insert(client, database, deliveries.block([owed]), token="")
            return owed

        return await self._stored(again)

    async def _endpoint(self, fleet: str, id: str) -> Endpoint:
        for endpoint in await self.listed(fleet):
            if endpoint.id == id:
                return endpoint
        raise Problem("not_found", "the fleet has no such webhook")

    async def _stored(self, ask: Callable[[Client, str], T]) -> T:
        def run() -> T:
            with connect(self._settings) as client:
                return ask(client, self._settings.clickhouse_database)

        with _told():
            return await asyncio.to_thread(run)


@contextmanager
def _told() -> Iterator[None]:
    """Problems in place of the errors of file and store."""
    try:
        yield
    except BadField as error:
        wanted = ALLOWED.get(error.field, "")
        raise Problem("bad_format", str(error), path=error.field, allowed=wanted) from error
    except UsageError as error:
        log.error("webhooks: %s", error)
        raise Problem("webhooks_away", headers={"retry-after": "60"}) from error
    except RetryLater as error:
        seconds = max(1, round(error.after_seconds))
        raise Problem("store_away", headers={"retry-after": str(seconds)}) from error


ALLOWED = {
    "url": "https at a public address",
    "routing_key": "the integration key of a PagerDuty service, with that format alone",
    "name": "a name that the fleet has not yet",
}
