"""Posts a connector's events to the gateway: batches of events over a few kept connections.

`deliver` returns when the gateway has acknowledged, so that a connector can tell its sender the same.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from tidegate.contracts.topics import Stream
from tidegate.errors import RetryLater, UsageError
from tidegate.service.http_connection import Connection, Lost, Response, endpoint, request_head
from tidegate.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

PATHS: dict[Stream, str] = {
    "connection_logs": "/api/v1/device_app_connection_log/",
    "client_events": "/api/v1/client_events/",
    "device_logs": "/api/v1/inventory_device_log/",
}
CONNECTIONS = 32  # at once
SECONDS = 15.0  # for one answer: the gateway itself waits 10 s for the broker
LOOK_SECONDS = 2.0  # between looks at a gateway that is away
MOST_AFTER = 300.0  # seconds that a Retry-After is heeded for
UNREADABLE = frozenset({"not_json", "not_utf8"})  # codes of a body that no event can be told in


class Refusal(msgspec.Struct, frozen=True):
    """An event that the gateway refuses: `index` in the batch, `path` in the gateway's spelling."""

    index: int
    code: str = ""
    path: str = ""
    found: str = ""
    allowed: str = ""
    detail: str = ""
    status: int = HTTPStatus.UNPROCESSABLE_ENTITY


class _Batch(msgspec.Struct):
    errors: list[Refusal] = []


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class GatewayClient:
    """Raises UsageError where the settings name no gateway or no token."""

    def __init__(self, settings: Settings) -> None:
        self._to = endpoint(settings.connect_gateway_url, ca_file=settings.connect_ca_file)
        if not settings.connect_token:
            raise UsageError(
                "connect_token: a connector needs a token that may write (`tidegate token create`)"
            )
        self._heads = {
            stream: request_head(
                self._to,
                path,
                {
                    "Authorization": f"Bearer {settings.connect_token}",
                    "Content-Type": "application/json",
                    "User-Agent": "tidegate-connect",
                },
            )
            for stream, path in PATHS.items()
        }
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(CONNECTIONS)
        self.problem = "the gateway was not reached yet"
        """Why nothing can be delivered; empty where it can."""

    async def deliver(
        self, stream: Stream, events: Sequence[dict[str, Any]], *, key: str = ""
    ) -> list[Refusal]:
        """Post events of one stream; returns those that the gateway refuses, when all others are in.

        `key` is their Idempotency-Key; without one each event has to carry an `event_id`. What is refused as
        a whole goes in two halves, so that one event which cannot be read, or many which are too large
        together, hold up no others. Raises RetryLater where it is not known that they are in: the same call
        again lands them once.
        """
        found = await self._batch(stream, events, key)
        if not isinstance(found, Refusal):
            return found
        if len(events) == 1:
            return [found]
        refused = []
        middle = len(events) // 2
        for first, half in ((0, events[:middle]), (middle, events[middle:])):
            for one in await self.deliver(stream, half, key=f"{key}.{first}" if key else ""):
                refused.append(msgspec.structs.replace(one, index=first + one.index))
        return refused

    async def _batch(
        self, stream: Stream, events: Sequence[dict[str, Any]], key: str
    ) -> list[Refusal] | Refusal:
        """The events of one request that are refused; or why all of them are, for what one of them holds."""
        head = self._heads[stream] + (f"Idempotency-Key: {key}\r\n".encode("ascii") if key else b"")
        try:
            body = msgspec.json.encode(events)
        except RecursionError:
            return Refusal(0, "not_json", detail="nested too deeply", status=HTTPStatus.BAD_REQUEST)
        answer = await self._post(head, body)
        if answer.status in (201, 207):
            self._say("")
        elif answer.status not in (400, 413, 422):
            raise self._trouble(answer)
        refused = _decode(answer, _Batch).errors
        if any(one.status >= 500 for one in refused):  # a part of them may not be in
            raise RetryLater(f"the gateway answers {refused[0].code} for a part of the events")
        if answer.status in (201, 207) or (refused and len(refused) == len(events)):
            return refused
        problem = _decode(answer, _Problem)
        if answer.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE and problem.code not in UNREADABLE:
            raise self._trouble(answer)
        self._say("")
        detail = problem.detail or f"the gateway answers {answer.status}"
        return Refusal(0, problem.code or "too_large", detail=detail, status=answer.status)

    async def look(self) -> None:
        """Ask a gateway that is away whether it is back, for ever: who is not ready is sent nothing."""
        while True:
            if self.problem:
                try:  # an empty batch is refused behind all checks but those of events
                    answer = await self._post(self._heads["client_events"], b"[]")
                except RetryLater:
                    pass
                else:
                    if answer.status == 400:
                        self._say("")
                    else:
                        self._trouble(answer)
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _post(self, head: bytes, body: bytes) -> Response:
        try:
            async with self._room, asyncio.timeout(SECONDS):
                while self._idle:
                    connection = self._idle.pop()
                    if connection.usable:
                        try:
                            return await self._ask(connection, head, body)
                        except Lost:  # the gateway ended it meanwhile, as it may at any time
                            pass
                connection = await Connection.open(self._to)
                return await self._ask(connection, head, body)
        except TimeoutError:
            reason = f"the gateway does not answer within {SECONDS:g} s"
        except Lost:
            reason = "the gateway ended the connection"
        except ssl.SSLError as error:
            reason = f"TLS to the gateway: {error.reason or error}"
        except OSError as error:
            reason = f"the gateway is away: {error.strerror or type(error).__name__}"
        self._say(reason)
        raise RetryLater(reason)

    async def _ask(self, connection: Connection, head: bytes, body: bytes) -> Response:
        try:
            answer = await connection.post(head, body)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return answer

    def _trouble(self, answer: Response) -> RetryLater:
        problem = _decode(answer, _Problem)
        reason = f"the gateway answers {answer.status} {problem.code}: {problem.detail}"
        self._say(reason)
        return RetryLater(reason, after_seconds=_seconds(answer.headers.get(b"retry-after", b"")))

    def _say(self, reason: str) -> None:
        if reason and reason != self.problem:
            log.warning("%s", reason)
        elif self.problem and not reason:
            log.info("the gateway takes events")
        self.problem = reason


def _decode(answer: Response, type_: type[T]) -> T:
    """The answer's body; an empty one where it is not what a gateway says."""
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return type_()


def _seconds(text: bytes) -> float:
    return min(float(text), MOST_AFTER) if text.isdigit() else 1.0
