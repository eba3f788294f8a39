"""Sends what is owed: from changes of alerts to attempts, and from their answers to entries of the log."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from tidegate.contracts.alerts import Alert
from tidegate.errors import UsageError
from tidegate.notify.consumer import Record
from tidegate.notify.outbox import Notice, Outbox
from tidegate.store.deliveries import OPEN, Entry
from tidegate.telemetry import (
    NOTIFY_ATTEMPTS,
    NOTIFY_DISABLED,
    NOTIFY_ENDED,
    NOTIFY_OLDEST_SECONDS,
    NOTIFY_OWED,
)
from tidegate.webhooks.endpoints import Endpoint, EndpointFile
from tidegate.webhooks.formats import Request, request
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.transport import Answer

log = logging.getLogger(__name__)

SLACK_SECONDS = 5.0  # by which clocks of broker and file may differ

_DECODE = msgspec.json.Decoder(Alert)


class Log(Protocol):
    """Where entries go, and where it says how notices stand."""

    def write(self, entries: list[Entry]) -> None: ...
    async def newest(self, webhook_ids: Iterable[str]) -> list[Entry]: ...
    async def told(self, alert_ids: Iterable[str]) -> set[tuple[str, str]] | None: ...


class Sender(Protocol):
    async def send(self, url: str, request: Request, hide: Callable[[str], str]) -> Answer: ...


class Dispatcher:
    """Lives in one event loop; `clock` gives epoch seconds."""

    def __init__(
        self,
        endpoints: EndpointFile,
        log: Log,
        sender: Sender,
        *,
        public_url: str = "",
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.outbox = Outbox(chance)
        self._endpoints = endpoints
        self._log = log
        self._sender = sender
        self._public_url = public_url.rstrip("/")
        self._clock = clock
        self._gone: dict[str, str] = {}  # endpoints that the file could not be told of: why
        self._attempts: set[asyncio.Task[None]] = set()

    async def take(self, records: Iterable[Record]) -> None:
        """Owe each change to each endpoint that wants it, unless the log says that it was told before."""
        wanted: dict[str, tuple[Endpoint, Alert, int]] = {}
        endpoints = self._endpoints.endpoints().values()
        for record in records:
            if record.alert is None:
                continue
            for endpoint in endpoints:
                if self._closed(endpoint) or not endpoint.wants(record.alert) or _before(record, endpoint):
                    continue
                id = webhook_id(record.alert.id, record.alert.sequence, endpoint.id)
                if not self.outbox.knows(id):
                    wanted[id] = endpoint, record.alert, record.partition
        await self._leave_out_silenced(wanted)
        for found in await self._log.newest(wanted):
            if found.outcome in OPEN:
                _, alert, _ = wanted[found.webhook_id]
                self._write(self.outbox.restore(found, alert, self._clock()))
            else:
                self.outbox.ended_before(found.webhook_id, found.entry)
        for endpoint, alert, partition in wanted.values():
            self._write(self.outbox.owe(endpoint, alert, partition, self._clock()))

    async def _leave_out_silenced(self, wanted: dict[str, tuple[Endpoint, Alert, int]]) -> None:
        """People are not told that an alert is over of which they were never told: it opened in a silence."""
        lines = {
            (endpoint.id, alert.id) for endpoint, alert, _ in wanted.values() if alert.state != "resolved"
        }
        unsure = {
            id: (endpoint.id, alert.id)
            for id, (endpoint, alert, _) in wanted.items()
            if alert.state == "resolved"
            and endpoint.format in ("slack", "teams")
            and (endpoint.id, alert.id) not in lines
            and not self.outbox.has_told(endpoint.id, alert.id)
        }
        if not unsure:
            return
        told = await self._log.told({alert_id for _, alert_id in unsure.values()})
        for id, line in unsure.items():
            if told is not None and line not in told:
                del wanted[id]

    def restore(self, found: Iterable[Entry]) -> None:
        """Take over what the log says is owed."""
        for entry in found:
            if self.outbox.has_seen(entry):
                continue
            try:
                alert = _DECODE.decode(entry.alert)
            except msgspec.DecodeError as error:  # its first entry has gone, with the fleet's retention
                log.error("notice %s cannot be read back: %s", entry.webhook_id, error)
                self.outbox.ended_before(entry.webhook_id, entry.entry)
                continue
            self._write(self.outbox.restore(entry, alert, self._clock()))

    def forget(self, partitions: Collection[int]) -> None:
        self.outbox.forget(partitions)

    def step(self) -> None:
        """Begin the attempts that are due."""
        endpoints, now = self._endpoints.endpoints(), self._clock()
        for id in {notice.endpoint_id for notice in self.outbox}:
            endpoint = endpoints.get(id)
            if endpoint is None or (reason := self._closed(endpoint)):
                self._write(self.outbox.drop(id, reason if endpoint else "the endpoint was deleted", now))
        for notice in self.outbox.due(now):
            task = asyncio.create_task(self._attempt(notice, endpoints[notice.endpoint_id]))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)
        NOTIFY_OWED.set(len(self.outbox))
        late = [now - notice.next_at for notice in self.outbox if not notice.busy]
        NOTIFY_OLDEST_SECONDS.set(max([0.0, *late]))
        NOTIFY_DISABLED.set(sum(bool(self._closed(endpoint)) for endpoint in endpoints.values()))

    async def settle(self, seconds: float | None = None) -> None:
        """Wait for the attempts under way, at most so long; the rest is given up, and made again later."""
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _attempt(self, notice: Notice, endpoint: Endpoint) -> None:
        link = f"{self._public_url}/alerts/{notice.alert.id}" if self._public_url else ""
        try:
            made = request(endpoint, notice.alert, notice.id, self._clock(), link)
            answer = await self._sender.send(endpoint.url, made, endpoint.hidden)
        except Exception as error:  # a notice that cannot be made must not hold up the others
            log.exception("notice %s to %s", notice.id, endpoint.name)
            answer = Answer(0, f"not sent: {type(error).__name__}")
        NOTIFY_ATTEMPTS.labels("delivered" if answer.delivered else "failed").inc()
        if not answer.delivered:
            log.warning(
                "%s (%s): notice %s, attempt %d: %s",
                *(endpoint.name, endpoint.masked_url, notice.id, notice.attempt + 1, answer.error),
            )
        self._write(self.outbox.ended(notice, answer, self._clock()))
        if answer.status == 410:
            self._disable(endpoint)

    def _disable(self, endpoint: Endpoint) -> None:
        reason = f"answered 410 at {datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d %H:%M}"
        self._gone[endpoint.id] = reason
        log.error("%s (%s) is gone: nothing is sent there any more", endpoint.name, endpoint.masked_url)
        try:
            self._endpoints.disable(endpoint.id, reason)
            del self._gone[endpoint.id]
        except UsageError as error:
            log.error("%s; it is disabled until this process ends", error)

    def _closed(self, endpoint: Endpoint) -> str:
        return endpoint.disabled or self._gone.get(endpoint.id, "")

    def _write(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.outcome not in OPEN:
                NOTIFY_ENDED.labels(entry.outcome).inc()
        self._log.write(entries)


def _before(record: Record, endpoint: Endpoint) -> bool:
    """Whether a change is older than the endpoint: it is owed what happens from its creation on."""
    if not record.time or not endpoint.created_at:
        return False
    return record.time < datetime.fromisoformat(endpoint.created_at).timestamp() - SLACK_SECONDS
