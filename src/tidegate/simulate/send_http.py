"""Over HTTP to the gateway: several connections, a batch or a single event to a request."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import UsageError
from tidegate.service.http_connection import (
    Connection,
    Endpoint,
    Lost,
    Response,
    endpoint,
    request_head,
)
from tidegate.simulate.pace import Pace
from tidegate.simulate.report import Ledger, Report
from tidegate.simulate.simulation import Event, Simulation

PATHS: dict[Stream, str] = {
    "connection_logs": "/api/v1/device_app_connection_log/",
    "client_events": "/api/v1/client_events/",
    "device_logs": "/api/v1/inventory_device_log/",
}
BATCH_AGE = 0.5  # seconds after which a batch goes off though it is not full
TICK = 0.01
BACKOFF = (0.2, 5.0)  # seconds between tries when nobody says how long to wait: first, longest
GIVE_UP = 15.0  # seconds after the end that open requests are tried again


class _Answer(msgspec.Struct):
    ids: list[str | None] = []


_ANSWERS = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    url: str
    token: str
    connections: int = 8
    batch: int = 0  # events in a request; 0 or 1: single events
    idempotent: bool = False  # an Idempotency-Key with each request


@dataclass(slots=True)
class Request:
    stream: Stream
    events: Sequence[Event]
    head: bytes
    body: bytes
    tries: int = 0


class Sender:
    """Takes events from the simulation as they are due, and answers for each one."""

    def __init__(self, options: Options, simulation: Simulation, report: Report, ledger: Ledger) -> None:
        self._options = options
        self._simulation = simulation
        self._report = report
        self._ledger = ledger
        self._target: Endpoint = endpoint(options.url)
        self._single = options.batch <= 1
        kind = "application/json" if self._single else "application/x-ndjson"
        headers = {"Authorization": f"Bearer {options.token}", "Content-Type": kind}
        self._heads = {stream: request_head(self._target, PATHS[stream], headers) for stream in STREAMS}
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(options.connections * 2)
        self._run = uuid.uuid4().hex
        self._requests = 0
        self._deadline = float("inf")  # monotonic: when trying again ends

    async def run(self, pace: Pace, stop: asyncio.Event, tick: Callable[[], None]) -> None:
        """Send until the pace is finished or `stop` is set; `tick` is called about every TICK seconds.

        Raises UsageError when the gateway does not know the token.
        """
        workers = [asyncio.create_task(self._work()) for _ in range(self._options.connections)]
        producer = asyncio.create_task(self._produce(pace, stop))
        ticker = asyncio.create_task(_tick(tick))
        ending = asyncio.create_task(self._end(stop))
        try:
            await _first_error([producer, *workers], until=producer)
            stop.set()
            for _ in workers:
                await self._queue.put(None)
            await asyncio.gather(*workers)
        finally:
            for task in (ticker, ending, producer, *workers):
                task.cancel()
            await asyncio.gather(ticker, ending, producer, *workers, return_exceptions=True)

    async def _end(self, stop: asyncio.Event) -> None:
        """From `stop` on, requests that find no gateway are given up after GIVE_UP seconds."""
        await stop.wait()
        self._deadline = time.monotonic() + GIVE_UP

    async def _produce(self, pace: Pace, stop: asyncio.Event) -> None:
        open_batches: dict[Stream, list[Event]] = {stream: [] for stream in STREAMS}
        opened: dict[Stream, float] = {}
        slipped = 0.0
        while not stop.is_set() and not pace.finished:
            now = time.monotonic()
            count = pace.due(now)
            if pace.slipped > slipped:
                self._simulation.skip(pace.slipped - slipped)
                slipped = pace.slipped
            for event in self._simulation.take(count):
                if self._single:
                    await self._queue.put(self._request(event.stream, [event]))
                    continue
                batch = open_batches[event.stream]
                if not batch:
                    opened[event.stream] = now
                batch.append(event)
                if len(batch) >= self._options.batch:
                    await self._queue.put(self._request(event.stream, batch))
                    open_batches[event.stream] = []
            for stream, batch in open_batches.items():
                if batch and now - opened[stream] > BATCH_AGE:
                    await self._queue.put(self._request(stream, batch))
                    open_batches[stream] = []
            await asyncio.sleep(TICK if count < pace.CHUNK else 0)
        for stream, batch in open_batches.items():
            if batch:
                await self._queue.put(self._request(stream, batch))

    def _request(self, stream: Stream, events: Sequence[Event]) -> Request:
        head = self._heads[stream]
        self._requests += 1
        if self._options.idempotent:
            head += b"Idempotency-Key: %b-%d\r\n" % (self._run.encode(), self._requests)
        if self._single:
            if stream == "connection_logs":
                head += b"X-Device-Id: %b\r\n" % events[0].device
            return Request(stream, events, head, events[0].body)
        return Request(stream, events, head, b"\n".join([event.body for event in events]))

    async def _work(self) -> None:
        connection: Connection | None = None
        try:
            while (request := await self._queue.get()) is not None:
                connection = await self._deliver(request, connection)
        finally:
            if connection is not None:
                connection.close()

    async def _deliver(self, request: Request, connection: Connection | None) -> Connection | None:
        """Try until it is answered for good; the connection to use for the next one."""
        totals = self._report.streams[request.stream]
        count = len(request.events)
        wait = BACKOFF[0]
        while True:
            if connection is None or not connection.usable:
                try:
                    connection = await Connection.open(self._target)
                except OSError:
                    if time.monotonic() > self._deadline:
                        return None
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, BACKOFF[1])
                    continue
            request.tries += 1
            if request.tries == 1:
                totals.sent += count
                for event in request.events:
                    if event.fault is not None:
                        self._report.broken[event.fault] += 1
            else:
                totals.retried += count
            try:
                response = await connection.post(request.head, request.body)
            except Lost:
                response = None
                if not self._options.idempotent:
                    totals.unsure += count
            if response is not None and self._settle(request, response):
                return connection
            if time.monotonic() > self._deadline:
                return connection
            await asyncio.sleep(_retry_after(response) or wait)
            wait = min(wait * 2, BACKOFF[1])

    def _settle(self, request: Request, response: Response) -> bool:
        """Book the answer; False if the request must be sent again."""
        status = response.status
        if status in (401, 403):
            raise UsageError(
                f"the gateway answered {status}: {response.body[:200].decode('utf-8', 'replace')}"
            )
        if status in (201, 207):
            self._book(request, _ids(response, self._single, len(request.events)))
            return True
        if 400 <= status < 500 and status not in (408, 425, 429):
            self._book(request, [None] * len(request.events))
            return True
        if status not in (429, 503) and not self._options.idempotent:
            self._report.streams[request.stream].unsure += len(request.events)
        return False

    def _book(self, request: Request, ids: Sequence[str | None]) -> None:
        totals = self._report.streams[request.stream]
        taken = [id for id in ids if id is not None]
        totals.acked += len(taken)
        totals.refused += len(ids) - len(taken)
        for event, id in zip(request.events, ids, strict=True):
            if (event.fault is None) == (id is None):
                if id is None:
                    self._report.good_refused += 1
                else:
                    self._report.broken_acked += 1
        self._ledger.ids(request.stream, taken)


def _ids(response: Response, single: bool, count: int) -> Sequence[str | None]:
    """An id for each event, None for a refused one; empty text where the answer does not say."""
    if single:
        return [response.headers.get(b"location", b"").rstrip(b"/").rpartition(b"/")[2].decode()]
    ids = _ANSWERS.decode(response.body).ids
    return ids if len(ids) == count else [""] * count if response.status == 201 else [None] * count


def _retry_after(response: Response | None) -> float | None:
    if response is None:
        return None
    with contextlib.suppress(ValueError):
        return (
            min(30.0, max(0.05, float(response.headers[b"retry-after"])))
            if (b"retry-after" in response.headers)
            else None
        )
    return None


async def _tick(tick: Callable[[], None]) -> None:
    while True:
        tick()
        await asyncio.sleep(0.2)


async def _first_error(tasks: Sequence[asyncio.Task[None]], *, until: asyncio.Task[None]) -> None:
    """Wait for `until`; raise the error of whichever task fails first."""
    waiting: set[asyncio.Task[None]] = set(tasks)
    while until in waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
